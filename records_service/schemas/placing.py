"""Checks whether a role may add attributes to a schema.

Putting attributes together lets guards look at what they did not see before, and a unique attribute
compares its values with those of every other schema: so both need a permission on the values that
are there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from records_service.attributes.model import ATTRIBUTE
from records_service.model_objects import store as model_objects
from records_service.permissions import store as permissions
from records_service.permissions.reach import denied, out_of_reach
from records_service.permissions.rules import AttributePermission, Names, Role, allows, permission
from records_service.schemas.groups import attribute_names
from records_service.schemas.model import SCHEMA
from shared.database import Conn


async def check_placing(
    conn: Conn,
    workspace_id: str,
    role: Role,
    schema_id: str,
    alias: str,
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any],
) -> None:
    """Raise `PermissionDenied`; `old` and `new` are bodies with ids, None for a new schema."""
    before, after = set(attribute_names(old or _EMPTY)), set(attribute_names(new))
    names = await permissions.names(conn, workspace_id, ATTRIBUTE.table, after)
    known = (await permissions.names(conn, workspace_id, SCHEMA.table, [schema_id]))[schema_id]
    schema = Names(schema_id, (*known.aliases, alias))

    placed = await model_objects.get_many(conn, ATTRIBUTE, workspace_id, after)
    seen_together = {
        guard["attributeId"]
        for one in placed.values()
        for guard in one.body["guards"]
        if guard["attributeId"] in after and not {one.id, guard["attributeId"]} <= before
    }
    if not all(
        allows(permission(role, schema, names[one]), AttributePermission.READ)
        for one in seen_together
    ):
        raise denied(
            ["/attributeGroups"], "A guard would refer to an attribute that your role may not read"
        )
    unique = {
        one
        for one in (after - before) & placed.keys()
        if placed[one].body["validation"].get("unique")
    }
    lost = await permissions.lost(conn, workspace_id, unique)
    if await out_of_reach(conn, workspace_id, role, unique, AttributePermission.WRITE, lost):
        raise denied(
            ["/attributeGroups"],
            "A unique attribute would compare values that your role may not write",
        )


_EMPTY: Mapping[str, Any] = {"attributeGroups": []}
