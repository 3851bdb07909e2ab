"""Saved queries: kept as they were sent, run with the rights of whoever runs them."""

from __future__ import annotations

import pytest

from shared.identity import Permission
from tests.kit import identities
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHEAP = {
    "id": "sq-cheap",
    "name": "Cheap",
    "criteria": [{"attribute": "price", "operator": "lt", "value": "10"}],
    "sort": [{"attribute": "price", "order": "desc"}],
}


async def priced(workspace: RecordsWorkspace) -> None:
    await workspace.attribute("name")
    await workspace.attribute("price", "number")
    await workspace.schema("x", ["name", "price"])
    for price in (5, 20, 7):
        await workspace.record("schema-x", {"price": price}, id=f"ent-{price}")


async def test_a_query_is_saved_run_and_deleted(workspace: RecordsWorkspace, admin: Caller):
    await priced(workspace)
    assert (await admin.get("/saved-queries")).ok() == []
    saved = await admin.post("/saved-queries", CHEAP)
    assert saved.status == 201
    assert saved.headers["Location"] == "/api/v1/saved-queries/sq-cheap"
    kept = {
        **CHEAP,
        "description": None,
        "criteriaOperator": "and",
        "schemaId": None,
        "createdBy": "user-admin",
        "createdAt": saved.body["createdAt"],
    }
    assert saved.body == kept
    assert (await admin.get("/saved-queries/sq-cheap")).ok() == kept
    assert (await admin.get("/saved-queries")).ok() == [kept]
    taken = error(409, "CONFLICT", "Saved query with id 'sq-cheap' already exists")
    assert (await admin.post("/saved-queries", CHEAP)).outcome == taken
    page = (await admin.post("/saved-queries/sq-cheap/execute", {"limit": 1})).ok()
    assert ([item["id"] for item in page["items"]], page["total"]) == (["ent-7"], 2)
    rest = {"cursor": page["nextCursor"]}
    page = (await admin.post("/saved-queries/sq-cheap/execute", rest)).ok()
    assert ([item["id"] for item in page["items"]], page["nextCursor"]) == (["ent-5"], None)
    (await admin.delete("/saved-queries/sq-cheap")).ok()
    gone = error(404, "NOT_FOUND", "Saved query 'sq-cheap' not found")
    assert (await admin.post("/saved-queries/sq-cheap/execute", {})).outcome == gone
    # A cursor is of the query that made it, not of the next one with its id.
    (await admin.post("/saved-queries", {**CHEAP, "criteria": []})).ok()
    assert (await admin.post("/saved-queries/sq-cheap/execute", rest)).status == 400


async def test_a_query_runs_with_the_rights_of_who_runs_it(
    workspace: RecordsWorkspace, admin: Caller
):
    await priced(workspace)
    (await admin.post("/saved-queries", CHEAP)).ok()
    blind = await workspace.user_with_role({"*": {"*": "read", "attr-price": "hidden"}})
    unknown = error(400, "VALIDATION_ERROR", "Unknown attribute 'price'")
    assert (await blind.post("/saved-queries/sq-cheap/execute", {})).outcome == unknown
    assert (await blind.post("/saved-queries", {**CHEAP, "id": "sq-own"})).outcome == unknown
    own = {"id": "sq-own", "name": "Mine", "criteria": []}
    (await blind.post("/saved-queries", own)).ok()
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    assert (await blind.delete("/saved-queries/sq-cheap")).outcome == denied
    (await blind.delete("/saved-queries/sq-own")).ok()


async def test_a_query_is_checked_again_when_it_runs(workspace: RecordsWorkspace, admin: Caller):
    await priced(workspace)
    (await admin.post("/saved-queries", CHEAP)).ok()
    schema = (await admin.get("/schemas/schema-x")).body
    schema["attributeGroups"] = [{"name": "All", "attributeIds": ["attr-name"]}]
    (await admin.put("/schemas/schema-x", schema)).ok()
    (await admin.delete("/attributes/attr-price")).ok()
    gone = error(400, "VALIDATION_ERROR", "Unknown attribute 'price'")
    assert (await admin.post("/saved-queries/sq-cheap/execute", {})).outcome == gone
    assert (await admin.get("/saved-queries/sq-cheap")).ok()["criteria"] == CHEAP["criteria"]


async def test_a_caller_who_may_not_read_learns_nothing_by_saving(
    workspace: RecordsWorkspace, admin: Caller
):
    await priced(workspace)
    writer = workspace.as_(identities.api_key(workspace.id, permissions=[Permission.UPDATE_DATA]))
    query = {"name": "n", "criteria": [{"attribute": "none", "operator": "isEmpty"}]}
    saved = (await writer.post("/saved-queries", query)).ok()
    assert (await admin.post(f"/saved-queries/{saved['id']}/execute", {})).status == 400
