"""Changing roles: one transaction each, the news of it inside."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from auth_service.roles import store
from auth_service.roles.grants import (
    check_grant,
    check_may_go,
    check_sound,
    check_still_built_in,
)
from auth_service.roles.model import Role, RoleDraft, blank_role, built_in_admin
from auth_service.source import SOURCE
from shared import events, outbox
from shared.errors import PermissionDenied
from shared.events import Event
from shared.identity import ADMIN_ROLE, Identity
from shared.ids import new_id
from shared.postgres import Conn, Database
from shared.versions import Versions, check_version


async def create(db: Database, actor: Identity, draft: RoleDraft) -> Role:
    """A new role. Raises `Conflict` when the id is taken."""
    role_id = draft.id or new_id("role")
    check_sound(draft, role_id)
    now = datetime.now(UTC)
    blank = blank_role(actor.workspace_id, role_id, now)
    async with db.transaction() as conn:
        version = await store.next_version(conn, actor.workspace_id, role_id)
        role = blank.revised(draft, version=version, now=now)
        await _check_allowed(conn, actor, blank, role)
        await store.insert(conn, role)
        await outbox.stage(conn, _told(events.ROLE_CREATED, role))
    return role


async def create_built_in(conn: Conn, workspace_id: str, now: datetime) -> Role:
    """The administrator's role of a workspace that is being made."""
    admin = built_in_admin(workspace_id, now)
    version = await store.next_version(conn, workspace_id, admin.id)
    role = admin.at(version)
    await store.insert(conn, role)
    await outbox.stage(conn, _told(events.ROLE_CREATED, role))
    return role


async def update(
    db: Database, actor: Identity, role_id: str, draft: RoleDraft, expected: Versions = None
) -> Role:
    """Replace everything that a role says."""
    check_sound(draft, role_id)
    async with db.transaction() as conn:
        version = await store.next_version(conn, actor.workspace_id, role_id)
        before = await store.get(conn, actor.workspace_id, role_id)
        check_version("Role", before.id, before.version, expected)
        after = before.revised(draft, version=version, now=datetime.now(UTC))
        await _check_allowed(conn, actor, before, after)
        check_still_built_in(before, after)
        await store.update(conn, after)
        await outbox.stage(conn, _told(events.ROLE_UPDATED, after))
    return after


async def delete(db: Database, actor: Identity, role_id: str, expected: Versions = None) -> None:
    """Remove a role that nobody holds."""
    async with db.transaction() as conn:
        version = await store.next_version(conn, actor.workspace_id, role_id)
        role = await store.get(conn, actor.workspace_id, role_id)
        check_version("Role", role.id, role.version, expected)
        check_may_go(role)
        await store.delete(conn, actor.workspace_id, role_id)
        await outbox.stage(conn, _told(events.ROLE_DELETED, role.at(version)))


async def _check_allowed(conn: Conn, actor: Identity, before: Role, after: Role) -> None:
    if actor.is_admin:
        return
    if before.id == ADMIN_ROLE:
        raise PermissionDenied
    if actor.unrestricted:
        return
    # As it is now, not as the gateway last heard of it.
    giver = await store.find(conn, actor.workspace_id, actor.role_id or "")
    if giver is None:
        raise PermissionDenied
    # Two large roles take a while to compare; other requests go on meanwhile.
    await asyncio.to_thread(check_grant, giver, before, after)


def _told(event_type: str, role: Role) -> Event:
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=role.workspace_id,
        subject=role.id,
        data={"roleId": role.id, "version": role.version, "role": role.document()},
    )
