"""API keys over HTTP. Only users who are administrators can manage them."""

from __future__ import annotations

from aiohttp import web

from auth_service.api_keys import commands, store
from auth_service.api_keys.commands import API_KEYS_MAX
from auth_service.api_keys.model import ApiKeyAnswer, ApiKeyDraft, NewApiKeyAnswer
from shared.database import DATABASE, Record
from shared.database.listing import list_response
from shared.errors import Conflict, LimitExceeded, NotFound
from shared.http import (
    SMALL_BODY,
    Routes,
    asked_on_behalf_of,
    identity_of,
    json_response,
    no_content,
    read_body,
    to_json,
)
from shared.identity import Permission
from shared.messaging import outbox

routes = Routes(
    tag="API keys",
    about="Credentials for programs. Only users with the role `role-admin` can manage them."
    " A key may do what its `permissions` list; roles do not apply to it.",
    examples={"id": "apikey-sync-prod"},
    parameters={"id": "Id of the API key."},
)


@routes.get(
    "/api/v1/api-keys",
    permission=Permission.READ,
    user_only=True,
    administrators=True,
    answers=list[ApiKeyAnswer],
    summary="List API keys",
)
async def list_api_keys(request: web.Request) -> web.StreamResponse:
    """All API keys of the workspace, oldest first, including deactivated ones.

    The keys themselves are never shown.
    """
    return await list_response(request, store.page, _rendered)


@routes.post(
    "/api/v1/api-keys",
    permission=Permission.UPDATE_MODEL,
    user_only=True,
    replayable=False,
    administrators=True,
    body=ApiKeyDraft,
    body_bytes_max=SMALL_BODY,
    answers=NewApiKeyAnswer,
    status=201,
    summary="Create an API key",
    errors=(Conflict, LimitExceeded),
)
async def create_api_key(request: web.Request) -> web.StreamResponse:
    """Creates an API key. `key` shows it, only this once: only its SHA-256 hash is stored."""
    identity = identity_of(request)
    draft = await read_body(request, ApiKeyDraft)
    key, text = await commands.create(
        request.app[DATABASE], identity, draft, bound=request.app[API_KEYS_MAX]
    )
    outbox.wake(request.app)
    return json_response(
        {**key.public(), "key": text}, status=201, headers={"Cache-Control": "no-store"}
    )


@routes.post(
    "/api/v1/api-keys/{id}/deactivate",
    permission=Permission.UPDATE_MODEL,
    user_only=True,
    replayable=False,
    administrators=True,
    answers=ApiKeyAnswer,
    summary="Deactivate an API key",
    errors=(NotFound,),
)
async def deactivate_api_key(request: web.Request) -> web.StreamResponse:
    """Every gateway refuses the key within a second. Deactivating it again changes nothing."""
    identity = identity_of(request)
    key = await commands.deactivate(request.app[DATABASE], identity, request.match_info["id"])
    outbox.wake(request.app)
    return json_response(key.public())


@routes.delete(
    "/api/v1/api-keys/{id}",
    permission=Permission.DELETE_MODEL,
    user_only=True,
    replayable=False,
    administrators=True,
    summary="Delete an API key",
    errors=(NotFound,),
)
async def delete_api_key(request: web.Request) -> web.StreamResponse:
    """Deletes the API key. Every gateway refuses it within a second."""
    identity = identity_of(request)
    await commands.delete(request.app[DATABASE], identity, request.match_info["id"])
    outbox.wake(request.app)
    return no_content()


@routes.internal_get("/internal/api-keys/{id}")
async def get_rights_of_key(request: web.Request) -> web.StreamResponse:
    """What the key may do and whether it is active; `apiKey` is null where there is none."""
    workspace_id = asked_on_behalf_of(request).workspace_id
    async with request.app[DATABASE].acquire() as conn:
        key = await store.find(conn, workspace_id, request.match_info["id"])
    rights = None if key is None else {"permissions": key.permissions, "active": key.active}
    return json_response({"apiKey": rights})


def _rendered(row: Record) -> bytes:
    return to_json(store.of_row(row).public())
