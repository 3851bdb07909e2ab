"""A workflow belongs to one service and its users live in two others: all of them agree on it."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from tests.kit.eventually import eventually
from tests.kit.sigma import Answer, error
from tests.kit.stack import Stack
from tests.kit.workspace import Workspace, workflow_body

STATES = ("draft", "review", "published")
TRIES = 5


def lifecycle(states: tuple[str, ...] = STATES, **changes: Any) -> dict[str, Any]:
    return workflow_body("lifecycle", states, list(pairwise(states))) | changes


@pytest.fixture
async def sigma(stack) -> Workspace:
    """A workspace with a workflow and a schema bound to it."""
    workspace = await stack.workspace()
    await workspace.attribute("name")
    await workspace.workflow()
    await workspace.schema("apparel", ["name"], workflow="wf-lifecycle")
    return workspace


async def test_a_workflow_stays_while_a_schema_is_bound_to_it(sigma: Workspace):
    in_use = error(409, "CONFLICT", "Workflow 'wf-lifecycle' is in use and cannot be deleted")
    assert (await sigma.admin.delete("/workflows/wf-lifecycle")).outcome == in_use
    assert (await sigma.admin.delete("/schemas/schema-apparel")).status == 204
    await eventually(lambda: _is_deleted(sigma, "wf-lifecycle"))


async def test_a_schema_that_lets_go_of_a_workflow_frees_it(sigma: Workspace):
    schema = (await sigma.admin.get("/schemas/schema-apparel")).ok()
    answer = await sigma.admin.put("/schemas/schema-apparel", {**schema, "workflowId": None})
    assert answer.status == 200, answer.outcome
    await eventually(lambda: _is_deleted(sigma, "wf-lifecycle"))


async def test_a_schema_cannot_be_bound_to_what_is_not_there(sigma: Workspace):
    schema = {"alias": "shoes", "name": "Shoes", "variantEnabled": False, "workflowId": "wf-gone"}
    answer = await sigma.admin.post("/schemas", schema)
    assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")
    assert "wf-gone" in answer.body["message"]


async def test_a_schema_and_a_deletion_at_the_same_time_never_leave_a_loose_end(sigma: Workspace):
    for nth in range(10):
        flow = workflow_body(f"race-{nth}", ("draft",), [])
        (await sigma.admin.post("/workflows", flow)).ok()
        schema = {
            "id": f"schema-{nth}",
            "alias": f"race-{nth}",
            "name": "Race",
            "variantEnabled": False,
            "workflowId": flow["id"],
        }
        saved, deleted = await asyncio.gather(
            sigma.admin.post("/schemas", schema), sigma.admin.delete(f"/workflows/{flow['id']}")
        )
        assert (saved.status, deleted.status) in {(201, 409), (400, 204)}, (
            saved.outcome,
            deleted.outcome,
        )
        found = await sigma.admin.get(f"/workflows/{flow['id']}")
        assert found.status == (200 if saved.status == 201 else 404)


async def test_a_state_that_a_record_is_in_cannot_be_left_out(sigma: Workspace):
    record = await sigma.record("schema-apparel", {"name": "Jacket"})
    await _move(sigma, record["id"], "review")
    fewer = lifecycle(("draft", "published"))
    assert (await sigma.admin.put("/workflows/wf-lifecycle", fewer)).outcome == error(
        409,
        "CONFLICT",
        f"State 'state-review' is in use and cannot be deleted: record '{record['id']}', and maybe"
        " others, are in it",
    )
    # Nothing was retired by the attempt: others may still go there.
    other = await sigma.record("schema-apparel", {"name": "Coat"})
    await _move(sigma, other["id"], "review")
    for one in (record, other):
        await _move(sigma, one["id"], "published")
    assert (await sigma.admin.put("/workflows/wf-lifecycle", fewer)).status == 200


async def test_a_failed_change_gives_its_states_back(sigma: Workspace):
    await sigma.workflow("other", ("draft",))
    clash = lifecycle(("draft", "published"), alias="other")
    answer = await sigma.admin.put("/workflows/wf-lifecycle", clash)
    assert answer.outcome == error(409, "CONFLICT", "Workflow with alias 'other' already exists")
    record = await sigma.record("schema-apparel", {"name": "Jacket"})
    await _move(sigma, record["id"], "review")


async def test_a_change_that_was_killed_gives_its_states_back(stack: Stack, sigma: Workspace):
    """Killed between "no record enters draft" in one database and its commit in the other."""
    quick = {
        "SIGMA_REFERENCE_COMPARE_SECONDS": "0.05",
        "SIGMA_RETIREMENT_PENDING_SECONDS": "0.05",
    }
    await stack.restart("workflow_service", **quick)
    workflows = await asyncpg.connect(stack.databases["workflow_service"])
    records = await asyncpg.connect(stack.databases["records_service"])
    retired = "SELECT retired FROM lifecycles WHERE workspace_id = $1"
    checked = "SELECT retired_checked_at FROM lifecycles WHERE workspace_id = $1"
    try:
        for _ in range(TRIES):
            async with workflows.transaction():
                await workflows.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")
                fewer = lifecycle(("review", "published"))
                change = asyncio.create_task(sigma.admin.put("/workflows/wf-lifecycle", fewer))
                await eventually(
                    lambda change=change: change.done() or records.fetchval(retired, sigma.id)
                )
                # It is looked at more than once while it is under way, and stays as it is.
                for _ in range(2):
                    seen = await records.fetchval(checked, sigma.id)
                    await eventually(
                        lambda change=change, seen=seen: (
                            change.done() or _is_not(records.fetchval(checked, sigma.id), seen)
                        )
                    )
                if not change.done():
                    assert await records.fetchval(retired, sigma.id) == ["state-draft"]
                    await stack.kill("workflow_service")
            answer = await change
            if answer.status != 503:
                break
            # On a busy machine it may have given up waiting for the lock; then it has ended.
            await eventually(lambda: _is(records.fetchval(retired, sigma.id), []))
        # It was sent, and nobody can say whether it was made.
        assert answer.status == 504
        assert await records.fetchval(retired, sigma.id) == ["state-draft"]
        await stack.start("workflow_service")
        await eventually(lambda: _is(records.fetchval(retired, sigma.id), []))
    finally:
        await workflows.close()
        await records.close()
    record = await sigma.record("schema-apparel", {"name": "Jacket"})
    assert record["lifecycleStateId"] == "state-draft"
    states = (await sigma.admin.get("/workflows/wf-lifecycle")).ok()["states"]
    assert [state["id"] for state in states] == ["state-draft", "state-review", "state-published"]


async def test_a_changed_definition_decides_the_next_step_at_once(sigma: Workspace):
    record = await sigma.record("schema-apparel")
    for nth in range(5):
        steps = [("draft", "review", {"requiresCompleteness": 10 * nth + 10})]
        states = {"draft": {}, "review": {"required": ["name"]}}
        flow = workflow_body("lifecycle", states, steps)
        (await sigma.admin.put("/workflows/wf-lifecycle", flow)).ok()
        answer = await sigma.admin.post(
            f"/records/{record['id']}/transition", {"toStateId": "review"}
        )
        assert answer.outcome == error(
            400,
            "TRANSITION_ERROR",
            f"Completeness score 0% does not meet minimum {10 * nth + 10}%"
            " for transition to 'review'",
        )


async def test_a_gate_names_roles_that_exist(sigma: Workspace):
    step = {"from": "draft", "to": "review", "allowedRoleIds": ["role-admin", "role-gone"]}
    changed = lifecycle(transitions=[step])
    unknown = error(400, "VALIDATION_ERROR", "Unknown role 'role-gone'")
    assert (await sigma.admin.put("/workflows/wf-lifecycle", changed)).outcome == unknown
    await sigma.role("role-gone")
    assert (await sigma.admin.put("/workflows/wf-lifecycle", changed)).status == 200


async def test_a_key_passes_where_administrators_do(sigma: Workspace):
    await sigma.role("role-chief")
    steps = [
        ("draft", "review", {"allowedRoleIds": ["role-chief"]}),
        ("draft", "published", {"allowedRoleIds": ["role-chief", "role-admin"]}),
    ]
    (
        await sigma.admin.put("/workflows/wf-lifecycle", workflow_body("lifecycle", STATES, steps))
    ).ok()
    record = await sigma.record("schema-apparel")
    key = await sigma.api_key(["read", "update-data"])
    path = f"/records/{record['id']}/transition"
    assert (await key.post(path, {"toStateId": "state-review"})).outcome == error(
        400,
        "TRANSITION_ERROR",
        "Role 'role-admin' is not allowed to transition from 'draft' to 'review'",
    )
    assert (await key.post(path, {"toStateId": "state-published"})).status == 200


async def test_a_worker_of_its_own_hears_what_happens_while_the_api_is_away(
    stack: Stack, sigma: Workspace
):
    await stack.another("workflow_service", role="worker")
    await stack.kill("workflow_service")
    (await sigma.admin.delete("/schemas/schema-apparel")).ok()
    database = await asyncpg.connect(stack.databases["workflow_service"])
    count = "SELECT count(*) FROM workflow_references WHERE workspace_id = $1"
    try:
        await eventually(lambda: _is(database.fetchval(count, sigma.id), 0))
    finally:
        await database.close()


async def _is(found: Any, expected: Any) -> bool:
    return bool(await found == expected)


async def _is_not(found: Any, expected: Any) -> bool:
    return bool(await found != expected)


async def _is_deleted(sigma: Workspace, workflow_id: str) -> bool:
    answer = await sigma.admin.delete(f"/workflows/{workflow_id}")
    assert answer.status in (204, 409), answer.outcome
    return answer.status == 204


async def _move(sigma: Workspace, record_id: str, state: str) -> Answer:
    answer = await sigma.admin.post(f"/records/{record_id}/transition", {"toStateId": state})
    assert answer.status == 200, answer.outcome
    return answer
