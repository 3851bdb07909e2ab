"""Many deletes and many transitions in one call, by the rules of single ones."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEMA = "schema-apparel"
LATE = {"requiresCompleteness": 100}


@pytest_asyncio.fixture(loop_scope="module")
async def apparel(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Four records in `draft`; `done` needs a name and a cost."""
    await workspace.workflow(
        states={"draft": {}, "done": {}, "shown": {}},
        transitions=[
            ("draft", "done", LATE),
            ("done", "shown", {}),
            ("done", "draft", {}),
        ],
    )
    await workspace.attribute("name", validation={"required": True})
    await workspace.attribute("cost", validation={"required": True})
    await workspace.schema("apparel", ["name", "cost"], workflowId="wf-lifecycle")
    for n, values in enumerate([{"name": "A", "cost": "1"}, {"name": "B"}, {"cost": "2"}, {}]):
        body = {"id": f"ent-{n}", "schemaId": SCHEMA, "values": entries(values)}
        (await workspace.admin.post("/records", body)).ok()
    return workspace


def results(answer: Answer) -> list[tuple[str, int | None, str | None]]:
    return [(one["outcome"], one["version"], one.get("message")) for one in answer.ok()["results"]]


async def test_records_that_may_move_do(apparel):
    body = {"ids": ["ent-0", "ent-1", "ent-0", "ent-none"], "toStateId": "done", "comment": "c"}
    answer = await apparel.admin.post("/records/bulk-transition", body)
    single = await apparel.admin.post("/records/ent-1/transition", {"toStateId": "done"})
    again = await apparel.admin.post("/records/ent-0/transition", {"toStateId": "done"})
    assert results(answer) == [
        ("updated", 2, None),
        ("failed", None, single.body["message"]),
        ("failed", None, again.body["message"]),
        ("failed", None, "Entity 'ent-none' not found"),
    ]
    assert [one.get("error") for one in answer.body["results"]] == [
        None,
        "TRANSITION_ERROR",
        "TRANSITION_ERROR",
        "NOT_FOUND",
    ]
    record = (await apparel.admin.get("/records/ent-0")).ok()
    assert record["lifecycleStateId"] == "state-done"
    assert record["values"] == entries({"name": "A", "cost": "1"})
    (last, _) = (await apparel.admin.get("/records/ent-0/audit")).ok()["items"]
    assert (last["action"], last["fromStateId"], last["toStateId"], last["comment"]) == (
        "transition",
        "state-draft",
        "state-done",
        "c",
    )
    events = [one for one in await apparel.staged() if one.type == "entity.transition"]
    assert [(one.subject, one.version) for one in events] == [("ent-0", 2)]


async def test_all_move_or_none_does(apparel):
    body = {"ids": ["ent-0", "ent-2"], "toStateId": "done"}
    answer = await apparel.admin.post("/records/bulk-transition?mode=atomic", body)
    assert answer.status == 400
    assert answer.body["error"] == "TRANSITION_ERROR"
    assert answer.body["message"].startswith("Row 1: Completeness score 50%")
    record = (await apparel.admin.get("/records/ent-0")).ok()
    assert record["lifecycleStateId"] == "state-draft"


async def test_a_refusal_tells_what_a_single_one_tells(apparel):
    """To a role from which a missing attribute is hidden, and to a key that may not read."""
    user = await apparel.user_with_role(
        {SCHEMA: {"attr-name": "write", "attr-cost": "hidden"}}, name="role-half"
    )
    key = apparel.api_key("update-data")
    for caller in (user, key):
        for record_id, state in (("ent-1", "done"), ("ent-3", "done"), ("ent-0", "shown")):
            single = await caller.post(f"/records/{record_id}/transition", {"toStateId": state})
            bulk = await caller.post(
                "/records/bulk-transition?mode=atomic", {"ids": [record_id], "toStateId": state}
            )
            assert bulk.status == single.status
            if single.status >= 400:
                assert bulk.body["message"] == f"Row 0: {single.body['message']}"


