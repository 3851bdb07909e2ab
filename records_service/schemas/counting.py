"""Checks whether a role may read what completeness counts.

The completeness gate of a transition opens by the values of all attributes that count, hidden ones
included (docs/adr/0019). So a person who makes a hidden attribute count, and then reads which
transitions are open, would learn whether a record has a value of it. Making an attribute count
needs `read` on it and on what its guards refer to (docs/adr/0016).

What counts is decided in two services. States and gates belong to workflow_service, which asks here
what its caller may read; the attributes of a schema and its workflow are checked here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from records_service.attributes.model import ATTRIBUTE
from records_service.model_objects import store as parts
from records_service.model_objects.model import ModelObject
from records_service.permissions import store as permissions
from records_service.permissions.reach import denied, out_of_reach
from records_service.permissions.rules import (
    AttributePermission,
    Names,
    Role,
    allows,
    permission,
    reads_everything,
)
from records_service.schemas import store
from records_service.schemas.groups import attribute_names
from records_service.schemas.model import SCHEMA
from records_service.workflow_copies.model import WorkflowCopy
from shared.database import Conn


async def unreadable_names(
    conn: Conn, workspace_id: str, role: Role | None, names: Collection[str]
) -> list[str]:
    """Return those of the names that the role may not make count, sorted.

    In a state's list, a name means every attribute that has it as id or alias, or had it as alias.
    A name without an attribute may become the alias of any attribute, so the role must be able to
    read all of them.
    """
    if role is None or not names or reads_everything(role):
        return []
    meant = await parts.meant_by(conn, ATTRIBUTE, workspace_id, names)
    hidden = await _unreadable(conn, workspace_id, role, set().union(*meant.values()))
    return sorted(name for name in names if name not in meant or meant[name] & hidden)


async def unreadable_required(
    conn: Conn, workspace_id: str, role: Role | None, workflow_id: str
) -> list[str]:
    """Return the ids of hidden attributes that count in every state of a workflow, sorted.

    These are the required attributes of the schemas with this workflow that the role may not read.
    """
    if role is None:
        return []
    required = await store.required_under(conn, workspace_id, workflow_id)
    return sorted(await _unreadable(conn, workspace_id, role, required))


async def check_counting(
    conn: Conn,
    workspace_id: str,
    role: Role | None,
    schema: ModelObject,
    old: Mapping[str, Any] | None,
    definition: Mapping[str, Any] | None,
) -> None:
    """Raise `PermissionDenied` if the saved schema makes hidden attributes count.

    `old` is the former body of the schema, None for a new schema. `definition` is the definition of
    its workflow, None without a workflow. With another workflow, everything counts anew.
    """
    if role is None or definition is None:
        return
    same_workflow = old is not None and old.get("workflowId") == schema.body.get("workflowId")
    before = set(attribute_names(old)) if old is not None and same_workflow else set()
    placed = await parts.some(
        conn, ATTRIBUTE, workspace_id, set(attribute_names(schema.body)) - before
    )
    names = await permissions.names(conn, workspace_id, ATTRIBUTE.table, placed)
    counted = _counted(WorkflowCopy.parse(definition), placed, names)
    looked_at = counted.union(*(_guards(placed[one]) for one in counted))
    names |= await permissions.names(conn, workspace_id, ATTRIBUTE.table, looked_at - names.keys())
    called = await permissions.names(conn, workspace_id, SCHEMA.table, [schema.id])
    if not all(
        allows(permission(role, called[schema.id], names[one]), AttributePermission.READ)
        for one in looked_at
    ):
        raise denied(
            ["/attributeGroups" if same_workflow else "/workflowId"],
            "Completeness would count an attribute that your role may not read",
        )


def _counted(
    lifecycle: WorkflowCopy, placed: Mapping[str, ModelObject], names: Mapping[str, Names]
) -> set[str]:
    """Return the attributes that count in at least one state, by the rule of `CompiledSchema`."""
    required = {
        attribute_id
        for attribute_id, part in placed.items()
        if part.body["validation"].get("required")
    }
    ids_by_name: dict[str, set[str]] = {}
    for one in names.values():
        for name in (one.id, *one.aliases):
            ids_by_name.setdefault(name, set()).add(one.id)
    counted: set[str] = set()
    for state in lifecycle.states.values():
        listed = (ids_by_name[name] for name in state.required & ids_by_name.keys())
        counted |= required.union(*listed) - state.hidden
    return counted


async def _unreadable(
    conn: Conn, workspace_id: str, role: Role, attribute_ids: Collection[str]
) -> set[str]:
    """Return the attributes that the role may not read, or not what their guards refer to."""
    found = await parts.some(conn, ATTRIBUTE, workspace_id, attribute_ids)
    looked_at = set(found).union(*map(_guards, found.values()))
    lost = await permissions.lost(conn, workspace_id, looked_at)
    hidden = await out_of_reach(conn, workspace_id, role, looked_at, AttributePermission.READ, lost)
    return {one for one, part in found.items() if one in hidden or _guards(part) & hidden}


def _guards(part: ModelObject) -> set[str]:
    return {guard["attributeId"] for guard in part.body["guards"]}
