"""Schemas and workflows by their aliases, wherever a request names one (contract, C12)."""

from __future__ import annotations

import orjson
import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries, schema_body
from tests.service.records.bulk_calls import NDJSON

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def admin(workspace: RecordsWorkspace):
    await workspace.attribute("sku")
    await workspace.workflow(states={"draft": {}, "done": {}})
    body = schema_body("apparel", ["sku"], workflowId="lifecycle", variantEnabled=True)
    made = (await workspace.admin.post("/schemas", {**body, "id": "schema-a"})).ok()
    assert made["workflowId"] == "wf-lifecycle"
    return workspace.admin


async def test_a_workflow_is_named_by_its_alias(admin: Caller, workspace):
    schema = (await admin.get("/schemas/schema-a")).ok()
    again = await admin.put("/schemas/schema-a", {**schema, "workflowId": "lifecycle"})
    assert again.ok()["workflowId"] == "wf-lifecycle"
    looked = await admin.post("/schemas/schema-a/preview", {**schema, "workflowId": "lifecycle"})
    assert looked.ok()["complete"] is True
    unknown = await admin.put("/schemas/schema-a", {**schema, "workflowId": "none"})
    assert unknown.outcome == error(
        400, "VALIDATION_ERROR", "Field 'workflowId': Workflow 'none' not found"
    )
    # An alias that is also an id means the id.
    await workspace.workflow("other", states={"new": {}}, id="lifecycle")
    moved = await admin.put("/schemas/schema-a", {**schema, "workflowId": "lifecycle"})
    assert moved.ok()["workflowId"] == "lifecycle"


async def test_a_record_names_its_schema_by_alias(admin):
    draft = {"id": "ent-a", "schemaId": "apparel", "values": entries({"sku": "A"})}
    made = (await admin.post("/records", draft)).ok()
    assert (made["schemaId"], made["lifecycleStateId"]) == ("schema-a", "state-draft")
    (await admin.put("/records/ent-a", draft)).ok()
    other = await admin.put("/records/ent-a", {**draft, "schemaId": "other"})
    assert other.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'schemaId' cannot change: expected 'schema-a', got 'other'",
    )
    rows = [{**draft, "id": "ent-b"}, {**draft, "values": {}}, {**draft, "schemaId": "other"}]
    results = (await admin.post("/records/bulk", {"operations": rows})).ok()["results"]
    assert [one["outcome"] for one in results] == ["created", "unchanged", "failed"]
    missing = await admin.post("/records", {"schemaId": "other"})
    assert missing.outcome == error(404, "NOT_FOUND", "Schema 'other' not found")
    lines = orjson.dumps({**draft, "id": "ent-c"})
    tried = await admin.post(
        "/imports", data=lines, headers={"Content-Type": NDJSON, "Prefer": "dry-run"}
    )
    assert tried.ok()["created"] == 1
    sheet = {"rows": [{"sku": "D"}], "schemaId": "apparel"}
    assert (await admin.post("/import/execute", sheet)).ok()["created"] == 1
    asked = {"action": "write", "schemaId": "apparel"}
    assert (await admin.post("/permissions/explain", asked)).ok()["allowed"] is True


async def test_every_list_finds_by_alias_and_nothing_by_a_name_that_nothing_has(admin):
    draft = {"id": "ent-a", "schemaId": "schema-a", "values": entries({"sku": "A"})}
    (await admin.post("/records", draft)).ok()
    (await admin.post("/records/ent-a/variants", {"id": "var-a"})).ok()
    for path in ("/records?schemaId=", "/variants?schemaId=", "/search/text?query=A&schemaId="):
        for name, found in (("apparel", 1), ("schema-a", 1), ("none", 0)):
            answer = await admin.get(path + name)
            assert (answer.status, len(answer.ok()["items"])) == (200, found), path
    for name, found in (("apparel", 1), ("none", 0)):
        assert len((await admin.get(f"/attributes?schemaId={name}")).ok()) == found
        assert (await admin.post("/search", {"schemaId": name})).ok()["total"] == found
    # What is to be made of a schema needs one: an empty file is no answer.
    for path in ("/export?schemaId=", "/changes/snapshot?schemaId="):
        assert (await admin.get(path + "apparel")).status == 200
        assert (await admin.get(path + "none")).outcome == error(
            404, "NOT_FOUND", "Schema 'none' not found"
        )
