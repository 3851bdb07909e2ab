"""Versions over HTTP: `ETag` on answers, `If-Match` on changes, `If-None-Match` on reads.

A database that was restored gives versions again that it has given before. From then on, tags name
its incarnation as well (`"7-69298a3f"`), and a tag from before is none of a present version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from shared.errors import PreconditionFailed, ValidationError, truncated

Versions: TypeAlias = frozenset[int] | None
"""The versions that a caller accepts; None stands for any."""

_TAG: Final = re.compile(r'(?:W/)?"[!\x23-\x7e\x80-\U0010ffff]*"')
_TAGS: Final = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")
"""A list of entity tags, as RFC 9110 defines it in sections 5.6.1 and 8.8.3."""
_VERSION: Final = re.compile(r'(?:W/)?"([0-9]{1,18})((?:-[0-9a-f]{1,16})?)"')
_mark = ""


def name_incarnation(number: int) -> None:
    """Tell tags of this process from those of other incarnations; 0 is the first.

    A process has one database.
    """
    global _mark  # noqa: PLW0603
    _mark = f"-{number:x}" if number else ""


def entity_tag(version: int) -> str:
    """A version as the value of `ETag` and `If-Match`."""
    return f'"{version}{_mark}"'


def if_match(headers: CIMultiDictProxy[str]) -> Versions:
    """The versions that `If-Match` names; a tag of another form matches no version.

    Raises `ValidationError` where the header is neither `*` nor a list of tags (RFC 9110, section
    13.1.1): `If-Match: 1` would otherwise be answered that version 1 is another version than 1.
    """
    sent = headers.getall(hdrs.IF_MATCH, None)
    return None if sent is None else _versions(hdrs.IF_MATCH, sent)


def is_known(headers: CIMultiDictProxy[str], version: int) -> bool:
    """Whether `If-None-Match` names this version, or is `*`: the caller has it.

    Raises `ValidationError` as `if_match` does.
    """
    sent = headers.getall(hdrs.IF_NONE_MATCH, None)
    if sent is None:
        return False
    known = _versions(hdrs.IF_NONE_MATCH, sent)
    return known is None or version in known


def _versions(name: str, sent: Sequence[str]) -> Versions:
    header = ", ".join(sent).strip(" \t")
    if header == "*":
        return None
    if _TAGS.fullmatch(header) is None:
        raise ValidationError.at(
            f"/{name}",
            f"Header '{name}' expects the ETag of a version, with its quotation marks, such as"
            f""" "1", or *; got '{truncated(header)}'""",
        )
    tags = (_VERSION.fullmatch(tag) for tag in _TAG.findall(header))
    return frozenset(int(tag[1]) for tag in tags if tag is not None and tag[2] == _mark)


def check_version(title: str, resource_id: str, version: int, expected: Versions) -> None:
    """Raise `PreconditionFailed` when `If-Match` names another version than the stored one.

    `title` is the public name: Entity, Schema, Role.
    """
    if expected is not None and version not in expected:
        raise PreconditionFailed(stale(title, resource_id, version))


def stale(title: str, resource_id: str, version: int) -> str:
    """What is said where `If-Match` names another version than this, the present one."""
    restored = "; a tag from before the database was restored names none" if _mark else ""
    return (
        f"{title} '{truncated(resource_id)}' is at version {version}; If-Match names another"
        f" version{restored}"
    )
