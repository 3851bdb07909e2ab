"""What a role denies stays denied, and nobody learns of the hidden by shaping the model."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.model_objects.store import FORMER_ALIASES_MAX
from records_service.workflow_copies import commands as workflow_copies
from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import schema_body
from tests.service.records.half_hidden import DENIED, PROBLEMS, half_hidden

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def rename(admin: Caller, path: str, alias: str) -> None:
    part = (await admin.get(path)).ok()
    (await admin.put(path, {**part, "alias": alias})).ok()


def everywhere(value: Any) -> list[dict[str, Any]]:
    return [{"scope": {}, "value": value}]


# Aliases.


async def test_what_is_denied_by_an_alias_stays_denied_under_every_later_one(
    workspace: RecordsWorkspace, admin: Caller
):
    for alias in ("name", "cost"):
        await workspace.attribute(alias)
    await workspace.schema("x", ["name", "cost"])
    reader = await workspace.user_with_role({"schema-x": {"*": "read", "cost": "hidden"}})
    record = (await workspace.post_record("x", name="Parka", cost="12")).ok()["id"]
    for alias in ("price", "cost-2", "cost", "price"):
        await rename(admin, "/attributes/attr-cost", alias)
        assert (await reader.get(f"/records/{record}")).ok()["values"].keys() == {"name"}
    # Another one that takes the alias is denied as well, and neither is given back.
    await workspace.attribute("other")
    await rename(admin, "/attributes/attr-other", "cost")
    await admin.put("/schemas/schema-x", schema_body("x", ["name", "cost", "other"]))
    values = {"cost": everywhere("1")}
    (await admin.put(f"/records/{record}", {"values": values})).ok()
    assert (await reader.get(f"/records/{record}")).ok()["values"].keys() == {"name"}
    assert (await admin.get(f"/records/{record}")).ok()["values"].keys() == {
        "name",
        "price",
        "cost",
    }
    # Named by its id it is as the role says.
    reader = await workspace.user_with_role({"schema-x": {"*": "read", "attr-cost": "hidden"}})
    assert (await reader.get(f"/records/{record}")).ok()["values"].keys() == {"name", "cost"}


async def test_what_is_denied_by_the_alias_of_a_schema_stays_denied(
    workspace: RecordsWorkspace, admin: Caller
):
    for alias in ("name", "cost"):
        await workspace.attribute(alias)
    await workspace.schema("x", ["name", "cost"])
    reader = await workspace.user_with_role({"*": {"*": "read"}, "x": {"attr-cost": "hidden"}})
    record = (await workspace.post_record("x", name="Parka", cost="12")).ok()["id"]
    for alias in ("x", "y", "z"):
        await rename(admin, "/schemas/schema-x", alias)
        assert (await reader.get(f"/records/{record}")).ok()["values"].keys() == {"name"}


async def test_an_alias_to_come_gives_nothing(workspace: RecordsWorkspace, admin: Caller):
    for alias in ("name", "cost"):
        await workspace.attribute(alias)
    await workspace.schema("x", ["name", "cost"])
    writer = await workspace.user_with_role(
        {"schema-x": {"*": "write", "attr-cost": "hidden", "zz": "write"}}
    )
    record = (await workspace.post_record("x", name="Parka", cost="12")).ok()["id"]
    await rename(admin, "/attributes/attr-cost", "zz")
    assert (await writer.get(f"/records/{record}")).ok()["values"].keys() == {"name"}
    assert (await writer.patch(f"/records/{record}/values/zz", {"value": "1"})).outcome == DENIED


async def test_the_history_of_an_attribute_that_is_made_again_stays_closed(
    workspace: RecordsWorkspace, admin: Caller
):
    for alias in ("name", "cost"):
        await workspace.attribute(alias)
    await workspace.schema("x", ["name", "cost"])
    reader = await workspace.user_with_role({"schema-x": {"*": "read", "cost": "hidden"}})
    record = (await workspace.post_record("x", name="Parka", cost="s3cr3t")).ok()["id"]
    (await admin.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()
    assert (await admin.delete("/attributes/attr-cost")).status == 204
    body = {"id": "attr-cost", "alias": "zz", "name": "Cost", "type": "text"}
    (await admin.post("/attributes", body)).ok()
    (await admin.put("/schemas/schema-x", schema_body("x", ["name", "cost"]))).ok()
    history = (await reader.get(f"/records/{record}/audit")).ok()["items"]
    assert [c["attribute"] for entry in history for c in entry["changes"]] == ["name"]


async def test_what_a_state_asks_by_an_alias_is_asked_under_every_later_one(
    workspace: RecordsWorkspace, admin: Caller
):
    for alias in ("name", "cost", "note"):
        await workspace.attribute(alias)
    workflow = {
        "id": "wf-w",
        "alias": "w",
        "name": "w",
        "defaultStateId": "state-draft",
        "states": [{"id": "state-draft", "name": "Draft", "alias": "draft"}],
        "transitions": [],
    }
    (await workspace.workflow_admin.post("/workflows", workflow)).ok()
    await workspace.schema("x", ["name", "cost", "note"], workflowId="wf-w")
    lists = {"required": ["name"], "readOnly": ["note"], "hidden": ["cost"]}
    states = [{**workflow["states"][0], **lists}]
    async with workspace.database.transaction() as conn:
        await workflow_copies.upsert(
            conn, workspace.id, {**workflow, "states": states, "version": 1_000}
        )
    reader = await workspace.user_with_role({"schema-x": {"*": "write"}})
    record = (await workspace.post_record("x", cost="12")).ok()["id"]
    for prefix in ("", "one-", "two-"):
        for alias in ("name", "cost", "note"):
            await rename(admin, f"/attributes/attr-{alias}", prefix + alias)
        found = (await admin.get(f"/records/{record}/completeness")).ok()
        assert (found["score"], found["missing"]) == (0, [f"{prefix}name"])
        assert (await reader.get(f"/records/{record}")).ok()["values"] == {}
        note = await admin.patch(f"/records/{record}/values/{prefix}note", {"value": "x"})
        assert note.outcome == DENIED


async def lifecycle_of(workspace: RecordsWorkspace, *aliases: str, **lists: list[str]) -> None:
    """A schema with these attributes, whose records are drafts with these lists."""
    for alias in aliases:
        await workspace.attribute(alias)
    states = [
        {"id": "state-draft", "name": "Draft", "alias": "draft", **lists},
        {"id": "state-done", "name": "Done", "alias": "done"},
    ]
    workflow = {
        "id": "wf-w",
        "alias": "w",
        "name": "w",
        "defaultStateId": "state-draft",
        "states": states,
        "transitions": [{"fromStateId": "state-draft", "toStateId": "state-done"}],
    }
    (await workspace.workflow_admin.post("/workflows", workflow)).ok()
    await workspace.schema("x", aliases, workflowId="wf-w")
    async with workspace.database.transaction() as conn:
        await workflow_copies.upsert(conn, workspace.id, {**workflow, "version": 1_000})


async def test_a_refusal_says_why_of_what_the_caller_sees(
    workspace: RecordsWorkspace, admin: Caller
):
    await lifecycle_of(
        workspace,
        *("name", "note", "cost", "margin", "price"),
        readOnly=["attr-note", "attr-margin"],
        hidden=["attr-cost", "attr-margin"],
    )
    record = (await workspace.post_record("x", name="Parka", cost="12")).ok()["id"]
    asks = {"Accept": "application/problem+json"}
    writer = (
        await workspace.user_with_role(
            {"schema-x": {"*": "write", "attr-price": "read", "attr-name": "hidden"}}
        )
    ).having(asks)
    reads_note = "Attribute 'note' is read-only in lifecycle state 'draft'"
    why = {
        "attr-note": reads_note,
        "cost": "Attribute 'cost' may not be written",
        "attr-margin": "Attribute 'attr-margin' may not be written",
        "price": "Attribute 'price' may only be read by the caller's role",
        "attr-name": "Attribute 'attr-name' may not be written",
    }
    sent = {name: [{"scope": {}, "value": "x"}] for name in why}
    refused = await writer.put(f"/records/{record}", {"values": sent})
    assert (refused.status, refused.body["message"]) == (403, "Permission denied")
    assert refused.body["errors"] == [
        {"pointer": f"/values/{name}", "detail": detail} for name, detail in why.items()
    ]
    # Administrators and keys are bound by `readOnly` alone; a key without `read` hears no state.
    for caller, detail in (
        (admin, reads_note),
        (workspace.api_key("read", "update-data"), reads_note),
        (workspace.api_key("update-data"), "Attribute 'attr-note' may not be written"),
    ):
        path = f"/records/{record}/values/attr-note"
        one = await caller.having(asks).patch(path, {"value": "x"})
        assert (one.status, one.body["message"]) == (403, "Permission denied")
        assert one.body["errors"] == [{"pointer": "/value", "detail": detail}]


async def test_a_record_without_a_state_is_told_in_plain_words(
    workspace: RecordsWorkspace, admin: Caller
):
    await lifecycle_of(workspace, "name")
    record = (await workspace.post_record("x", name="Parka")).ok()["id"]
    await workspace.database.execute(
        "UPDATE records SET state_id = NULL WHERE workspace_id = $1", workspace.id
    )
    answer = await admin.post(f"/records/{record}/transition", {"toStateId": "done"})
    assert answer.outcome == error(
        400,
        "TRANSITION_ERROR",
        f"Entity '{record}' has no lifecycle state yet, so no transition starts there",
    )
    assert (await admin.get(f"/records/{record}/transitions")).outcome == (200, [])


async def test_the_number_of_former_aliases_is_bounded(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("sku")
    await workspace.database.execute(
        """
        INSERT INTO former_aliases (workspace_id, kind, id, alias)
        SELECT $1, 'attributes', 'attr-sku', 'old-' || n FROM generate_series(1, $2::int) n
        """,
        workspace.id,
        FORMER_ALIASES_MAX,
    )
    told = (await admin.get("/attributes/attr-sku")).ok()
    refused = await admin.put("/attributes/attr-sku", {**told, "alias": "new"})
    assert refused.outcome == error(
        409,
        "CONFLICT",
        "Attribute 'attr-sku' keeps its alias 'sku': it has had 100 others, the maximum",
    )
    (await admin.put("/attributes/attr-sku", {**told, "name": "SKU"})).ok()


async def test_too_many_names_are_refused_and_not_cut(workspace: RecordsWorkspace):
    for field in ("schemas", "attributes"):
        answer = await workspace.admin.post("/internal/names", {field: ["x"] * 10_001})
        assert answer.status == 400
        assert field in answer.body["message"] and "10000" in answer.body["message"]


async def test_values_are_not_deleted_by_who_may_not_write_them(
    workspace: RecordsWorkspace, admin: Caller
):
    manager = await half_hidden(workspace)
    (await workspace.post_record("x", cost="12")).ok()
    refused = [
        {"pointer": "", "detail": "This deletes values that your role may not write"},
    ]
    for _ in range(2):
        gone = await manager.having(PROBLEMS).delete("/attributes/attr-cost")
        assert (gone.status, gone.body["errors"]) == (403, refused)
        (await admin.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()
    reader = await workspace.user_with_role(
        {"*": {"*": "read"}}, Flag.MANAGE_SCHEMAS, name="role-reader"
    )
    assert (await reader.delete("/attributes/attr-cost")).outcome == DENIED
    writer = await workspace.user_with_role(
        {"*": {"*": "write"}}, Flag.MANAGE_SCHEMAS, name="role-writer"
    )
    (await writer.delete("/attributes/attr-cost")).ok()
    # What no schema and no record has is nobody's loss.
    await workspace.attribute("unused")
    (await manager.delete("/attributes/attr-unused")).ok()


# What the states of a workflow withhold from roles.


async def withheld(workspace: RecordsWorkspace) -> tuple[Caller, dict[str, Any]]:
    """An author who may write everything, but for the lists of this workflow's first state."""
    await lifecycle_of(workspace, "name", "cost", hidden=["attr-cost"], readOnly=["attr-name"])
    author = await workspace.user_with_role({"*": {"*": "write"}}, Flag.MANAGE_SCHEMAS)
    return author.having(PROBLEMS), (await workspace.workflow_admin.get("/workflows/wf-w")).ok()


