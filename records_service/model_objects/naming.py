"""Labels, external keys and locales of model objects, and of what is inside them.

A request that leaves one of these out keeps it, so that a client that does not know them takes
nothing away; `{}` removes labels, `null` an external key or a locale. What is inside an object is
recognized by its id, or by its alias where it has no id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from shared.errors import ValidationError, Violation, truncated

LABELS: Final = "labels"
EXTERNAL_KEY: Final = "externalKey"
_FIELDS: Final = {"labels": LABELS, "external_key": EXTERNAL_KEY, "locale": "locale"}
INSIDE: Final = ("attributeGroups", "attributes", "segments")
"""The lists of a body whose members have labels and external keys of their own."""


def said(draft: BaseModel) -> dict[str, Any]:
    """What a draft says about its labels, external key and locale, null included."""
    return {
        public: getattr(draft, name)
        for name, public in _FIELDS.items()
        if name in draft.model_fields_set
    }


def settled(body: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body to store: what was not said is that of `old`, what was emptied is gone.

    Raises `ValidationError` where two members of one list have the same external key.
    """
    kept = {} if old is None else {name: old[name] for name in _FIELDS.values() if name in old}
    whole = kept | dict(body)
    for name in _FIELDS.values():
        if name in whole and not whole[name]:
            del whole[name]
    for name in INSIDE:
        if name in whole:
            known = {_identity(one): one for one in (old or {}).get(name, ())}
            whole[name] = [settled(one, known.get(_identity(one))) for one in whole[name]]
            ValidationError.check(repeated_keys(whole[name], f"/{name}"))
    return whole


def repeated_keys(members: Sequence[Mapping[str, Any]], pointer: str) -> Iterator[Violation]:
    """Each external key that a second member of a list has."""
    seen: set[str] = set()
    for index, member in enumerate(members):
        key = member.get(EXTERNAL_KEY)
        if key in seen:
            yield Violation(
                f"{pointer}/{index}/{EXTERNAL_KEY}",
                f"External key '{truncated(key or '')}' is used twice",
            )
        if key is not None:
            seen.add(key)


def _identity(member: Mapping[str, Any]) -> str:
    identity: str = member.get("id") or member["alias"]
    return identity
