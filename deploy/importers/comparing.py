"""Merges what a source contains into what a workspace contains, without removing anything.

Segments, options, groups, states, attributes of a schema and values in scopes that only the
workspace has stay as they are; what the source says wins where both speak.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deploy.importers.plan import Body, Entry, Kind

Json = dict[str, Any]

# Lists whose elements are told apart by these fields; any other list is replaced as a whole.
_KEYED = {
    "segments": ("id",),
    "values": ("id",),
    "attributeGroups": ("id",),
    "states": ("id",),
    "transitions": ("fromStateId", "toStateId"),
    "attributes": ("alias",),
}
# Lists in which the workspace may have added something of its own.
_JOINED = frozenset({"attributeIds"})
# Objects of which the source says some members: translations that only Sigma has stay.
_NAMED = frozenset({"labels"})
# What the API works out from another field, and would take for a contradiction of it.
_DERIVED = frozenset({"isDefault"})
# What cannot be changed under values that are stored.
_LASTING = ("type", "dimensionIds", "optionListId")


def merged(existing: Body, said: Body) -> Json:
    """The existing object with what was said about it."""
    result = {name: value for name, value in existing.items() if name not in _DERIVED}
    for name, value in said.items():
        result[name] = _merged_field(name, existing.get(name), value)
    return result


def changed_fields(before: Body, after: Body) -> list[str]:
    """The top-level fields in which they differ, as the API would see it."""
    return sorted(name for name in after if _plain(before.get(name)) != _plain(after[name]))


def incompatibility(kind: Kind, existing: Body, said: Body) -> str | None:
    """Why an object that is there cannot become the one that was said, or None."""
    if kind is not Kind.ATTRIBUTES:
        return None
    for name in _LASTING:
        there, ours = existing.get(name), said.get(name)
        if (there or None) != (ours or None):
            return (
                f"the workspace has an attribute '{existing['id']}' whose {name} is {there!r},"
                f" not {ours!r}; use a workspace of its own or --prefix"
            )
    return None


def changed_values(
    existing: Mapping[str, Sequence[Body]], said: Mapping[str, Sequence[Entry]]
) -> dict[str, list[Json]]:
    """Only those attributes whose entries change, each with all its entries as they should be."""
    changes: dict[str, list[Json]] = {}
    for alias, entries in said.items():
        there = existing.get(alias, ())
        by_scope = {_scope_key(entry["scope"]): dict(entry) for entry in there}
        for entry in entries:
            by_scope[_scope_key(entry.scope)] = {"scope": dict(entry.scope), "value": entry.value}
        wanted = list(by_scope.values())
        if wanted != [dict(entry) for entry in there]:
            changes[alias] = wanted
    return changes


def _merged_field(name: str, existing: Any, said: Any) -> Any:
    if name in _JOINED and isinstance(existing, list):
        return list(dict.fromkeys([*existing, *said]))
    if name in _NAMED and isinstance(existing, Mapping):
        return {**existing, **said}
    if name in _KEYED and isinstance(existing, list) and isinstance(said, list):
        return _merged_lists(existing, said, _KEYED[name])
    return said


def _merged_lists(existing: list[Json], said: list[Json], fields: tuple[str, ...]) -> list[Json]:
    """In the order of what is there; new ones follow."""

    def key(element: Json) -> tuple[Any, ...]:
        return tuple(element.get(field) for field in fields)

    ours = {key(element): element for element in said}
    both = [merged(element, ours.pop(key(element), {})) for element in existing]
    return [*both, *ours.values()]


def _plain(value: Any) -> Any:
    """Without what means the same as nothing: null, false, an empty list or object."""
    if isinstance(value, Mapping):
        plain = {name: _plain(part) for name, part in value.items() if name not in _DERIVED}
        return {name: part for name, part in plain.items() if not _is_nothing(part)} or None
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value] or None
    return None if _is_nothing(value) else value


def _is_nothing(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, (dict, list)) and not value)


def _scope_key(scope: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(scope.items()))


def entries_of(entries: Iterable[Entry]) -> list[Json]:
    """As the API takes them."""
    return [{"scope": dict(entry.scope), "value": entry.value} for entry in entries]
