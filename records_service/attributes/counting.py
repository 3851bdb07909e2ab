"""Which attributes completeness counts in the states of a workflow, and who may change that.

A gate of a transition tells how much of what counts has a value, hidden attributes included
(docs/adr/0019). One attribute more or less among them tells how many of the others have one. So
changing what counts in a state needs `read` on all that counts there afterwards, and on what its
guards refer to (docs/adr/0016, 0029). The answer depends on the model alone and not on any value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from records_service.attributes import store
from records_service.attributes.model import ATTRIBUTE
from records_service.model_objects.model import ModelObject
from records_service.permissions import store as permissions
from records_service.permissions.reach import denied
from records_service.permissions.rules import AttributePermission, Names, Role, allows, permission
from records_service.workflow_copies import store as workflow_copies
from records_service.workflow_copies.model import WorkflowCopy
from shared.database import Conn
from shared.process.offload import in_thread

COUNTS_HIDDEN = (
    "This changes what completeness counts where it also counts an attribute that your role may not"
    " read"
)


@dataclass(frozen=True, slots=True)
class Countable:
    """What decides whether an attribute counts, and whose values decide about it."""

    required: bool
    guards: frozenset[str]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Countable:
        """Read the stored body of an attribute."""
        return cls(
            bool(body["validation"].get("required")),
            frozenset(guard["attributeId"] for guard in body["guards"]),
        )


Countables = Mapping[str, Countable]
"""By the id of the attribute."""


async def countables(conn: Conn, workspace_id: str, ids: Collection[str]) -> Countables:
    """Those of the attributes that exist."""
    return {
        row["id"]: Countable(row["required"], frozenset(row["guards"]))
        for row in await store.countables(conn, workspace_id, ids)
    }


async def check_change(
    conn: Conn,
    workspace_id: str,
    role: Role,
    old: ModelObject,
    alias: str,
    body: Mapping[str, Any],
    pointer: str,
) -> None:
    """Raise `PermissionDenied` if another form of an attribute changes what counts beside it.

    `alias` and `body` are those that it is about to get: by them it may count where it did not, no
    longer count, or count under other conditions, in each schema with a workflow that has it.
    """
    schemas = await store.with_workflow(conn, workspace_id, old.id)
    if not schemas:
        return
    workflows = await workflow_copies.get_many(
        conn, workspace_id, {workflow_id for _, workflow_id, _ in schemas}
    )
    placed = await countables(conn, workspace_id, {one for *_, ids in schemas for one in ids})
    changed = {**placed, old.id: Countable.of(body)}
    names = await permissions.names(
        conn, workspace_id, ATTRIBUTE.table, looked_at(placed) | looked_at(changed)
    )
    renamed = {**names, old.id: Names(old.id, (*names[old.id].aliases, alias))}
    called = await permissions.names(
        conn, workspace_id, "schemas", [schema_id for schema_id, *_ in schemas]
    )
    other_guards = old.body["guards"] != body["guards"]

    def is_allowed() -> bool:
        for schema_id, workflow_id, ids in schemas:
            workflow = workflows.get(workflow_id)
            if workflow is None:
                continue
            before = counted(workflow, those(placed, ids), names)
            after = counted(workflow, those(changed, ids), renamed)
            if other_guards:
                # It counts under other conditions: as if it had not counted before.
                for found in before.values():
                    found.pop(old.id, None)
            if not reads(role, called[schema_id], renamed, at_stake(before, after, changed)):
                return False
        return True

    # Some thousands of schemas with hundreds of attributes and states take seconds.
    if not await in_thread(is_allowed):
        raise denied([pointer], COUNTS_HIDDEN)


def counted(
    workflow: WorkflowCopy, placed: Countables, names: Mapping[str, Names]
) -> dict[str, dict[str, frozenset[str]]]:
    """Return what counts, by the id of the state, by the rule of `CompiledSchema`.

    Of each attribute that counts, those of the schema that its guards refer to: a guard sees no
    value of others.
    """
    required = frozenset(one for one, countable in placed.items() if countable.required)
    ids_by_name: dict[str, set[str]] = {}
    for one in placed:
        for name in (one, *names[one].aliases):
            ids_by_name.setdefault(name, set()).add(one)
    guards = {one: countable.guards & placed.keys() for one, countable in placed.items()}
    return {
        state.id: {
            one: guards[one]
            for one in required.union(
                *(ids_by_name[name] for name in state.required & ids_by_name.keys())
            )
            - state.hidden
        }
        for state in workflow.states.values()
    }


def at_stake(
    before: Mapping[str, Mapping[str, frozenset[str]]],
    after: Mapping[str, Mapping[str, frozenset[str]]],
    placed: Countables,
) -> set[str]:
    """Return what counts in the states where something else counted, and what its guards refer to.

    `before` and `after` come from `counted`.
    """
    changed = [ids for state_id, ids in after.items() if ids != before[state_id]]
    return looked_at(those(placed, set[str]().union(*changed)))


def looked_at(placed: Countables) -> set[str]:
    """The attributes whose values decide about what these count."""
    return set(placed).union(*(countable.guards for countable in placed.values()))


def those(placed: Countables, ids: Iterable[str]) -> Countables:
    """Those of the attributes that have one of these ids."""
    return {one: placed[one] for one in ids if one in placed}


def reads(role: Role, schema: Names, names: Mapping[str, Names], ids: Iterable[str]) -> bool:
    """Whether the role may read all these attributes in a schema."""
    return all(
        allows(permission(role, schema, names[one]), AttributePermission.READ) for one in ids
    )
