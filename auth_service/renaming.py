"""Replaces a name in stored roles with the id of the schema or attribute that got it as its alias.

Each role is changed in a transaction of its own, with its event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from auth_service.names import store as names
from auth_service.names.replacement import Entries, attribute_named, schema_named
from auth_service.permissions.model import Role
from auth_service.roles import store
from auth_service.roles.commands import role_event
from shared.database import Database
from shared.events import EventType
from shared.messaging import outbox


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
    """Let roles that name the attribute by this alias hold its id (`attribute_named`)."""
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
    """Let roles that name the schema by this alias hold its id (`schema_named`).

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
    kind: names.Kind,
    part_id: str,
    alias: str,
    model_version: int,
    named: Callable[[Entries], Entries],
) -> None:
    """Change the roles in which the name was unknown at an older model version than this one.

    A role whose names were looked up at this version or a later one is not affected. The function
    waits for a concurrent change of a role.
    """
    async with db.acquire() as conn:
        role_ids = await names.roles_with_unknown(
            conn, workspace_id, kind, (alias, part_id), model_version
        )
    for role_id in role_ids:
        async with db.transaction() as conn:
            await store.lock(conn, workspace_id, role_id)
            role = await store.find(conn, workspace_id, role_id)
            if role is None:
                continue
            # A name equal to the new id means that id from now on, so it is no longer unknown.
            await names.forget_unknown(conn, role, kind, part_id, model_version)
            if not await names.is_unknown(conn, role, kind, alias, model_version):
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
                await names.forget_unknown(conn, role, kind, alias, model_version)
            await outbox.stage(conn, role_event(EventType.ROLE_UPDATED, after))


def _says(role: Role, kind: names.Kind, name: str) -> bool:
    if kind == "schema":
        return any(entry["schemaId"] == name for entry in role.schema_permissions)
    return any(name in entry["attributePermissions"] for entry in role.schema_permissions)
