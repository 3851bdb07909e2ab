"""Checks whether a role may read or write an attribute in every schema that uses it.

Who shapes the model could ask questions about values that are hidden from them: a guard on an
attribute, a claim that its values are unique, or the removal of an option that might be in use, is
answered from the records of every schema. So each of them needs a permission on the attribute in
every schema that has it, or has lost it and has records (docs/adr/0016). The answer does not depend
on any value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from records_service.permissions import store
from records_service.permissions.rules import AttributePermission, Role, allows, permission
from shared.database import Conn
from shared.errors import PermissionDenied, Violation


async def out_of_reach(
    conn: Conn,
    workspace_id: str,
    role: Role | None,
    attribute_ids: Collection[str],
    least: AttributePermission,
    lost: Iterable[tuple[str, str]] = (),
) -> frozenset[str]:
    """Those of the attributes on which the role has less than this in some schema.

    `lost` are more (schema, attribute) to look at: those of schemas that no longer have the
    attribute, but whose records may.
    """
    if role is None or not attribute_ids:
        return frozenset()
    pairs = {*await store.uses(conn, workspace_id, attribute_ids), *lost}
    schemas = await store.names(conn, workspace_id, "schemas", {schema for schema, _ in pairs})
    attributes = await store.names(conn, workspace_id, "attributes", {each for _, each in pairs})
    return frozenset(
        attribute_id
        for schema_id, attribute_id in pairs
        if not allows(permission(role, schemas[schema_id], attributes[attribute_id]), least)
    )


async def check_readable(
    conn: Conn, workspace_id: str, role: Role | None, attribute_ids: Collection[str], pointer: str
) -> None:
    """Raise `PermissionDenied` unless the role may read all of them wherever there are values."""
    if role is None or not attribute_ids:
        return
    lost = await store.lost(conn, workspace_id, attribute_ids)
    if await out_of_reach(conn, workspace_id, role, attribute_ids, AttributePermission.READ, lost):
        raise denied([pointer], "This depends on values that your role may not read")


async def check_writable(
    conn: Conn,
    workspace_id: str,
    role: Role | None,
    attribute_ids: Collection[str],
    pointer: str,
    message: str,
) -> None:
    """Raise `PermissionDenied` unless the role may write all of them wherever there are values."""
    if role is None or not attribute_ids:
        return
    lost = await store.lost(conn, workspace_id, attribute_ids)
    if await out_of_reach(conn, workspace_id, role, attribute_ids, AttributePermission.WRITE, lost):
        raise denied([pointer], message)


def denied(pointers: Iterable[str], message: str) -> PermissionDenied:
    """A refusal that says where, and nothing about any value."""
    return PermissionDenied(violations=(Violation(pointer, message) for pointer in pointers))
