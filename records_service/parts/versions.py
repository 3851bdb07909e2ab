"""Versions over HTTP: `ETag` on what is answered, `If-Match` on what is changed."""

from __future__ import annotations

import re

from aiohttp import web

from records_service.parts.model import Kind, Part
from shared.errors import PreconditionFailed
from shared.web import json_response

_VERSION_TAG = re.compile(r'(?:W/)?"(\d{1,18})"')


def entity_tag(version: int) -> str:
    """A version as `ETag` and `If-Match` spell it."""
    return f'"{version}"'


def answer(part: Part) -> web.Response:
    """A part, with its version as `ETag`."""
    return json_response(part.shown(), headers={"ETag": entity_tag(part.version)})


def created(kind: Kind, part: Part) -> web.Response:
    """A new part, and where it is from now on."""
    return json_response(
        part.shown(),
        status=201,
        headers={"ETag": entity_tag(part.version), "Location": f"{kind.path}/{part.id}"},
    )


def if_match(request: web.Request) -> frozenset[int] | None:
    """The versions that `If-Match` names; None where any version will do."""
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    return frozenset(int(version) for version in _VERSION_TAG.findall(header))


def check_version(title: str, part_id: str, version: int, expected: frozenset[int] | None) -> None:
    """Raise `PreconditionFailed` when `If-Match` names another version than the stored one."""
    if expected is not None and version not in expected:
        raise PreconditionFailed(
            f"{title} '{part_id}' is at version {version}, which If-Match does not name"
        )
