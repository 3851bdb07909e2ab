"""The effective permissions of a role over HTTP: one route for clients."""

from __future__ import annotations

from aiohttp import web

from auth_service.effective_permissions.attributes import attributes_of
from auth_service.effective_permissions.model import ResolvedPermissionsAnswer, ResolveRequest
from auth_service.permissions.rules import permissions
from auth_service.roles import store
from shared.database import DATABASE
from shared.errors import NotFound
from shared.http import (
    NAMES_BODY,
    Routes,
    identity_of,
    json_response,
    read_body,
)
from shared.identity import Flag, Permission

routes = Routes(
    tag="Roles",
    examples={"id": "role-editor"},
    parameters={"id": "Id of the role."},
)


@routes.post(
    "/api/v1/roles/{id}/resolve",
    permission=Permission.READ,
    role="any for its own permissions, `canManageRoles` for those of others",
    body=ResolveRequest,
    body_bytes_max=NAMES_BODY,
    answers=ResolvedPermissionsAnswer,
    summary="Resolve the permissions of a role on the attributes of a schema",
    errors=(NotFound,),
)
async def resolve_role(request: web.Request) -> web.StreamResponse:
    """The permission that the role has on each attribute: its own entry, or that of `*`."""
    identity = identity_of(request)
    role_id = request.match_info["id"]
    if identity.role_id != role_id:
        identity.require_flag(Flag.MANAGE_ROLES)
    asked = await read_body(request, ResolveRequest)
    async with request.app[DATABASE].acquire() as conn:
        role = await store.get(conn, identity.workspace_id, role_id)
    schema, attributes = await attributes_of(request, asked.schema_id, asked.attribute_ids)
    return json_response(
        {
            "roleId": role.id,
            "schemaId": schema.id,
            "permissions": permissions(role, schema, attributes),
        }
    )
