"""Roles over HTTP: five routes for clients, two for other services."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from auth_service.clients import Gates, NameResolver
from auth_service.permissions.model import Role, RoleDraft
from auth_service.roles import commands, store
from auth_service.roles.commands import ROLES_MAX
from auth_service.roles.model import MissingRolesRequest, RoleAnswer
from shared.database import DATABASE, Record
from shared.database.listing import ListQuery, list_response
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import (
    Routes,
    asked_on_behalf_of,
    identity_of,
    json_response,
    no_content,
    read_body,
    read_query,
    to_json,
    versioned_response,
)
from shared.http.versions import if_match
from shared.identity import Flag, Permission
from shared.messaging import outbox

routes = Routes(
    tag="Roles",
    about="What users may do: system flags, and permissions on the attributes of each schema.",
    examples={"id": "role-editor"},
    parameters={"id": "Id of the role."},
)


@routes.get(
    "/api/v1/roles",
    permission=Permission.READ,
    query=ListQuery,
    answers=list[RoleAnswer],
    summary="List roles",
)
async def list_roles(request: web.Request) -> web.StreamResponse:
    """All roles of the workspace, oldest first."""
    asked = read_query(request, ListQuery)
    read = partial(store.page, narrowing=asked.narrowing())
    return await list_response(request, read, _rendered, asked)


@routes.post(
    "/api/v1/roles",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_ROLES,
    body=RoleDraft,
    answers=RoleAnswer,
    status=201,
    summary="Create a role",
    errors=(Conflict, LimitExceeded),
)
async def create_role(request: web.Request) -> web.StreamResponse:
    """Creates a role. Nobody can grant more than their own role allows.

    Attributes and schemas may be named by id or alias; the role stores the ids.
    """
    identity = identity_of(request)
    draft = await read_body(request, RoleDraft)
    role = await commands.create(
        request.app[DATABASE],
        NameResolver(request),
        Gates(request),
        identity,
        draft,
        bound=request.app[ROLES_MAX],
    )
    outbox.wake(request.app)
    return _answer(role, status=201, location=f"/api/v1/roles/{role.id}")


@routes.get(
    "/api/v1/roles/{id}",
    permission=Permission.READ,
    answers=RoleAnswer,
    summary="Get a role",
    errors=(NotFound,),
)
async def get_role(request: web.Request) -> web.StreamResponse:
    """One role. Its version is in the `ETag` header."""
    async with request.app[DATABASE].acquire() as conn:
        role = await store.get(conn, identity_of(request).workspace_id, request.match_info["id"])
    return _answer(role)


@routes.put(
    "/api/v1/roles/{id}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_ROLES,
    body=RoleDraft,
    answers=RoleAnswer,
    summary="Replace a role",
    errors=(NotFound, Conflict, PreconditionFailed, LimitExceeded),
)
async def replace_role(request: web.Request) -> web.StreamResponse:
    """Replaces the whole role. Fields that are left out become false, empty or null.

    Nobody can add more than their own role allows. Only an administrator can change `role-admin`,
    and only its name and description.
    """
    identity = identity_of(request)
    draft = await read_body(request, RoleDraft)
    role = await commands.update(
        request.app[DATABASE],
        NameResolver(request),
        identity,
        request.match_info["id"],
        draft,
        if_match(request.headers),
        bound=request.app[ROLES_MAX],
    )
    outbox.wake(request.app)
    return _answer(role)


@routes.delete(
    "/api/v1/roles/{id}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.MANAGE_ROLES,
    summary="Delete a role",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def delete_role(request: web.Request) -> web.StreamResponse:
    """Deletes the role. Refused while a user or a workflow uses it, and for `role-admin`."""
    identity = identity_of(request)
    await commands.delete(
        request.app[DATABASE],
        Gates(request),
        identity,
        request.match_info["id"],
        if_match(request.headers),
    )
    outbox.wake(request.app)
    return no_content()


@routes.internal_get("/internal/roles/{id}")
async def get_role_document(request: web.Request) -> web.StreamResponse:
    """The whole role with its version, for a service that keeps a copy."""
    identity = asked_on_behalf_of(request)
    async with request.app[DATABASE].acquire() as conn:
        role = await store.get(conn, identity.workspace_id, request.match_info["id"])
    return json_response(role.document())


@routes.internal_post("/internal/roles/missing", body=MissingRolesRequest)
async def find_missing_roles(request: web.Request) -> web.StreamResponse:
    """Which of these roles do not exist; those that exist are claimed for a workflow.

    A deletion that is checking one of them checks again whether a workflow names it.
    """
    identity = asked_on_behalf_of(request)
    asked = await read_body(request, MissingRolesRequest)
    async with request.app[DATABASE].acquire() as conn:
        claimed = await store.claim(conn, identity.workspace_id, asked.ids)
    missing = [one for one in dict.fromkeys(asked.ids) if one not in claimed]
    return json_response({"missing": missing})


def _rendered(row: Record) -> bytes:
    return to_json(store.parsed(row).public())


def _answer(role: Role, *, status: int = 200, location: str | None = None) -> web.StreamResponse:
    return versioned_response(role.public(), role.version, status=status, location=location)