def with_lists(workflow: dict[str, Any], **lists: list[str]) -> dict[str, Any]:
    first, *others = workflow["states"]
    return {**workflow, "states": [{**first, **lists}, *others]}


async def test_an_author_takes_nothing_from_what_a_state_withholds(workspace: RecordsWorkspace):
    author, workflow = await withheld(workspace)
    author = author.at(workspace.workflows.url)
    for field, alias in (("hidden", "attr-cost"), ("readOnly", "attr-name")):
        for left in ([], ["attr-other"]):
            put = await author.put("/workflows/wf-w", with_lists(workflow, **{field: left}))
            assert (put.status, put.body["message"]) == (403, "Permission denied")
            assert put.body["errors"] == [
                {
                    "pointer": f"/states/0/{field}",
                    "detail": f"Your role may not remove attributes from '{field}', only add"
                    f" some; '{alias}' is missing",
                }
            ]
    without = {
        **workflow,
        "states": workflow["states"][1:],
        "transitions": [],
        "defaultStateId": "state-done",
    }
    put = await author.put("/workflows/wf-w", without)
    assert (put.status, put.body["errors"]) == (
        403,
        [
            {
                "pointer": "/states",
                "detail": "Your role may not remove state 'draft', because it hides attributes or"
                " makes them read-only",
            }
        ],
    )
    # By alias is as good as by id, and more may be withheld.
    more = with_lists(workflow, hidden=["name", "cost"], readOnly=["cost", "name"])
    (await author.put("/workflows/wf-w", more)).ok()
    open_to_all = with_lists(workflow, hidden=[], readOnly=[])
    assert (await author.put("/workflows/wf-w", open_to_all)).status == 403
    # A state that withholds nothing may go; who is bound by no role may do all of it.
    only = {**more, "states": more["states"][:1], "transitions": []}
    (await author.put("/workflows/wf-w", only)).ok()
    key = workspace.api_key("update-model", "read").at(workspace.workflows.url)
    (await key.put("/workflows/wf-w", open_to_all)).ok()
    (await workspace.workflow_admin.put("/workflows/wf-w", without)).ok()


