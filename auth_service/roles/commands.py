"""Creates, replaces and deletes roles, each in one transaction with its event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from auth_service.roles import store
from auth_service.roles.gates import Gates
from auth_service.roles.grants import (
    check_grant,
    check_may_go,
    check_size,
    check_sound,
    check_still_built_in,
)
from auth_service.roles.model import Role, RoleDraft, RoleNames, blank_role, built_in_admin
from auth_service.roles.naming import Dictionary, Meaning, names_in, with_ids
from auth_service.roles.renaming import Entries, attribute_named, schema_named
from auth_service.source import SOURCE
from shared.database import Conn, Database, sizes
from shared.database.sizes import Bound
from shared.errors import Conflict, PermissionDenied, ServiceUnavailable, truncated
from shared.events import Event, EventType
from shared.http.versions import Versions, check_version
from shared.identity import ADMIN_ROLE, Identity
from shared.ids import new_id
from shared.messaging import news, outbox

ATTEMPTS_MAX: Final = 5

ROLES_MAX: Final = web.AppKey("roles_max", Bound)


class _Changed(Exception):
    """Something that the draft was judged by has changed since; judge it again."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """A draft with ids, and the versions of the roles that it was compared with."""

    draft: RoleDraft
    unknown: RoleNames
    model_version: int
    heard: int
    """The number of model events handled before the names were looked up."""
    giver_version: int | None
    """The version of the actor's own role; None for an actor who is not bound by it."""
    before_version: int