async def test_a_definition_that_is_not_known_here_yet_decides(apparel, monkeypatch):
    """The copy of records_service is older: it takes the one in force over and judges by that."""
    body = (await apparel.workflow_admin.get("/workflows/wf-lifecycle")).ok()
    for step in body["transitions"]:
        step.pop("requiresCompleteness", None)
    (await apparel.workflow_admin.put("/workflows/wf-lifecycle", body)).ok()
    for mode, record_id in (("partial", "ent-2"), ("atomic", "ent-3")):
        answer = await apparel.admin.post(
            f"/records/bulk-transition?mode={mode}", {"ids": [record_id], "toStateId": "done"}
        )
        assert results(answer) == [("updated", 2, None)]


async def test_records_that_may_go_do(apparel):
    body = {"ids": ["ent-0", "ent-none", "ent-1", "ent-0"]}
    answer = await apparel.admin.post("/records/bulk-delete", body)
    assert [(one["outcome"], one["status"]) for one in answer.ok()["results"]] == [
        ("deleted", 204),
        ("skipped", 200),
        ("deleted", 204),
        ("skipped", 200),
    ]
    assert answer.body["deleted"] == answer.body["skipped"] == 2
    assert (await apparel.admin.get("/records/ent-0")).status == 404
    assert (await apparel.admin.get("/records")).ok()["total"] == 2
    (last, _) = (await apparel.admin.get("/audit?entityId=ent-0")).ok()["items"]
    assert last["action"] == "delete"
    (gone,) = [
        one
        for one in await apparel.staged()
        if one.type == "entity.deleted" and one.subject == "ent-0"
    ]
    assert gone.version == 2


async def test_a_role_that_does_not_see_all_deletes_nothing(apparel):
    user = await apparel.user_with_role({SCHEMA: {"attr-name": "write", "attr-cost": "hidden"}})
    answer = await user.post("/records/bulk-delete", {"ids": ["ent-0", "ent-none"]})
    assert results(answer) == [("failed", None, "Permission denied"), ("skipped", None, None)]
    answer = await user.post("/records/bulk-delete?mode=atomic", {"ids": ["ent-none", "ent-0"]})
    assert answer.outcome == error(403, "PERMISSION_DENIED", "Row 1: Permission denied")
    assert (await apparel.admin.get("/records")).ok()["total"] == 4


async def test_too_many_ids_are_told_with_the_bound(apparel, monkeypatch):
    monkeypatch.setattr("records_service.bulk.handlers.ROWS_MAX", 2)
    answer = await apparel.admin.post("/records/bulk-delete", {"ids": ["a", "b", "c"]})
    assert answer.outcome == error(413, "PAYLOAD_TOO_LARGE", "Request body exceeds 2 rows")


async def test_a_gate_for_roles_is_that_of_single_transitions(direct):
    workspace = await direct.workspace()
    for role in ("role-held", "role-other"):
        await workspace.role(role, {"*": {"*": "write"}})
    gate = {"allowedRoleIds": ["role-held"]}
    await workspace.workflow(
        states={"draft": {}, "done": {}}, transitions=[("draft", "done", gate)]
    )
    await workspace.attribute("name")
    await workspace.schema("apparel", ["name"], workflowId="wf-lifecycle")
    for n in range(2):
        await workspace.record(SCHEMA, {"name": "A"}, id=f"ent-{n}")
    body = {"ids": ["ent-0"], "toStateId": "state-done"}
    other = await workspace.user("role-other").post("/records/bulk-transition", body)
    assert results(other) == [
        (
            "failed",
            None,
            "Role 'role-other' is not allowed to transition from 'draft' to 'done'",
        )
    ]
    held = await workspace.user("role-held").post("/records/bulk-transition", body)
    assert results(held) == [("updated", 2, None)]
