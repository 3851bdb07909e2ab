"""A part over HTTP, with its version as `ETag`."""

from __future__ import annotations

from aiohttp import web

from records_service.parts.model import Kind, Part
from shared.versions import entity_tag
from shared.web import json_response


def answer(part: Part) -> web.Response:
    """A part that is there."""
    return json_response(part.shown(), headers={"ETag": entity_tag(part.version)})


def created(kind: Kind, part: Part) -> web.Response:
    """A new part, and where it is from now on."""
    return json_response(
        part.shown(),
        status=201,
        headers={"ETag": entity_tag(part.version), "Location": f"{kind.path}/{part.id}"},
    )
