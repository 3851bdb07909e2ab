"""Channels over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from shared.database import DATABASE, Record
from shared.database.listing import list_response
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import (
    Routes,
    identity_of,
    no_content,
    read_body,
    read_query,
    to_json,
    versioned_response,
)
from shared.http.versions import if_match
from shared.identity import Permission
from workflow_service.channels import commands, configs, store
from workflow_service.channels.model import (
    CHANNEL_BODY,
    Channel,
    ChannelAnswer,
    ChannelDraft,
    ChannelListQuery,
)
from workflow_service.connectors.model import CHANNEL_TYPES
from workflow_service.mapping.mapping import LABEL

routes = Routes(
    tag="Channels",
    about="Channels: the targets to which records are sent, and how they are mapped to them.",
    examples={"id": "ch-webshop"},
    parameters={"id": "Id of the channel."},
)


@routes.get(
    "/api/v1/channels",
    permission=Permission.READ,
    query=ChannelListQuery,
    answers=list[ChannelAnswer],
    summary="List channels",
)
async def list_channels(request: web.Request) -> web.StreamResponse:
    """All channels of the workspace, oldest first. Secrets are masked."""
    asked = read_query(request, ChannelListQuery)
    read = partial(store.page, narrowing=asked.narrowing())

    def rendered(row: Record) -> bytes:
        return to_json(shown(request.app, commands.opened(request.app, row)))

    return await list_response(request, read, rendered, asked)


@routes.get(
    "/api/v1/channels/{id}",
    permission=Permission.READ,
    answers=ChannelAnswer,
    summary="Get a channel",
    errors=(NotFound,),
)
async def get_channel(request: web.Request) -> web.StreamResponse:
    """One channel. Secrets are masked. Its version is in the `ETag` header."""
    workspace_id = identity_of(request).workspace_id
    async with request.app[DATABASE].acquire() as conn:
        row = await store.get(conn, workspace_id, request.match_info["id"])
    return _answer(request, commands.opened(request.app, row))


@routes.post(
    "/api/v1/channels",
    permission=Permission.UPDATE_MODEL,
    administrators=True,
    body=ChannelDraft,
    body_bytes_max=CHANNEL_BODY,
    answers=ChannelAnswer,
    status=201,
    summary="Create a channel",
    errors=(Conflict, LimitExceeded, NotFound),
)
async def create_channel(request: web.Request) -> web.StreamResponse:
    """Creates a channel. The attributes, schema, catalog and segments that it names must exist.

    The address of its target must be public. Whether the target answers is tried by
    `test-connection`.
    """
    draft = await read_body(request, ChannelDraft)
    channel = await commands.create(request, draft)
    return _answer(request, channel, status=201, location=f"/api/v1/channels/{channel.id}")


@routes.put(
    "/api/v1/channels/{id}",
    permission=Permission.UPDATE_MODEL,
    administrators=True,
    body=ChannelDraft,
    body_bytes_max=CHANNEL_BODY,
    answers=ChannelAnswer,
    summary="Replace a channel",
    errors=(Conflict, NotFound, PreconditionFailed),
)
async def replace_channel(request: web.Request) -> web.StreamResponse:
    """Replaces the whole channel. A secret that is sent as it was answered, masked, stays."""
    draft = await read_body(request, ChannelDraft)
    expected = if_match(request.headers)
    channel = await commands.replace(request, request.match_info["id"], draft, expected)
    return _answer(request, channel)


@routes.delete(
    "/api/v1/channels/{id}",
    permission=Permission.DELETE_MODEL,
    administrators=True,
    summary="Delete a channel",
    errors=(NotFound, PreconditionFailed),
)
async def delete_channel(request: web.Request) -> web.StreamResponse:
    """Deletes the channel with its logs and mappings. What is at the target stays there.

    A synchronisation that is running ends.
    """
    await commands.delete(request, request.match_info["id"], if_match(request.headers))
    return no_content()


def shown(app: web.Application, channel: Channel) -> dict[str, Any]:
    """The channel as it is answered."""
    plain = app[CHANNEL_TYPES][channel.type].plain
    mappings = [
        {
            **{name: each[name] for name in ("sourceAttribute", "targetField", "transform")},
            "optionAs": each.get("optionAs", LABEL),
        }
        for each in channel.mappings
    ]
    return {
        "id": channel.id,
        "name": channel.body["name"],
        "alias": channel.alias,
        "type": channel.type,
        "description": channel.body["description"],
        "config": configs.masked(channel.config, plain),
        "fieldMappings": mappings,
        "schemaId": channel.body["schemaId"],
        "catalogId": channel.body["catalogId"],
        "dimensionScope": channel.body["dimensionScope"],
        "active": channel.body["active"],
        "version": channel.version,
        "createdAt": channel.created_at,
        "updatedAt": channel.updated_at,
    }


def _answer(
    request: web.Request, channel: Channel, *, status: int = 200, location: str | None = None
) -> web.StreamResponse:
    return versioned_response(
        shown(request.app, channel), channel.version, status=status, location=location
    )