async def test_a_name_that_a_state_keeps_beside_an_id_is_sent_back_unchanged(
    workspace: RecordsWorkspace, admin: Caller
):
    """A former alias hides everything that had it; without the name that would be released."""
    author, workflow = await withheld(workspace)
    author = author.at(workspace.workflows.url)
    stored = ["attr-cost", "cost"]
    await workspace.workflows.database.execute(
        """
        UPDATE workflows SET body = jsonb_set(body, '{states,0,hidden}', $2)
         WHERE workspace_id = $1
        """,
        workspace.id,
        stored,
    )
    workflow = (await author.get("/workflows/wf-w")).ok()
    for caller in (author, workspace.workflow_admin):
        put = await caller.put("/workflows/wf-w", {**workflow, "name": "Renamed"})
        assert put.ok()["states"][0]["hidden"] == stored
    fewer = with_lists(workflow, hidden=["attr-cost"])
    assert (await author.put("/workflows/wf-w", fewer)).status == 403
    (await workspace.workflow_admin.put("/workflows/wf-w", fewer)).ok()


async def test_an_author_does_not_take_a_workflow_that_withholds_from_its_schema(
    workspace: RecordsWorkspace, admin: Caller
):
    author, workflow = await withheld(workspace)
    record = (await workspace.post_record("x", name="Parka", cost="12")).ok()["id"]
    plain = {**workflow, "id": "wf-plain", "alias": "plain", "transitions": []}
    plain["states"] = [{"id": "state-draft"}]
    (await workspace.workflow_admin.post("/workflows", plain)).ok()
    for other in (None, "wf-plain"):
        sent = schema_body("x", ["name", "cost"], workflowId=other)
        put = await author.put("/schemas/schema-x", sent)
        assert (put.status, put.body["errors"]) == (
            403,
            [
                {
                    "pointer": "/workflowId",
                    "detail": "Your role may not take this workflow from the schema, because its"
                    " states hide attributes or make them read-only",
                }
            ],
        )
    assert (await author.get(f"/records/{record}")).ok()["values"].keys() == {"name"}
    (await author.put("/schemas/schema-x", {**schema_body("x", ["cost"]), "name": "X"})).ok()
    (await admin.put("/schemas/schema-x", schema_body("x", ["cost"], workflowId="wf-plain"))).ok()
    (await author.put("/schemas/schema-x", schema_body("x", ["cost"], workflowId=None))).ok()


