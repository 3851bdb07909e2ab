"""Creates, replaces and deletes roles, each in one transaction with its event."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from auth_service.clients import Gates, NameResolver
from auth_service.names import store as names
from auth_service.names.resolution import names_in, renamed, with_ids
from auth_service.permissions.grants import check_grant
from auth_service.permissions.model import Role, RoleDraft, RoleNames, blank_role, built_in_admin
from auth_service.permissions.validation import (
    check_deletable,
    check_draft,
    check_size,
    check_still_built_in,
)
from auth_service.roles import store
from auth_service.source import SOURCE
from shared.database import Conn, Database, sizes
from shared.database.sizes import Bound
from shared.errors import Conflict, PermissionDenied, ServiceUnavailable, some_of, truncated
from shared.events import Event, EventType
from shared.http.versions import Versions, check_version
from shared.identity import ADMIN_ROLE, Identity
from shared.ids import new_id
from shared.messaging import news, outbox

ATTEMPTS_MAX: Final = 5

ROLES_MAX: Final = web.AppKey("roles_max", Bound)


class _StaleCheck(Exception):
    """Something that the draft was checked against has changed since; check it again."""


@dataclass(frozen=True, slots=True)
class _CheckedDraft:
    """A draft with ids, and the versions of the roles that it was compared with."""

    draft: RoleDraft
    unknown: RoleNames
    model_version: int
    events_handled: int
    """The number of model events handled before the names were looked up."""
    giver_version: int | None
    """The version of the actor's own role; None for an actor who is not bound by it."""
    before_version: int


async def create(
    db: Database,
    resolver: NameResolver,
    gates: Gates,
    actor: Identity,
    draft: RoleDraft,
    *,
    bound: Bound,
) -> Role:
    """Create a role.

    Raises `Conflict` if the id is taken, or was the id of a deleted role that a gate still names.
    """
    check_size(draft)
    role_id = draft.id or new_id("role")
    async with db.acquire() as conn:
        is_free = await store.find(conn, actor.workspace_id, role_id) is None
        has_been = is_free and await store.has_been(conn, actor.workspace_id, role_id)
    if has_been:
        # Older versions could delete a role that a workflow still named.
        await _check_at_no_gate(
            gates, role_id, f"Role id '{truncated(role_id)}' cannot be used again"
        )
    now = datetime.now(UTC)
    blank = blank_role(actor.workspace_id, role_id, now)
    for _ in range(ATTEMPTS_MAX):
        checked = await _checked_draft(db, resolver, actor, blank, RoleNames(), draft)
        with suppress(_StaleCheck):
            async with db.transaction() as conn:
                version = await store.next_version(conn, actor.workspace_id, role_id)
                await _check_unchanged(conn, actor, checked, blank)
                await _check_unnamed(conn, actor, checked)
                role = blank.revised(checked.draft, version=version, now=now)
                await store.insert(conn, role)
                await names.keep_unknown(conn, role, checked.unknown, checked.model_version)
                await outbox.stage(conn, role_event(EventType.ROLE_CREATED, role))
                await sizes.check(conn, actor.workspace_id, bound)
            return role
    raise _busy(role_id)


async def create_built_in(conn: Conn, workspace_id: str, now: datetime) -> Role:
    """The administrator's role of a workspace that is being made."""
    admin = built_in_admin(workspace_id, now)
    version = await store.next_version(conn, workspace_id, admin.id)
    role = admin.at(version)
    await store.insert(conn, role)
    await outbox.stage(conn, role_event(EventType.ROLE_CREATED, role))
    return role


async def update(
    db: Database,
    resolver: NameResolver,
    actor: Identity,
    role_id: str,
    draft: RoleDraft,
    expected: Versions = None,
    *,
    bound: Bound,
) -> Role:
    """Replace all fields of a role.

    The meaning of names and the rights of the actor are looked up before the transaction, so that
    it does not stay open meanwhile. If one of the roles compared has changed by then, both are
    looked up again.
    """
    check_size(draft)
    for _ in range(ATTEMPTS_MAX):
        async with db.acquire() as conn:
            known = await store.get(conn, actor.workspace_id, role_id)
            unknown = await names.unknown_of(conn, actor.workspace_id, role_id)
        check_version("Role", known.id, known.version, expected)
        checked = await _checked_draft(db, resolver, actor, known, unknown, draft)
        with suppress(_StaleCheck):
            async with db.transaction() as conn:
                version = await store.next_version(conn, actor.workspace_id, role_id)
                before = await store.get(conn, actor.workspace_id, role_id)
                check_version("Role", before.id, before.version, expected)
                await _check_unchanged(conn, actor, checked, before)
                after = before.revised(checked.draft, version=version, now=datetime.now(UTC))
                check_still_built_in(before, after)
                await _check_unnamed(conn, actor, checked)
                await store.update(conn, after)
                await names.keep_unknown(conn, after, checked.unknown, checked.model_version)
                await outbox.stage(conn, role_event(EventType.ROLE_UPDATED, after))
                await sizes.check(conn, actor.workspace_id, bound)
            return after
    raise _busy(role_id)