async def create(
    db: Database,
    dictionary: Dictionary,
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
        judged = await _judged(db, dictionary, actor, blank, RoleNames(), draft)
        with suppress(_Changed):
            async with db.transaction() as conn:
                version = await store.next_version(conn, actor.workspace_id, role_id)
                await _check_unchanged(conn, actor, judged, blank)
                await _check_unnamed(conn, actor, judged)
                role = blank.revised(judged.draft, version=version, now=now)
                await store.insert(conn, role)
                await store.keep_unknown(conn, role, judged.unknown, judged.model_version)
                await outbox.stage(conn, _role_event(EventType.ROLE_CREATED, role))
                await sizes.check(conn, actor.workspace_id, bound)
            return role
    raise _busy(role_id)


async def create_built_in(conn: Conn, workspace_id: str, now: datetime) -> Role:
    """The administrator's role of a workspace that is being made."""
    admin = built_in_admin(workspace_id, now)
    version = await store.next_version(conn, workspace_id, admin.id)
    role = admin.at(version)
    await store.insert(conn, role)
    await outbox.stage(conn, _role_event(EventType.ROLE_CREATED, role))
    return role


async def update(
    db: Database,
    dictionary: Dictionary,
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
            unknown = await store.unknown_of(conn, actor.workspace_id, role_id)
        check_version("Role", known.id, known.version, expected)
        judged = await _judged(db, dictionary, actor, known, unknown, draft)
        with suppress(_Changed):
            async with db.transaction() as conn:
                version = await store.next_version(conn, actor.workspace_id, role_id)
                before = await store.get(conn, actor.workspace_id, role_id)
                check_version("Role", before.id, before.version, expected)
                await _check_unchanged(conn, actor, judged, before)
                after = before.revised(judged.draft, version=version, now=datetime.now(UTC))
                check_still_built_in(before, after)
                await _check_unnamed(conn, actor, judged)
                await store.update(conn, after)
                await store.keep_unknown(conn, after, judged.unknown, judged.model_version)
                await outbox.stage(conn, _role_event(EventType.ROLE_UPDATED, after))
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
        check_may_go(role)
        await _check_at_no_gate(
            gates, role_id, f"Role '{truncated(role_id)}' is in use and cannot be deleted"
        )
        with suppress(_Changed):
            async with db.transaction() as conn:
                version = await store.next_version(conn, actor.workspace_id, role_id)
                role = await store.get(conn, actor.workspace_id, role_id)
                check_version("Role", role.id, role.version, expected)
                if not await store.delete(conn, actor.workspace_id, role_id, claims):
                    raise _Changed
                await outbox.stage(conn, _role_event(EventType.ROLE_DELETED, role.at(version)))
            return
    raise _busy(role_id)


async def _check_at_no_gate(gates: Gates, role_id: str, problem: str) -> None:
    named_by = await gates.naming(role_id)
    if named_by:
        raise Conflict(f"{problem}: workflow '{truncated(named_by[0])}' names it in a transition")


async def name_attribute(
    db: Database,
    workspace_id: str,
    attribute_id: str,
    alias: str,
    others: Sequence[str],
    *,
    model_version: int,
    is_new: bool,
) -> None:
    """Let roles that name the attribute by this alias hold its id (`renaming.attribute_named`)."""
    await _name(
        db,
        workspace_id,
        "attribute",
        attribute_id,
        alias,
        model_version,
        lambda entries: attribute_named(entries, alias, attribute_id, others, is_new=is_new),
    )


async def name_schema(
    db: Database,
    workspace_id: str,
    schema_id: str,
    alias: str,
    *,
    model_version: int,
    is_meant: bool,
) -> None:
    """Let roles that name the schema by this alias hold its id (`renaming.schema_named`).

    `is_meant` is False if other schemas had the alias, or if the id belonged to a deleted schema:
    then the entry stays under the alias, where it can only deny.
    """
    await _name(
        db,
        workspace_id,
        "schema",
        schema_id,
        alias,
        model_version,
        lambda entries: schema_named(entries, alias, schema_id) if is_meant else entries,
    )


async def _name(
    db: Database,
    workspace_id: str,
    kind: store.Kind,
    part_id: str,
    alias: str,
    model_version: int,
    named: Callable[[Entries], Entries],
) -> None:
    """Change the roles in which the name was unknown at an older model version than this one.

    A role whose names were looked up at this version or a later one is not affected. The function
    waits for a concurrent change of a role.
    """
    names = (alias, part_id)
    async with db.acquire() as conn:
        role_ids = await store.roles_with_unknown(conn, workspace_id, kind, names, model_version)
    for role_id in role_ids:
        async with db.transaction() as conn:
            await store.lock(conn, workspace_id, role_id)
            role = await store.find(conn, workspace_id, role_id)
            if role is None:
                continue
            # A name equal to the new id means that id from now on, so it is no longer unknown.
            await store.forget_unknown(conn, role, kind, part_id, model_version)
            if not await store.is_unknown(conn, role, kind, alias, model_version):
                continue
            entries = named(role.schema_permissions)
            if list(entries) == list(role.schema_permissions):
                continue
            after = replace(
                role,
                schema_permissions=entries,
                version=await store.next_version(conn, workspace_id, role_id),
                updated_at=datetime.now(UTC),
            )
            await store.update(conn, after)
            if not _says(after, kind, alias):
                await store.forget_unknown(conn, role, kind, alias, model_version)
            await outbox.stage(conn, _role_event(EventType.ROLE_UPDATED, after))


def _says(role: Role, kind: store.Kind, name: str) -> bool:
    if kind == "schema":
        return any(entry["schemaId"] == name for entry in role.schema_permissions)
    return any(name in entry["attributePermissions"] for entry in role.schema_permissions)


async def _judged(
    db: Database,
    dictionary: Dictionary,
    actor: Identity,
    before: Role,
    before_unknown: RoleNames,
    draft: RoleDraft,
) -> _Judged:
    """The draft as it may be stored. Raises `PermissionDenied` for what the actor cannot grant."""
    if before.id == ADMIN_ROLE and not actor.is_admin:
        raise PermissionDenied.because("Only users with the role 'role-admin' can change this role")
    async with db.acquire() as conn:
        heard = await news.count(conn, actor.workspace_id)
    names = names_in(draft)
    if actor.unrestricted:
        meaning = await dictionary.meaning(names)
        draft = with_ids(draft, meaning)
        check_sound(draft, before.id)
        unknown = meaning.unknown(names_in(draft))
        return _Judged(draft, unknown, meaning.model_version, heard, None, before.version)
    async with db.acquire() as conn:
        # As it is now, not as the gateway last heard of it.
        giver = await store.find(conn, actor.workspace_id, actor.role_id or "")
        giver_unknown = await store.unknown_of(conn, actor.workspace_id, actor.role_id or "")
    if giver is None:
        raise PermissionDenied
    meaning = await dictionary.meaning(names | before_unknown | giver_unknown)
    draft = with_ids(draft, meaning)
    check_sound(draft, before.id)
    unknown = meaning.unknown(names_in(draft))
    # A name that was unknown when these roles were stored may have got a meaning since, and the
    # event that replaces it in them may not have been handled yet.
    compared = unknown | meaning.unknown(before_unknown | giver_unknown)
    check_grant(
        _renamed(giver, giver_unknown, meaning),
        _renamed(before, before_unknown, meaning),
        before.revised(draft, version=0, now=before.updated_at),
        compared,
    )
    return _Judged(draft, unknown, meaning.model_version, heard, giver.version, before.version)


async def _check_unchanged(conn: Conn, actor: Identity, judged: _Judged, before: Role) -> None:
    """Raise `_Changed` if the role being changed or the actor's own role has a new version."""
    if judged.giver_version is None:
        return
    giver_version = await store.version_of(conn, actor.workspace_id, actor.role_id or "")
    if (giver_version, before.version) != (judged.giver_version, judged.before_version):
        raise _Changed


async def _check_unnamed(conn: Conn, actor: Identity, judged: _Judged) -> None:
    """Raise `_Changed` if the draft has unknown names and the model has changed meanwhile.

    One of these names may have become the alias of something since it was looked up.
    """
    if judged.unknown and await news.count_held(conn, actor.workspace_id) != judged.heard:
        raise _Changed


def _renamed(role: Role, unknown: RoleNames, meaning: Meaning) -> Role:
    """The role with the ids of attributes that were unknown when it was stored and exist now."""
    entries = role.schema_permissions
    for alias in unknown.attributes:
        one = meaning.attributes.get(alias, alias)
        if one != alias:
            entries = attribute_named(entries, alias, one, (), is_new=False)
    return replace(role, schema_permissions=entries)


def _busy(role_id: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Role '{truncated(role_id)}' or your own role is being changed by others"
    )


def _role_event(event_type: str, role: Role) -> Event:
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=role.workspace_id,
        subject=role.id,
        data={"roleId": role.id, "version": role.version},
    )
