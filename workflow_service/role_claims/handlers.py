"""Which workflows name a role, for auth_service."""

from __future__ import annotations

from aiohttp import web

from shared.database import DATABASE
from shared.http import (
    Routes,
    asked_on_behalf_of,
    json_response,
)
from shared.identity import Flag
from workflow_service.clients import REMOTE_CALL_SLOTS
from workflow_service.role_claims import store

WORKFLOWS_NAMED_MAX = 3

routes = Routes(tag="Internal")


@routes.internal_post("/internal/roles/{id}/named")
async def find_naming(request: web.Request) -> web.StreamResponse:
    """The ids of some workflows that name this role in a gate, at most `WORKFLOWS_NAMED_MAX`.

    Saves of workflows that are in progress end first, so their gates count too. auth_service asks
    this before it deletes a role.
    """
    identity = asked_on_behalf_of(request)
    identity.require_flag(Flag.MANAGE_ROLES)
    slot = request.app[REMOTE_CALL_SLOTS].of(REMOTE_CALL_SLOTS)
    async with slot, request.app[DATABASE].transaction() as conn:
        named_by = await store.naming_role(
            conn, identity.workspace_id, request.match_info["id"], WORKFLOWS_NAMED_MAX
        )
    return json_response({"workflowIds": named_by})
