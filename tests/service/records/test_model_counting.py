"""Nobody makes completeness count what is hidden from them, and reads the answer off a gate."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.reactions import upsert_workflow
from shared.events import EventType
from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import schema_body

pytestmark = pytest.mark.asyncio(loop_scope="module")

DENIED = error(403, "PERMISSION_DENIED", "Permission denied")
PROBLEMS = {"Accept": "application/problem+json"}
DONE = "/states/1/required"
HIDDEN = "/states/1/hidden"
GATE = "/transitions/0/requiresCompleteness"


def lifecycle(alias: str = "w", *, gate: float | None = None, **lists: list[str]) -> dict[str, Any]:
    """Records go from draft to done, which has these lists."""
    return {
        "id": f"wf-{alias}",
        "alias": alias,
        "name": alias,
        "defaultStateId": "state-draft",
        "states": [{"id": "state-draft"}, {"id": "state-done", **lists}],
        "transitions": [{"from": "state-draft", "to": "state-done", "requiresCompleteness": gate}],
    }


async def half_hidden(workspace: RecordsWorkspace, **cost: Any) -> tuple[Caller, Caller]:
    """An author who must not see `cost` of schema x, at records_service and workflow_service."""
    await workspace.attribute("name")
    await workspace.attribute("cost", **cost)
    await workspace.schema("x", ["name", "cost"])
    words = {"schema-x": {"*": "write", "attr-cost": "hidden"}, "*": {"*": "write"}}
    author = (await workspace.user_with_role(words, Flag.MANAGE_SCHEMAS)).having(PROBLEMS)
    return author, author.at(workspace.workflows.url)


async def replace_workflow(workspace: RecordsWorkspace, workflow: dict[str, Any]) -> None:
    """An administrator replaces the workflow, and records_service hears of it."""
    (await workspace.workflow_admin.put(f"/workflows/{workflow['id']}", workflow)).ok()
    (event,) = [
        each
        for each in await workspace.workflows.staged()
        if each.workspace_id == workspace.id and each.type == EventType.WORKFLOW_UPDATED
    ][-1:]
    async with workspace.database.transaction() as conn:
        await upsert_workflow(conn, event)


def refused_at(answer: Answer) -> list[str]:
    assert (answer.status, answer.body["message"]) == (403, "Permission denied"), answer
    return [problem["pointer"] for problem in answer.body["errors"]]


async def rename(admin: Caller, path: str, alias: str) -> None:
    part = (await admin.get(path)).ok()
    (await admin.put(path, {**part, "alias": alias})).ok()


@pytest.mark.parametrize("name", ["cost", "attr-cost", "former", "later"])
async def test_a_state_requires_only_what_its_author_may_read(
    workspace: RecordsWorkspace, admin: Caller, name: str
):
    _, author = await half_hidden(workspace)
    await rename(admin, "/attributes/attr-cost", "former")
    await rename(admin, "/attributes/attr-cost", "cost")
    sent = lifecycle(required=["name", name])
    assert refused_at(await author.post("/workflows", sent)) == [DONE]
    (await author.post("/workflows", lifecycle(required=["name"], gate=100))).ok()
    assert refused_at(await author.put("/workflows/wf-w", sent)) == [DONE]
    # What it hides does not count, and what it keeps from being written tells nothing.
    harmless = lifecycle(required=["name"], hidden=[name], readOnly=[name], gate=100)
    (await author.put("/workflows/wf-w", harmless)).ok()
    (await workspace.workflow_admin.put("/workflows/wf-w", sent)).ok()


async def test_a_former_alias_means_every_attribute_that_had_it(
    workspace: RecordsWorkspace, admin: Caller
):
    _, author = await half_hidden(workspace)
    for alias in ("title", "name"):
        await rename(admin, "/attributes/attr-name", alias)
    (await author.post("/workflows", lifecycle(required=["title"]))).ok()
    for alias in ("title", "cost"):
        await rename(admin, "/attributes/attr-cost", alias)
    sent = lifecycle("v", required=["title"])
    assert refused_at(await author.post("/workflows", sent)) == [DONE]


async def test_whoever_reads_everything_may_require_what_is_yet_to_come(
    workspace: RecordsWorkspace,
):
    await half_hidden(workspace)
    reader = await workspace.user_with_role(
        {"*": {"*": "read"}}, Flag.MANAGE_SCHEMAS, name="role-reader"
    )
    author = reader.at(workspace.workflows.url)
    (await author.post("/workflows", lifecycle(required=["cost", "later"], gate=100))).ok()
    narrowed = await workspace.user_with_role(
        {"*": {"*": "read"}, "schema-z": {"attr-z": "hidden"}},
        Flag.MANAGE_SCHEMAS,
        name="role-reader",
    )
    author = narrowed.at(workspace.workflows.url)
    (await author.post("/workflows", lifecycle("v", required=["cost"], gate=100))).ok()
    assert (await author.post("/workflows", lifecycle("u", required=["later"]))).outcome == DENIED


async def test_a_state_does_not_require_what_a_hidden_guard_decides_about(
    workspace: RecordsWorkspace, admin: Caller
):
    _, author = await half_hidden(workspace)
    guards = [{"attributeId": "cost", "operator": "equals", "value": "12"}]
    await workspace.attribute("probe", guards=guards)
    await workspace.schema("y", ["probe"])
    assert refused_at(await author.post("/workflows", lifecycle(required=["probe"]))) == [DONE]


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        # A gate that is new, or asks for another score.
        ({"required": ["cost"]}, {"required": ["cost"], "gate": 100}, GATE),
        ({"required": ["cost"], "gate": 50}, {"required": ["cost"], "gate": 100}, GATE),
        ({"required": ["cost"], "gate": 100}, {"required": ["cost"], "gate": 50}, GATE),
        # What counts beside it.
        ({"required": ["cost", "name"], "gate": 50}, {"required": ["cost"], "gate": 50}, DONE),
        ({"required": ["cost"], "gate": 50}, {"required": ["cost", "name"], "gate": 50}, DONE),
        # What was hidden did not count, and stays hidden anyway.
        (
            {"required": ["cost"], "hidden": ["cost"], "gate": 100},
            {"required": ["cost"], "gate": 100},
            HIDDEN,
        ),
    ],
)
async def test_what_a_gate_tells_of_hidden_values_is_not_changed(
    workspace: RecordsWorkspace, before: dict[str, Any], after: dict[str, Any], where: str
):
    _, author = await half_hidden(workspace)
    (await workspace.workflow_admin.post("/workflows", lifecycle(**before))).ok()
    assert refused_at(await author.put("/workflows/wf-w", lifecycle(**after))) == [where]
    # What an administrator has set stays while other things change, and may go.
    other = lifecycle(**before) | {"name": "Renamed"}
    other["states"][0]["required"] = ["name"]
    (await author.put("/workflows/wf-w", other)).ok()
    (await author.put("/workflows/wf-w", other | {"transitions": []})).ok()
    (await workspace.workflow_admin.put("/workflows/wf-w", lifecycle(**after))).ok()


async def test_a_gate_does_not_tell_of_a_hidden_attribute_that_is_required_anyway(
    workspace: RecordsWorkspace, admin: Caller
):
    _, author = await half_hidden(workspace, validation={"required": True})
    workflow_admin = workspace.workflow_admin
    (await workflow_admin.post("/workflows", lifecycle())).ok()
    (await author.put("/workflows/wf-w", lifecycle(gate=100))).ok()
    (await author.put("/workflows/wf-w", lifecycle())).ok()
    (
        await admin.put("/schemas/schema-x", schema_body("x", ["name", "cost"], workflowId="wf-w"))
    ).ok()
    assert refused_at(await author.put("/workflows/wf-w", lifecycle(gate=100))) == [GATE]
    assert refused_at(await author.put("/workflows/wf-w", lifecycle(gate=0.5))) == [GATE]
    (await author.put("/workflows/wf-w", lifecycle(gate=0))).ok()
    (await author.put("/workflows/wf-w", lifecycle(gate=100, hidden=["cost"]))).ok()
    assert refused_at(await author.put("/workflows/wf-w", lifecycle(gate=100))) == [HIDDEN]
    (await workflow_admin.put("/workflows/wf-w", lifecycle(gate=100))).ok()
    # Beside it nothing is added, and nothing taken from it.
    named = lifecycle(gate=100, required=["name"])
    assert refused_at(await author.put("/workflows/wf-w", named)) == [DONE]
    (await author.put("/workflows/wf-w", lifecycle(required=["name"]))).ok()
    (await workflow_admin.put("/workflows/wf-w", named)).ok()
    (await author.put("/workflows/wf-w", lifecycle(gate=100, hidden=["cost"]))).ok()


async def test_hiding_what_counts_beside_the_hidden_changes_the_score(
    workspace: RecordsWorkspace, admin: Caller
):
    _, author = await half_hidden(workspace, validation={"required": True})
    name = (await admin.get("/attributes/attr-name")).ok()
    (await admin.put("/attributes/attr-name", {**name, "validation": {"required": True}})).ok()
    await workspace.attribute("note")
    (await workspace.workflow_admin.post("/workflows", lifecycle(gate=50))).ok()
    (
        await admin.put("/schemas/schema-x", schema_body("x", ["name", "cost"], workflowId="wf-w"))
    ).ok()
    sent = lifecycle(gate=50, hidden=["name"])
    assert refused_at(await author.put("/workflows/wf-w", sent)) == [HIDDEN]
    (await author.put("/workflows/wf-w", lifecycle(gate=50, hidden=["note"]))).ok()


async def diluted(workspace: RecordsWorkspace, admin: Caller, **note: Any) -> Caller:
    """`cost`, which the author must not see, counts beside `name` in schema x, and `note` may."""
    author, _ = await half_hidden(workspace, validation={"required": True})
    await workspace.attribute("note", **note)
    (await workspace.workflow_admin.post("/workflows", lifecycle(required=["name"], gate=50))).ok()
    bound = schema_body("x", ["name", "cost", "note"], workflowId="wf-w")
    (await admin.put("/schemas/schema-x", bound)).ok()
    return author


async def test_nothing_is_added_to_a_schema_beside_the_hidden_that_count(
    workspace: RecordsWorkspace, admin: Caller
):
    author = await diluted(workspace, admin, validation={"required": True})
    await workspace.attribute("more", validation={"required": True})
    await workspace.attribute("free")
    both = schema_body("x", ["name", "cost", "note"], workflowId="wf-w")
    for names in (["name", "cost", "note", "more"], ["name", "cost"], ["cost", "note"]):
        sent = schema_body("x", names, workflowId="wf-w")
        assert refused_at(await author.put("/schemas/schema-x", sent)) == ["/attributeGroups"]
    # What does not count may come and go, and what is hidden may go.
    for names in (["name", "cost", "note", "free"], ["name", "cost", "note"], ["name", "note"]):
        (await author.put("/schemas/schema-x", schema_body("x", names, workflowId="wf-w"))).ok()
    (await admin.put("/schemas/schema-x", both)).ok()


async def test_no_guard_loses_what_it_sees_beside_the_hidden_that_count(
    workspace: RecordsWorkspace, admin: Caller
):
    """Without it the guarded attribute does not count."""
    await workspace.attribute("switch")
    author = await diluted(
        workspace,
        admin,
        validation={"required": True},
        guards=[{"attributeId": "switch", "operator": "isNotEmpty"}],
    )
    seeing = schema_body("x", ["name", "cost", "note", "switch"], workflowId="wf-w")
    assert refused_at(await author.put("/schemas/schema-x", seeing)) == ["/attributeGroups"]
    (await admin.put("/schemas/schema-x", seeing)).ok()
    blind = schema_body("x", ["name", "cost", "note"], workflowId="wf-w")
    assert refused_at(await author.put("/schemas/schema-x", blind)) == ["/attributeGroups"]


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ({}, {"validation": {"required": True}}, "/validation/required"),
        ({"validation": {"required": True}}, {}, "/validation/required"),
        ({}, {"alias": "called"}, "/alias"),
        (
            {"validation": {"required": True}},
            {"validation": {"required": True}, "guards": True},
            "/guards",
        ),
    ],
)
async def test_no_attribute_counts_otherwise_beside_the_hidden(
    workspace: RecordsWorkspace,
    admin: Caller,
    before: dict[str, Any],
    after: dict[str, Any],
    where: str,
):
    author = await diluted(workspace, admin, **before)
    await replace_workflow(workspace, lifecycle(required=["called"], gate=50))
    note = {"alias": "note", "name": "note", "type": "text"}
    if after.get("guards"):
        after = {**after, "guards": [{"attributeId": "name", "operator": "isNotEmpty"}]}
    sent = {**note, **after}
    assert refused_at(await author.put("/attributes/attr-note", sent)) == [where]
    (await author.put("/attributes/attr-note", {**note, **before, "name": "Renamed"})).ok()
    # Where nothing hidden counts, it is the author's own affair.
    (
        await admin.put("/schemas/schema-x", schema_body("x", ["name", "note"], workflowId="wf-w"))
    ).ok()
    (await author.put("/attributes/attr-note", sent)).ok()


@pytest.mark.parametrize("required", [True, False])
async def test_no_workflow_is_bound_that_counts_what_is_hidden(
    workspace: RecordsWorkspace, admin: Caller, required: bool
):
    author, _ = await half_hidden(workspace, validation={"required": required})
    listed = [] if required else ["cost"]
    for alias in ("w", "v"):
        (await workspace.workflow_admin.post("/workflows", lifecycle(alias, required=listed))).ok()
    hiding = lifecycle("u", required=listed, hidden=["cost"])
    hiding["states"][0]["hidden"] = ["cost"]
    (await workspace.workflow_admin.post("/workflows", hiding)).ok()

    def bound(alias: str) -> dict[str, Any]:
        return schema_body("x", ["name", "cost"], workflowId=f"wf-{alias}")

    assert refused_at(await author.put("/schemas/schema-x", bound("w"))) == ["/workflowId"]
    assert (await author.get("/schemas/schema-x")).ok()["workflowId"] is None
    (await author.put("/schemas/schema-x", bound("u"))).ok()
    assert refused_at(await author.put("/schemas/schema-x", bound("w"))) == ["/workflowId"]
    (await admin.put("/schemas/schema-x", bound("w"))).ok()
    (await author.put("/schemas/schema-x", {**bound("w"), "name": "Renamed"})).ok()
    assert refused_at(await author.put("/schemas/schema-x", bound("v"))) == ["/workflowId"]
    # A schema in which the role may read it is its own affair.
    (await author.post("/schemas", schema_body("y", ["cost"], workflowId="wf-w"))).ok()


async def test_no_hidden_attribute_is_placed_where_it_counts(
    workspace: RecordsWorkspace, admin: Caller
):
    author, _ = await half_hidden(workspace)
    (await workspace.workflow_admin.post("/workflows", lifecycle(required=["cost"]))).ok()
    (await author.put("/schemas/schema-x", schema_body("x", ["name"], workflowId="wf-w"))).ok()
    both = schema_body("x", ["name", "cost"], workflowId="wf-w")
    assert refused_at(await author.put("/schemas/schema-x", both)) == ["/attributeGroups"]
    (await workspace.workflow_admin.put("/workflows/wf-w", lifecycle())).ok()
    (await author.put("/schemas/schema-x", both)).ok()
    new = schema_body("x2", ["cost"], workflowId="wf-w")
    hidden = await workspace.user_with_role(
        {"*": {"*": "write", "attr-cost": "hidden"}}, Flag.MANAGE_SCHEMAS
    )
    (await workspace.workflow_admin.put("/workflows/wf-w", lifecycle(required=["cost"]))).ok()
    assert refused_at(await hidden.having(PROBLEMS).post("/schemas", new)) == ["/workflowId"]


async def test_no_guard_that_is_hidden_comes_with_a_workflow(
    workspace: RecordsWorkspace, admin: Caller
):
    author, _ = await half_hidden(workspace)
    guards = [{"attributeId": "cost", "operator": "equals", "value": "12"}]
    await workspace.attribute("probe", guards=guards, validation={"required": True})
    both = schema_body("x", ["name", "cost", "probe"])
    (await admin.put("/schemas/schema-x", both)).ok()
    (await workspace.workflow_admin.post("/workflows", lifecycle())).ok()
    bound = {**both, "workflowId": "wf-w"}
    assert refused_at(await author.put("/schemas/schema-x", bound)) == ["/workflowId"]


async def test_no_hidden_attribute_takes_a_name_that_a_state_may_require(
    workspace: RecordsWorkspace, admin: Caller
):
    author, _ = await half_hidden(workspace)
    (
        await workspace.workflow_admin.post("/workflows", lifecycle(required=["later"], gate=100))
    ).ok()
    cost = (await admin.get("/attributes/attr-cost")).ok()
    later = {**cost, "alias": "later"}
    assert refused_at(await author.put("/attributes/attr-cost", later)) == ["/alias"]
    name = (await admin.get("/attributes/attr-name")).ok()
    (await author.put("/attributes/attr-name", {**name, "alias": "later"})).ok()


async def test_a_hidden_attribute_does_not_lose_the_guards_that_keep_it_from_counting(
    workspace: RecordsWorkspace, admin: Caller
):
    guards = [{"attributeId": "name", "operator": "equals", "value": value} for value in "12"]
    author, _ = await half_hidden(workspace)
    cost = (await admin.get("/attributes/attr-cost")).ok()
    guarded = {**cost, "guards": guards, "validation": {"required": True}}
    guarded = (await admin.put("/attributes/attr-cost", guarded)).ok()
    fewer = {**guarded, "guards": guarded["guards"][1:]}
    assert refused_at(await author.put("/attributes/attr-cost", fewer)) == ["/guards"]
    (await author.put("/attributes/attr-cost", {**guarded, "description": "In EUR"})).ok()


async def test_another_service_is_told_what_its_caller_may_not_have_counted(
    workspace: RecordsWorkspace, admin: Caller
):
    author, _ = await half_hidden(workspace, validation={"required": True})
    (await workspace.workflow_admin.post("/workflows", lifecycle())).ok()
    (
        await admin.put("/schemas/schema-x", schema_body("x", ["name", "cost"], workflowId="wf-w"))
    ).ok()
    asked = {"toCount": ["name", "attr-cost", "later"], "workflowId": "wf-w"}
    told = (await author.post("/internal/names", asked)).ok()
    assert told["unreadable"] == ["attr-cost", "later"]
    assert told["unreadableRequired"] == told["required"] == ["attr-cost"]
    told = (await admin.post("/internal/names", asked)).ok()
    assert (told["unreadable"], told["required"], told["unreadableRequired"]) == ([], [], [])
    asked = {"toCount": ["x"] * 10_001}
    assert (await author.post("/internal/names", asked)).status == 400
