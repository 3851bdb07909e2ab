"""What a search refuses, and what it keeps from a role and from another workspace."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.service.records.searchable import found, made, searchable, where

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Records `a`, `b`, ... in order of creation, each with what its test looks at."""
    return await searchable(workspace)


BIG = {"criteria": []}
for _ in range(5):
    BIG = {"criteria": [BIG]}


REFUSED: list[tuple[dict[str, Any], str | None]] = [
    (
        {"criteria": [where("price", "gt", "abc")]},
        "Field 'criteria.0.value' must be a number, or a string with one, got 'abc'",
    ),
    (
        {"criteria": [where("price", "gt", True)]},
        "Field 'criteria.0.value' must be a number, or a string with one, got boolean",
    ),
    (
        {"criteria": [where("price", "equals", "1e999999999")]},
        "Field 'criteria.0.value' must be a number, or a string with one, got '1e999999999'",
    ),
    (
        {"criteria": [where("price", "equals", "1e9999")]},
        "Field 'criteria.0.value' must be a number of at most 400 digits",
    ),
    (
        {"criteria": [where("name", "gt", "5")]},
        "Operator 'gt' cannot be used with 'name' of type 'text'",
    ),
    (
        {"criteria": [where("size", "equals", "5")]},
        (
            "Operator 'equals' cannot be used with 'size' of type 'complex': name one of its"
            " fields, such as 'size.width'"
        ),
    ),
    ({"criteria": [where("nope", "isEmpty")]}, "Unknown attribute 'nope'"),
    ({"criteria": [where("size.nope", "isEmpty")]}, "Unknown attribute 'size.nope'"),
    (
        {"criteria": [where("price", "equals")]},
        "Field 'criteria.0.value' is required for 'equals'",
    ),
    (
        {"criteria": [where("price", "in", 5)]},
        "Field 'criteria.0.value' must be an array for 'in', got number",
    ),
    (
        {"criteria": [where("price", "in", [1, "x"])]},
        "Field 'criteria.0.value.1' must be a number, or a string with one, got 'x'",
    ),
    (
        {"criteria": [where("color", "equals", "green")]},
        (
            "Field 'criteria.0.value' must be the id, the alias or the label of an option of"
            " 'ol-colors', got 'green'"
        ),
    ),
    (
        {"criteria": [where("made", "gt", "yesterday")]},
        "Field 'criteria.0.value' must be an ISO 8601 date and time, got 'yesterday'",
    ),
    (
        {"criteria": [where("name", "contains", "")]},
        (
            "Field 'criteria.0.value' must have a letter, a digit or another character that is"
            " compared"
        ),
    ),
    ({"criteria": ["x"]}, "Field 'criteria.0' must be an object, got string"),
    (
        {"criteria": [{"operator": "equals"}]},
        "Field 'criteria.0' must name an 'attribute' or a 'field', got none",
    ),
    (
        {"criteria": [{"field": "id", "attribute": "name", "operator": "isEmpty"}]},
        "Field 'criteria.0' must name an 'attribute' or a 'field', got 'attribute' and 'field'",
    ),
    (
        {"criteria": [{"criteria": [where("name", "equals", 5)]}]},
        "Field 'criteria.0.criteria.0.value' must be a string, got number",
    ),
    ({"criteriaOperator": "xor"}, "Field 'criteriaOperator' must be 'and' or 'or', got 'xor'"),
    # Also where it would change nothing.
    (
        {"criteria": [where("name", "equals", "x", criteriaOperator={})]},
        "Field 'criteria.0.criteriaOperator' must be 'and' or 'or', got object",
    ),
    (
        {"criteria": [where("name", "equals", "x", includeSubcategories="yes")]},
        "Field 'criteria.0.includeSubcategories' must be a boolean, got string",
    ),
    (
        {"criteria": [{"field": "id", "operator": "equals", "value": "a", "scope": 1}]},
        "Field 'criteria.0.scope' must be an object, got number",
    ),
    ({"sort": [{"field": "id", "scope": 1}]}, "Field 'sort.0.scope' must be an object, got number"),
    (
        {"sort": [{"attribute": "price", "scope": False}]},
        "Field 'sort.0.scope' must be an object, got boolean",
    ),
    (BIG, "Criteria may be at most 5 levels deep"),
    (
        {"criteria": [{"criteria": [where("name", "isEmpty")] * 60}] * 2},
        "A search has at most 100 criteria",
    ),
    (
        {"criteria": [where("title", "isEmpty", scope={"dim-none": "x"})]},
        "Field 'criteria.0.scope': unknown dimension 'dim-none'",
    ),
    (
        {"criteria": [where("title", "isEmpty", scope={"dim-language": "x"})]},
        (
            "Field 'criteria.0.scope': Unknown segment 'x' of dimension 'dim-language':"
            " expected seg-en, seg-da"
        ),
    ),
    (
        {"sort": [{"attribute": "size"}]},
        "Field 'sort.0' must name a field of 'size' to sort by",
    ),
    ({"sort": [{"field": "values"}]}, None),
    ({"sort": [{"field": "id", "order": "up"}]}, None),
    ({"sort": [{"field": "id"}] * 4}, None),
]


