"""Optimistic locking over HTTP: `ETag` on answers, `If-Match` on changes."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from aiohttp import hdrs, web

from shared.errors import PreconditionFailed
from shared.quoting import told

Versions: TypeAlias = frozenset[int] | None
"""The versions that a caller accepts; None stands for any."""

_TAG: Final = re.compile(r'(?:W/)?"([0-9]{1,18})"')


def entity_tag(version: int) -> str:
    """A version as the value of `ETag` and `If-Match`."""
    return f'"{version}"'


def if_match(request: web.Request) -> Versions:
    """The versions that `If-Match` names; a tag of another form matches no version."""
    header = request.headers.get(hdrs.IF_MATCH)
    if header is None or header.strip() == "*":
        return None
    return frozenset(int(version) for version in _TAG.findall(header))


def check_version(title: str, resource_id: str, version: int, expected: Versions) -> None:
    """Raise `PreconditionFailed` when `If-Match` names another version than the stored one.

    `title` is the public name: Entity, Schema, Role.
    """
    if expected is not None and version not in expected:
        raise PreconditionFailed(
            f"{title} '{told(resource_id)}' is at version {version}; If-Match names another version"
        )
