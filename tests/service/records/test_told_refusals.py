"""What a problem document says of a refusal: what came, and what stands in the way."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROBLEM = {"Accept": "application/problem+json"}


@pytest_asyncio.fixture(loop_scope="module")
async def admin(workspace: RecordsWorkspace):
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("name", dimensionIds=["dim-language"], validation={"maxLength": 3})
    await workspace.attribute("code", validation={"pattern": "^[A-Z]+$"})
    await workspace.attribute("price", "number", validation={"min": 1, "max": 9})
    await workspace.attribute("sku", validation={"unique": True})
    names = ["name", "code", "price", "sku"]
    await workspace.workflow(states={"draft": {}, "locked": {"hidden": ["attr-sku"]}})
    await workspace.schema("x", names, workflow="wf-lifecycle", variantEnabled=True)
    await workspace.schema("y", names)
    return workspace.admin


async def details(answer):
    assert answer.status >= 400
    return {one["pointer"]: one["detail"] for one in answer.body["errors"]}


async def test_a_rule_that_is_broken_says_by_what(admin):
    draft = {"schemaId": "schema-x", "values": entries({"name": "Coat", "code": "a", "price": 10})}
    answer = await admin.post("/records", draft, headers=PROBLEM)
    assert await details(answer) == {
        "/values/name/0/value": "Value for 'name' exceeds maximum length 3, got 4",
        "/values/code/0/value": "Value for 'code' does not match pattern '^[A-Z]+$', got 'a'",
        "/values/price/0/value": "Value for 'price' must be at most 9, got 10",
    }
    # The words of the contract stay what they are.
    assert answer.body["message"] == "Value for 'name' exceeds maximum length 3"
    draft["values"] = {
        "price": entries({"price": 0})["price"],
        "name": [{"scope": {"language": "de"}, "value": "x"}],
    }
    assert await details(await admin.post("/records", draft, headers=PROBLEM)) == {
        "/values/price/0/value": "Value for 'price' must be at least 1, got 0",
        "/values/name/0/scope": (
            "Unknown segment 'de' of dimension 'dim-language': expected seg-en, seg-da"
        ),
    }


async def test_a_taken_value_says_who_has_it_to_those_who_see_it_there(admin, workspace):
    await workspace.record("schema-x", {"sku": "A"}, id="ent-a")
    body = {"id": "var-a", "values": entries({"sku": "B"})}
    (await admin.post("/records/ent-a/variants", body)).ok()
    message = "Value 'A' for attribute 'sku' must be unique"
    of_record = f"{message}: record 'ent-a' has it"
    draft = {"schemaId": "schema-y", "values": entries({"sku": "A"})}
    answer = await admin.post("/records", draft, headers=PROBLEM)
    assert (answer.status, answer.body["message"]) == (409, message)
    assert await details(answer) == {"/values/sku": of_record}
    of_variant = {**draft, "values": entries({"sku": "B"})}
    told = await details(await admin.post("/records", of_variant, headers=PROBLEM))
    assert told["/values/sku"].endswith(": variant 'var-a' of record 'ent-a' has it")
    atomic = "/records/bulk?mode=atomic"
    for one, who in ((draft, "record 'ent-a'"), (of_variant, "variant 'var-a'")):
        bulk = await admin.post(atomic, {"operations": [one]}, headers=PROBLEM)
        assert next(iter((await details(bulk)).values())).endswith(f": {who} has it")

    seeing = await workspace.user_with_role({"*": {"*": "write"}})
    assert await details(await seeing.post("/records", draft, headers=PROBLEM)) == {
        "/values/sku": of_record
    }
    blind = await workspace.user_with_role({"schema-y": {"*": "write"}}, name="role-blind")
    writer = workspace.api_key("update-data")
    for caller in (blind, writer):
        answer = await caller.post("/records", draft, headers=PROBLEM)
        assert await details(answer) == {"/values/sku": message}
        bulk = await caller.post(atomic, {"operations": [draft]}, headers=PROBLEM)
        assert "ent-a" not in str(bulk.body)
    # Nor is it told where the state of its record hides it.
    (await admin.post("/records/ent-a/transition", {"toStateId": "state-locked"})).ok()
    answer = await seeing.post("/records", draft, headers=PROBLEM)
    assert await details(answer) == {"/values/sku": message}


async def test_what_is_in_use_says_by_what(admin, workspace):
    await workspace.option_list("colors", ["red"])
    await workspace.attribute("color", "option", optionListId="ol-colors")
    await workspace.attribute("twin", "relation", targetSchemaId="schema-y")
    guard = {"attributeId": "attr-color", "operator": "isEmpty"}
    await workspace.attribute("shade", guards=[guard])
    await workspace.record("schema-x", id="ent-a")
    remover = workspace.api_key("delete-model")
    for path, kind, name, by in (
        ("dimensions", "Dimension", "dim-language", "attributes vary by it (attr-name)"),
        ("option-lists", "Option list", "ol-colors", "attributes choose from it (attr-color)"),
        ("attributes", "Attribute", "attr-sku", "schemas have it (schema-x, schema-y)"),
        (
            "attributes",
            "Attribute",
            "attr-color",
            "guards of attributes look at it (attr-shade)",
        ),
        ("schemas", "Schema", "schema-x", "it has records"),
        ("schemas", "Schema", "schema-y", "attributes point to its records (attr-twin)"),
    ):
        refused = await admin.delete(f"/{path}/{name}", headers=PROBLEM)
        message = f"{kind} '{name}' is in use and cannot be deleted"
        assert (refused.status, refused.body["message"]) == (409, message)
        assert await details(refused) == {"": f"{message}: {by}"}
        untold = await remover.delete(f"/{path}/{name}", headers=PROBLEM)
        assert (untold.status, untold.body["errors"]) == (409, [])
