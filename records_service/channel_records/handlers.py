"""The records of channels over HTTP, for workflow_service."""

from __future__ import annotations

from aiohttp import web

from records_service.channel_records import reading, visibility, writing
from records_service.channel_records.model import (
    ROWS_BODY,
    ChannelNames,
    ChannelQuery,
    ChannelRows,
)
from records_service.channel_records.names import look_up
from records_service.context import context_of
from shared.http import NAMES_BODY, Routes, json_response, read_body
from shared.http.context import asked_on_behalf_of
from shared.identity import Flag, Permission

routes = Routes(tag="Sync")


@routes.internal_post(
    "/internal/channel-records/names", body=ChannelNames, body_bytes_max=NAMES_BODY
)
async def look_up_names(request: web.Request) -> web.StreamResponse:
    """The ids behind what a channel names, `attributes` in the order in which they are sent."""
    asked_on_behalf_of(request)
    named = await look_up(await context_of(request), await read_body(request, ChannelNames))
    return json_response(
        {
            "schemaId": named.schema_id,
            "scope": named.scope,
            "attributes": [
                {"id": each.id, "alias": each.alias, "type": each.type, "multiple": each.multiple}
                for each in named.attributes
            ],
        }
    )


@routes.internal_post(
    "/internal/channel-records/read", body=ChannelQuery, body_bytes_max=NAMES_BODY
)
async def read_channel_records(request: web.Request) -> web.StreamResponse:
    """A page of the records of a channel, for a caller who may export."""
    identity = asked_on_behalf_of(request)
    identity.require(Permission.READ)
    identity.require_flag(Flag.EXPORT)
    asked = await read_body(request, ChannelQuery)
    return json_response(await reading.page(await context_of(request), asked))


@routes.internal_post(
    "/internal/channel-records/visible", body=ChannelNames, body_bytes_max=NAMES_BODY
)
async def judge_visibility(request: web.Request) -> web.StreamResponse:
    """Whether the caller may see all that a channel with these names sends."""
    asked_on_behalf_of(request)
    asked = await read_body(request, ChannelNames)
    return json_response({"all": await visibility.sees_all(await context_of(request), asked)})


@routes.internal_post("/internal/channel-records/write", body=ChannelRows, body_bytes_max=ROWS_BODY)
async def write_channel_records(request: web.Request) -> web.StreamResponse:
    """Creates and updates records of a channel, for a caller who may import."""
    identity = asked_on_behalf_of(request)
    identity.require(Permission.UPDATE_DATA)
    identity.require_flag(Flag.IMPORT)
    asked = await read_body(request, ChannelRows)
    return json_response({"results": await writing.write(await context_of(request), asked)})