async def test_what_cannot_be_searched_is_refused_by_name(
    catalogue: RecordsWorkspace, admin: Caller
):
    for body, message in REFUSED:
        answer = await admin.post("/search", body)
        assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR"), body
        assert message in (None, answer.body["message"])


async def test_an_operator_is_required_and_known(catalogue: RecordsWorkspace, admin: Caller):
    for operator, told in ((None, "is required"), ("like", "got 'like'")):
        answer = await admin.post("/search", {"criteria": [where("name", operator, "x")]})
        assert answer.status == 400
        assert told in answer.body["message"]


async def test_hidden_attributes_take_no_part(catalogue: RecordsWorkspace, admin: Caller):
    await catalogue.workflow("flow", {"draft": {}, "secret": {"hidden": ["price"]}})
    await catalogue.schema("y", ["name", "price"], "wf-flow")
    await made(catalogue, "a", name="n", price=5)
    for name in ("b", "c"):
        await catalogue.record("schema-y", {"name": "n", "price": 5}, id=f"ent-{name}")
    (await admin.post("/records/ent-c/transition", {"toStateId": "state-secret"})).ok()
    nothing = await catalogue.user_with_role(
        {"*": {"*": "read", "attr-price": "hidden"}}, name="role-none"
    )
    unknown = error(400, "VALIDATION_ERROR", "Unknown attribute 'price'")
    for body in (
        {"criteria": [where("price", "equals", 5)]},
        {"criteria": [where("price", "isEmpty")]},
        {"sort": [{"attribute": "price"}]},
    ):
        assert (await nothing.post("/search", body)).outcome == unknown
    # Hidden in one schema: its records are neither found nor told apart.
    half = await catalogue.user_with_role(
        {"schema-x": {"*": "read", "attr-price": "hidden"}, "*": {"*": "read"}}, name="role-half"
    )
    assert await found(half, where("price", "equals", 5)) == ["b"]
    assert await found(half, where("price", "notEquals", 6)) == ["b"]
    assert await found(half, where("price", "notEquals", 5)) == []
    # A state hides it from every role but the administrator's.
    everything = await catalogue.user_with_role({"*": {"*": "read"}}, name="role-all")
    assert await found(everything, where("price", "equals", 5)) == ["a", "b"]
    assert await found(admin, where("price", "equals", 5)) == ["a", "b", "c"]
    (await admin.patch("/records/ent-c/values/price", {"value": 1})).ok()
    assert await found(everything, sort=[{"attribute": "price"}]) == ["a", "b", "c"]
    assert await found(admin, sort=[{"attribute": "price"}]) == ["c", "a", "b"]


async def test_what_a_schema_has_lost_is_not_found(catalogue: RecordsWorkspace, admin: Caller):
    await made(catalogue, "a", price=5)
    schema = (await admin.get("/schemas/schema-x")).body
    schema["attributeGroups"] = [{"name": "All", "attributeIds": ["attr-name"]}]
    (await admin.put("/schemas/schema-x", schema)).ok()
    assert await found(admin, where("price", "equals", 5)) == []
    assert await found(admin, where("price", "notEquals", 5)) == ["a"]


async def test_a_workspace_finds_its_own_records_only(
    catalogue: RecordsWorkspace, other_workspace: RecordsWorkspace, admin: Caller
):
    await made(catalogue, "a", name="x")
    assert await found(other_workspace.admin) == []
    assert (await admin.post("/search", {})).ok()["items"][0]["id"] == "ent-a"
