"""Loads the caller's role, at the version named in the signed identity.

The signed identity says which version of the role it was made for, so an older copy is never used:
what a role was allowed a moment ago ends when the gateway hears of the change. A copy comes from
memory, else from our table, else from auth_service. Events say that a role has changed, not
how: they remove the old copy, and the next request asks.
"""

from __future__ import annotations

from aiohttp import web

from records_service.clients import AUTH_SERVICE
from records_service.permissions import store
from records_service.permissions.rules import Role
from shared.database import DATABASE
from shared.errors import NotFound, PermissionDenied
from shared.http import call_of, identity_of
from shared.identity import Identity
from shared.process.sized_cache import SizedCache
from shared.process.waiting import KeyedSemaphore

ROLES_REMEMBERED_MAX = 4_096
PERMISSIONS_REMEMBERED_MAX = 500_000
"""Of all roles that a process remembers: some 60 MB."""


class Roles:
    """The roles this process has seen, newest version of each, least recently used go first."""

    def __init__(self, permissions_max: int = PERMISSIONS_REMEMBERED_MAX) -> None:
        self._known = SizedCache[tuple[str, str], Role](
            permissions_max, ROLES_REMEMBERED_MAX, lambda role: role.size
        )

    def get(self, identity: Identity) -> Role | None:
        """The role if it is known at this version or a newer one."""
        role = self._known.get((identity.workspace_id, identity.role_id or ""))
        return None if role is None or role.version < identity.role_version else role

    def remember(self, identity: Identity, role: Role) -> None:
        """Keep it for the next request."""
        self._known.keep((identity.workspace_id, identity.role_id or ""), role)


ROLES = web.AppKey("roles", Roles)
ROLE_LOOKUPS = web.AppKey("role_lookups", KeyedSemaphore)


async def role_of(request: web.Request) -> Role | None:
    """The caller's role, or None for a caller whom no attribute is hidden from.

    Raises `PermissionDenied` when the role is gone, `ServiceUnavailable` when nobody can say what
    it allows.
    """
    identity = identity_of(request)
    if identity.unrestricted:
        return None
    role = request.app[ROLES].get(identity)
    if role is not None:
        return role
    # A role that has changed is asked for once, however many of its users are waiting.
    async with request.app[ROLE_LOOKUPS].of((identity.workspace_id, identity.role_id)):
        role = request.app[ROLES].get(identity)
        if role is None:
            role = await _look_up(request, identity)
            request.app[ROLES].remember(identity, role)
    return role


async def _look_up(request: web.Request, identity: Identity) -> Role:
    if identity.role_id is None:
        raise PermissionDenied
    db = request.app[DATABASE]
    async with db.acquire() as conn:
        document = await store.find(conn, identity.workspace_id, identity.role_id)
    if document is not None and document["version"] >= identity.role_version:
        return Role.parse(document)
    try:
        document = await request.app[AUTH_SERVICE].request(
            "GET", f"/internal/roles/{identity.role_id}", call=call_of(request)
        )
    except NotFound:
        raise PermissionDenied from None
    role = Role.parse(document)
    async with db.acquire() as conn:
        await store.upsert(conn, identity.workspace_id, role.id, role.version, document)
    return role
