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

from records_service.attributes.counting import (
    COUNTS_HIDDEN,
    at_stake,
    countables,
    counted,
    looked_at,
    reads,
    those,
)
from records_service.attributes.model import ATTRIBUTE
from records_service.model_objects import store as model_objects
from records_service.model_objects.model import ModelObject
from records_service.permissions import store as permissions
from records_service.permissions.reach import denied, out_of_reach
from records_service.permissions.rules import AttributePermission, Role, reads_everything
from records_service.schemas import store
from records_service.schemas.groups import attribute_names
from records_service.schemas.model import SCHEMA
from records_service.workflow_copies import store as workflow_copies
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
    meant = await model_objects.meant_by(conn, ATTRIBUTE, workspace_id, names)
    hidden = await _unreadable(conn, workspace_id, role, set().union(*meant.values()))
    return sorted(name for name in names if name not in meant or meant[name] & hidden)


async def required_anyway(
    conn: Conn, workspace_id: str, role: Role | None, workflow_id: str | None
) -> tuple[list[str], list[str]]:
    """Return the ids of the required attributes of the schemas with this workflow, sorted.

    They count in every state that does not hide them. Second come those that the role may not read.
    """
    if role is None or workflow_id is None:
        return [], []
    required = await store.required_under(conn, workspace_id, workflow_id)
    return sorted(required), sorted(await _unreadable(conn, workspace_id, role, required))


async def check_counting(
    conn: Conn,
    workspace_id: str,
    role: Role | None,
    schema: ModelObject,
    old: Mapping[str, Any] | None,
    definition: Mapping[str, Any] | None,
) -> None:
    """Raise `PermissionDenied` if the saved schema changes what counts beside hidden attributes.

    `old` is the former body of the schema, None for a new schema. `definition` is the definition of
    its workflow, None without a workflow. With another workflow, everything counts anew.
    """
    if role is None or definition is None:
        return
    same_workflow = old is not None and old.get("workflowId") == schema.body.get("workflowId")
    before = set(attribute_names(old)) if old is not None and same_workflow else set[str]()
    after = set(attribute_names(schema.body))
    if before == after:
        return
    placed = await countables(conn, workspace_id, before | after)
    names = await permissions.names(conn, workspace_id, ATTRIBUTE.table, looked_at(placed))
    workflow = WorkflowCopy.parse(definition)
    changed = at_stake(
        counted(workflow, those(placed, before), names),
        counted(workflow, those(placed, after), names),
        placed,
    )
    called = (await permissions.names(conn, workspace_id, SCHEMA.table, [schema.id]))[schema.id]
    if not reads(role, called, names, changed):
        pointer = "/attributeGroups" if same_workflow else "/workflowId"
        raise denied([pointer], COUNTS_HIDDEN)


async def check_withheld(
    conn: Conn, workspace_id: str, role: Role | None, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    """Raise `PermissionDenied` if a schema loses a workflow that withholds attributes from roles.

    The `hidden` and `readOnly` lists of its states hold for every role (docs/adr/0029).
    """
    workflow_id = old.get("workflowId")
    if role is None or workflow_id is None or workflow_id == new.get("workflowId"):
        return
    workflow = (await workflow_copies.get_many(conn, workspace_id, [workflow_id])).get(workflow_id)
    # Without a copy of the definition nobody can say that it withholds nothing.
    if workflow is None or any(
        state.hidden or state.read_only for state in workflow.states.values()
    ):
        raise denied(
            ["/workflowId"],
            "Your role may not take this workflow from the schema, because its states hide"
            " attributes or make them read-only",
        )


async def _unreadable(
    conn: Conn, workspace_id: str, role: Role, attribute_ids: Collection[str]
) -> set[str]:
    """Return the attributes that the role may not read, or not what their guards refer to."""
    found = await countables(conn, workspace_id, attribute_ids)
    asked = looked_at(found)
    lost = await permissions.lost(conn, workspace_id, asked)
    hidden = await out_of_reach(conn, workspace_id, role, asked, AttributePermission.READ, lost)
    return {one for one, each in found.items() if one in hidden or each.guards & hidden}
