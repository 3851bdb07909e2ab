"""Lists of texts, numbers and times in one entry of an attribute."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def products(workspace: RecordsWorkspace) -> None:
    rules = {"maxLength": 5, "pattern": "^[A-Z]"}
    await workspace.attribute("codes", multiple=True, validation=rules)
    await workspace.attribute("sizes", "number", multiple=True, validation={"min": 1, "max": 9})
    await workspace.attribute("seen", "datetime", multiple=True)
    await workspace.attribute("eans", multiple=True, validation={"unique": True, "required": True})
    await workspace.attribute(
        "parts", "complex", attributes=[{"alias": "codes", "type": "text", "multiple": True}]
    )
    await workspace.attribute(
        "care",
        guards=[{"attributeId": "attr-codes", "operator": "equals", "value": "A"}],
        validation={"required": True},
    )
    await workspace.schema("x", ["codes", "sizes", "seen", "eans", "parts", "care"])


async def test_lists_are_stored_as_sent_and_one_value_as_a_list(
    workspace: RecordsWorkspace, admin: Caller
):
    sent: dict[str, Any] = {
        "codes": ["B", "A", "B"],
        "sizes": [2, 2.5, 2],
        "seen": ["2026-02-01", "2026-02-03T10:00:00Z"],
        "parts": [{"codes": ["x", "y"]}, {"codes": "z"}],
    }
    made = (await workspace.post_record("x", **sent)).ok()
    parts = [{"codes": ["x", "y"]}, {"codes": ["z"]}]
    assert made["values"] == entries(sent | {"parts": parts})
    assert (await admin.get(f"/records/{made['id']}")).ok() == made
    path = f"/records/{made['id']}/values/codes"
    assert (await admin.patch(path, {"value": "C"})).ok()["values"]["codes"] == [
        {"scope": {}, "value": ["C"]}
    ]


@pytest.mark.parametrize(
    ("values", "pointer", "message"),
    [
        (
            {"codes": ["A", "longer"]},
            "/values/codes/0/value/1",
            "Value for 'codes' exceeds maximum length 5",
        ),
        (
            {"codes": ["A", "b"]},
            "/values/codes/0/value/1",
            "Value for 'codes' does not match pattern '^[A-Z]'",
        ),
        ({"codes": ["A", ""]}, "/values/codes/0/value/1", "Value for 'codes' has an empty item"),
        ({"codes": ""}, "/values/codes/0/value/0", "Value for 'codes' has an empty item"),
        (
            {"codes": ["A", None]},
            "/values/codes/0/value/1",
            "Attribute 'codes' expects type 'string', got 'null'",
        ),
        (
            {"codes": [["A"]]},
            "/values/codes/0/value/0",
            "Attribute 'codes' expects type 'string', got 'array'",
        ),
        ({"sizes": [1, 10]}, "/values/sizes/0/value/1", "Value for 'sizes' must be at most 9"),
        (
            {"seen": ["2026-02-01", "soon"]},
            "/values/seen/0/value/1",
            "Value for 'seen' must be an ISO 8601 date and time, got 'soon'",
        ),
        (
            {"codes": ["A"] * 1_001},
            "/values/codes/0/value",
            "Value for 'codes' must have at most 1000 items, got 1001",
        ),
        (
            {"parts": {"codes": ["A", 1]}},
            "/values/parts/0/value/codes/1",
            "Attribute 'parts.codes' expects type 'string', got 'number'",
        ),
    ],
)
async def test_each_item_keeps_to_the_rules(
    admin: Caller, values: dict[str, Any], pointer: str, message: str
):
    body = {"schemaId": "schema-x", "values": entries(values)}
    answer = await admin.post("/records", body)
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)
    headers = {"Accept": "application/problem+json"}
    problem = await admin.post("/records", body, headers=headers)
    assert [one["pointer"] for one in problem.body["errors"]] == [pointer]


async def test_of_a_unique_attribute_no_two_records_share_an_item(
    workspace: RecordsWorkspace, admin: Caller
):
    made = (await workspace.post_record("x", eans=["1", "2", "2"])).ok()
    other = await workspace.post_record("x", eans=["3", "2"])
    assert other.outcome == error(409, "CONFLICT", "Value '2' for attribute 'eans' must be unique")
    second = (await workspace.post_record("x", eans=["3", "4"])).ok()
    path = f"/records/{made['id']}/values/eans"
    (await admin.patch(path, {"value": ["1"]})).ok()
    (await admin.patch(f"/records/{second['id']}/values/eans", {"value": ["2", "4"]})).ok()
    assert (await admin.patch(path, {"value": ["1", "4"]})).status == 409


async def test_lists_become_unique_item_by_item(workspace: RecordsWorkspace, admin: Caller):
    (await workspace.post_record("x", codes=["A", "A"])).ok()
    second = (await workspace.post_record("x", codes=["B", "A"])).ok()
    unique = {"alias": "codes", "name": "codes", "type": "text", "multiple": True}
    unique["validation"] = {"unique": True}
    assert (await admin.put("/attributes/attr-codes", unique)).status == 409
    (await admin.patch(f"/records/{second['id']}/values/codes", {"value": ["B"]})).ok()
    (await admin.put("/attributes/attr-codes", unique)).ok()
    assert (await workspace.post_record("x", codes=["C", "B"])).status == 409


async def test_an_empty_list_is_no_value(workspace: RecordsWorkspace, admin: Caller):
    made = (await workspace.post_record("x", eans=["1"], codes=["B", "A"])).ok()
    path = f"/records/{made['id']}"
    score = (await admin.get(f"{path}/completeness")).ok()
    # `care` counts: one of the codes is the one that its guard looks for.
    assert (score["filled"], score["missing"]) == (["eans"], ["care"])
    (await admin.patch(f"{path}/values/codes", {"value": ["B"]})).ok()
    assert (await admin.get(f"{path}/completeness")).ok()["missing"] == []
    refused = await admin.patch(f"{path}/values/eans", {"value": []})
    assert refused.outcome == error(
        400, "VALIDATION_ERROR", "Attribute 'eans' is required and cannot be emptied"
    )


@pytest.mark.parametrize(
    ("alias", "kind"), [("codes", "text"), ("sizes", "number"), ("seen", "datetime")]
)
async def test_values_keep_it_a_list(
    workspace: RecordsWorkspace, admin: Caller, alias: str, kind: str
):
    value = {"text": "A", "number": 2, "datetime": "2026-02-01"}[kind]
    (await workspace.post_record("x", **{alias: [value]})).ok()
    body = {"alias": alias, "name": alias, "type": kind}
    refused = await admin.put(f"/attributes/attr-{alias}", body)
    message = f"Field 'multiple' of attribute '{alias}' cannot change while"
    assert (refused.status, refused.body["error"]) == (409, "CONFLICT")
    assert message in refused.body["message"]