async def delete(
    db: Database, gates: Gates, actor: Identity, role_id: str, expected: Versions = None
) -> None:
    """Delete a role that no user has and no workflow names.

    A workflow claims the roles that it names before its transaction commits, and workflow_service
    answers only after all saves in progress have ended (docs/adr/0023). So a concurrent save is
    either part of the answer, or claims the role later; then workflow_service is asked again.
    """
    for _ in range(ATTEMPTS_MAX):
        async with db.acquire() as conn:
            role = await store.get(conn, actor.workspace_id, role_id)
            claims = await store.claims_of(conn, actor.workspace_id, role_id)
        check_version("Role", role.id, role.version, expected)
        check_deletable(role)
        await _check_at_no_gate(
            gates, role_id, f"Role '{truncated(role_id)}' is in use and cannot be deleted"
        )
        with suppress(_StaleCheck):
            async with db.transaction() as conn:
                version = await store.next_version(conn, actor.workspace_id, role_id)
                role = await store.get(conn, actor.workspace_id, role_id)
                check_version("Role", role.id, role.version, expected)
                holders = await store.holders_of(conn, actor.workspace_id, role_id)
                if holders:
                    tells = actor.unrestricted and actor.may_read
                    by = f"users have it ({some_of(holders)})" if tells else None
                    raise Conflict.in_use("Role", role_id, by)
                if not await store.delete(conn, actor.workspace_id, role_id, claims):
                    raise _StaleCheck
                await outbox.stage(conn, role_event(EventType.ROLE_DELETED, role.at(version)))
            return
    raise _busy(role_id)


async def _check_at_no_gate(gates: Gates, role_id: str, problem: str) -> None:
    named_by = await gates.naming(role_id)
    if named_by:
        raise Conflict(f"{problem}: workflow '{truncated(named_by[0])}' names it in a transition")


async def _checked_draft(
    db: Database,
    resolver: NameResolver,
    actor: Identity,
    before: Role,
    before_unknown: RoleNames,
    draft: RoleDraft,
) -> _CheckedDraft:
    """The draft as it may be stored. Raises `PermissionDenied` for what the actor cannot grant."""
    if before.id == ADMIN_ROLE and not actor.is_admin:
        raise PermissionDenied.because("Only users with the role 'role-admin' can change this role")
    async with db.acquire() as conn:
        events_handled = await news.count(conn, actor.workspace_id)
    named = names_in(draft)
    if actor.unrestricted:
        resolved = await resolver.resolve(named)
        draft = with_ids(draft, resolved)
        check_draft(draft, before.id)
        unknown = resolved.unknown(names_in(draft))
        return _CheckedDraft(
            draft, unknown, resolved.model_version, events_handled, None, before.version
        )
    async with db.acquire() as conn:
        # As it is now, not as the gateway last heard of it.
        giver = await store.find(conn, actor.workspace_id, actor.role_id or "")
        giver_unknown = await names.unknown_of(conn, actor.workspace_id, actor.role_id or "")
    if giver is None:
        raise PermissionDenied
    resolved = await resolver.resolve(named | before_unknown | giver_unknown)
    draft = with_ids(draft, resolved)
    check_draft(draft, before.id)
    unknown = resolved.unknown(names_in(draft))
    # A name that was unknown when these roles were stored may have got a meaning since, and the
    # event that replaces it in them may not have been handled yet.
    compared = unknown | resolved.unknown(before_unknown | giver_unknown)
    check_grant(
        renamed(giver, giver_unknown, resolved),
        renamed(before, before_unknown, resolved),
        before.revised(draft, version=0, now=before.updated_at),
        compared,
    )
    return _CheckedDraft(
        draft, unknown, resolved.model_version, events_handled, giver.version, before.version
    )


async def _check_unchanged(
    conn: Conn, actor: Identity, checked: _CheckedDraft, before: Role
) -> None:
    """Raise `_StaleCheck` if the role being changed or the actor's own role has a new version."""
    if checked.giver_version is None:
        return
    giver_version = await store.version_of(conn, actor.workspace_id, actor.role_id or "")
    if (giver_version, before.version) != (checked.giver_version, checked.before_version):
        raise _StaleCheck


async def _check_unnamed(conn: Conn, actor: Identity, checked: _CheckedDraft) -> None:
    """Raise `_StaleCheck` if the draft has unknown names and the model has changed meanwhile.

    One of these names may have become the alias of something since it was looked up.
    """
    if (
        checked.unknown
        and await news.count_held(conn, actor.workspace_id) != checked.events_handled
    ):
        raise _StaleCheck


def _busy(role_id: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Role '{truncated(role_id)}' or your own role is being changed by others"
    )


def role_event(event_type: str, role: Role) -> Event:
    """The event of a changed role; whoever needs the role asks for it."""
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=role.workspace_id,
        subject=role.id,
        data={"roleId": role.id, "version": role.version},
    )