async def test_what_other_services_ask_is_not_for_everybody(workspace: RecordsWorkspace):
    """Those who act through another service need the flag that its own endpoint asks for."""
    nobody = workspace.user()
    states = {"states": ["state-a"], "version": 2}
    assert (await nobody.post("/internal/workflows/wf-w/retire-states", states)).outcome == DENIED
    assert (await nobody.delete("/internal/workflows/wf-w/retired-states")).outcome == DENIED
    for caller in (nobody, workspace.admin):
        asked = await caller.post("/internal/workflow-references/check", {"references": []})
        assert asked.outcome == DENIED


async def test_another_service_is_told_every_name_and_as_of_which_model(
    workspace: RecordsWorkspace,
):
    await workspace.attribute("sku")
    told = (await workspace.admin.get("/attributes/attr-sku")).ok()
    (await workspace.admin.put("/attributes/attr-sku", {**told, "alias": "code"})).ok()
    (await workspace.admin.post("/schemas", schema_body("apparel", ["sku"]))).ok()
    version = await workspace.database.fetchval(
        "SELECT version FROM models WHERE workspace_id = $1", workspace.id
    )
    asked = {"schemas": ["apparel", "none"], "attributes": ["code", "attr-sku", "sku"]}
    assert (await workspace.admin.post("/internal/names", asked)).ok() == {
        "modelVersion": version,
        "schemas": {"apparel": "schema-apparel"},
        "attributes": {"code": "attr-sku", "attr-sku": "attr-sku"},
    }
    assert (await workspace.admin.get("/internal/schemas/schema-apparel/names")).ok() == {
        "id": "schema-apparel",
        "aliases": ["apparel"],
        "attributes": [{"id": "attr-sku", "alias": "code", "aliases": ["code", "sku"]}],
    }


