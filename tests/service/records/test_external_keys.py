"""The external key of a record: what another system calls it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAKEN = error(409, "CONFLICT", "Entity with external key 'SKU/1 (a)' already exists")


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def products(workspace: RecordsWorkspace) -> None:
    await workspace.attribute("name")
    await workspace.attribute("cost")
    await workspace.schema("x", ["name", "cost"])


def record(key: str | None = None, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"schemaId": "schema-x", "values": entries({"name": "A"}), **more}
    return body if key is None else body | {"externalKey": key}


async def test_it_is_answered_kept_changed_and_removed(admin: Caller):
    made = (await admin.post("/records", record("SKU/1 (a)", id="ent-1"))).ok()
    assert made["externalKey"] == "SKU/1 (a)"
    assert (await admin.get("/records/ent-1")).ok()["externalKey"] == "SKU/1 (a)"
    assert (await admin.get("/records")).ok()["items"] == [made]
    path, values = "/records/ent-1", entries({"name": "B"})
    kept = await admin.put(path, {"values": values})
    assert (kept.ok()["externalKey"], kept.headers["ETag"]) == ("SKU/1 (a)", '"2"')
    kept = await admin.patch(f"{path}/values/name", {"value": "C"})
    assert (kept.ok()["externalKey"], kept.headers["ETag"]) == ("SKU/1 (a)", '"3"')
    same = await admin.put(path, {"values": {}, "externalKey": "SKU/1 (a)"})
    assert same.headers["ETag"] == '"3"'
    other = await admin.put(path, {"values": {}, "externalKey": "sku/1"})
    assert (other.ok()["externalKey"], other.headers["ETag"]) == ("sku/1", '"4"')
    gone = await admin.put(path, {"values": {}, "externalKey": None})
    assert (gone.ok()["externalKey"], gone.headers["ETag"]) == (None, '"5"')
    assert (await admin.get(path)).ok()["externalKey"] is None


async def test_it_has_one_record(admin: Caller, other_workspace: RecordsWorkspace):
    (await admin.post("/records", record("SKU/1 (a)", id="ent-1"))).ok()
    assert (await admin.post("/records", record("SKU/1 (a)"))).outcome == TAKEN
    (await admin.post("/records", record("SKU/1 (A)", id="ent-2"))).ok()
    change = {"values": {}, "externalKey": "SKU/1 (a)"}
    assert (await admin.put("/records/ent-2", change)).outcome == TAKEN
    (await other_workspace.schema("x", []))
    body = {"schemaId": "schema-x", "externalKey": "SKU/1 (a)"}
    (await other_workspace.admin.post("/records", body)).ok()
    (await admin.delete("/records/ent-1")).ok()
    (await admin.put("/records/ent-2", change)).ok()


async def test_of_records_that_take_it_at_once_one_gets_it(admin: Caller):
    answers = await asyncio.gather(
        *(admin.post("/records", record("SKU/1 (a)")) for _ in range(12))
    )
    assert sorted(one.status for one in answers) == [201] + [409] * 11
    assert {one.outcome[1]["message"] for one in answers if one.status == 409} == {
        TAKEN[1]["message"]
    }


async def test_a_list_finds_it(admin: Caller):
    for place in range(3):
        (await admin.post("/records", record(f"K {place}", id=f"ent-{place}"))).ok()
    page = (await admin.get("/records", params={"externalKey": "K 1"})).ok()
    assert [one["id"] for one in page["items"]] == ["ent-1"]
    assert (page["total"], page["nextCursor"]) == (1, None)
    for params in ({"externalKey": "k 1"}, {"externalKey": "K 1", "schemaId": "schema-y"}):
        assert (await admin.get("/records", params=params)).ok()["items"] == []


async def test_history_and_events_tell_its_changes(workspace: RecordsWorkspace, admin: Caller):
    (await admin.post("/records", record("one", id="ent-1"))).ok()
    (await admin.put("/records/ent-1", {"values": {}, "externalKey": "two"})).ok()
    reader = await workspace.user_with_role({"schema-x": {"attr-name": "read"}})
    for caller in (admin, reader):
        history = (await caller.get("/records/ent-1/audit")).ok()
        changes = [one["changes"][-1] for one in history["items"]]
        keyed: dict[str, Any] = {"attribute": "externalKey", "scope": {}}
        assert changes == [
            keyed | {"oldValue": "one", "newValue": "two"},
            keyed | {"oldValue": None, "newValue": "one"},
        ]
        assert history["total"] == 2
    (await admin.delete("/records/ent-1")).ok()
    events = [one for one in await workspace.staged() if one.type.startswith("entity.")]
    assert [
        (change["attributeId"], change["oldValue"], change["newValue"])
        for event in events
        for change in event.data["changes"]
        if change["attribute"] == "externalKey"
    ] == [
        ("externalKey", None, "one"),
        ("externalKey", "one", "two"),
        ("externalKey", "two", None),
    ]


async def test_whoever_may_write_an_attribute_may_change_it(
    workspace: RecordsWorkspace, admin: Caller
):
    (await admin.post("/records", record("one", id="ent-1"))).ok()
    change = {"values": {}, "externalKey": "two"}
    reader = await workspace.user_with_role({"schema-x": {"*": "read"}}, name="role-reader")
    refused = await reader.put("/records/ent-1", change)
    assert (refused.status, refused.body["error"]) == (403, "PERMISSION_DENIED")
    assert (await reader.get("/records/ent-1")).ok()["externalKey"] == "one"
    # Sent back unchanged with the whole record, it asks for no permission.
    (await reader.put("/records/ent-1", {"values": {}, "externalKey": "one"})).ok()
    words = {"schema-x": {"attr-name": "write", "attr-cost": "hidden"}}
    writer = await workspace.user_with_role(words, name="role-writer")
    assert (await writer.put("/records/ent-1", change)).ok()["externalKey"] == "two"


async def test_a_state_that_makes_all_read_only_keeps_it(
    workspace: RecordsWorkspace, admin: Caller
):
    states = {"done": {"readOnly": ["attr-name", "attr-cost"]}}
    await workspace.workflow("lifecycle", states)
    schema = {"alias": "x", "name": "x", "variantEnabled": False, "workflowId": "wf-lifecycle"}
    (await admin.put("/schemas/schema-x", schema)).ok()
    (await admin.post("/records", record("one", id="ent-1"))).ok()
    refused = await admin.put("/records/ent-1", {"values": {}, "externalKey": "two"})
    assert (refused.status, refused.body["error"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "Field 'externalKey'"),
        ("x" * 256, "Field 'externalKey' exceeds maximum length 255, got 256"),
        (7, "Field 'externalKey' expects type 'string', got 'number'"),
    ],
)
async def test_it_is_a_text_of_up_to_255_characters(admin: Caller, key: Any, message: str):
    for answer in (
        await admin.post("/records", record() | {"externalKey": key}),
        await admin.put("/records/ent-1", {"values": {}, "externalKey": key}),
    ):
        assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")
        assert message in answer.body["message"]