async def test_a_key_without_read_does_not_learn_by_asking_for_a_transition(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("name")
    workflow = {
        "id": "wf-w",
        "alias": "w",
        "name": "w",
        "defaultStateId": "state-draft",
        "states": [{"id": "state-draft"}, {"id": "state-done", "required": ["name"]}],
        "transitions": [{"from": "state-draft", "to": "state-done", "requiresCompleteness": 100}],
    }
    (await workspace.workflow_admin.post("/workflows", workflow)).ok()
    await workspace.schema("x", ["name"], workflowId="wf-w")
    record = (await workspace.post_record("x", name="Parka")).ok()["id"]
    path = f"/records/{record}/transition"
    key = workspace.api_key("update-data")
    for asked in ("draft", "elsewhere"):
        refused = error(400, "TRANSITION_ERROR", f"Transition to '{asked}' is not allowed")
        assert (await key.post(path, {"toStateId": asked})).outcome == refused
    empty = (await workspace.post_record("x")).ok()["id"]
    incomplete = await key.post(f"/records/{empty}/transition", {"toStateId": "done"})
    assert incomplete.outcome == error(
        400, "TRANSITION_ERROR", "Transition to 'done' is not allowed"
    )
    await workspace.schema("bare", ["name"])
    bare = (await workspace.post_record("bare", name="Parka")).ok()["id"]
    assert (await key.post(f"/records/{bare}/transition", {"toStateId": "done"})).outcome == error(
        400, "TRANSITION_ERROR", "Transition to 'done' is not allowed"
    )
    assert (await admin.post(path, {"toStateId": "draft"})).outcome == error(
        400, "TRANSITION_ERROR", "Transition from 'draft' to 'draft' is not allowed"
    )
    (await key.post(path, {"toStateId": "done"})).ok()
