"""Facets and categories of a search: counted for the caller, over all that is found."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def counts(caller: Caller, *facets: str, **more: Any) -> dict[str, list[tuple[Any, int]]]:
    answer = (await caller.post("/search", {"facets": facets, "limit": 1, **more})).ok()
    return {
        name: [(each["value"], each["count"]) for each in values]
        for name, values in answer["facets"].items()
    }


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    await workspace.dimension("market", ["dk", "se"])
    await workspace.option_list("colors", ["red", "blue"])
    more = {"optionListId": "ol-colors", "multiple": True, "dimensionIds": ["dim-market"]}
    await workspace.attribute("color", "option", **more)
    await workspace.attribute("sold", "boolean")
    await workspace.attribute("name")
    await workspace.workflow("flow", {"draft": {}, "secret": {"hidden": ["color"]}})
    await workspace.schema("x", ["color", "sold", "name"], "wf-flow")
    await workspace.schema("y", ["color"])
    everywhere, danish = {}, {"dim-market": "seg-dk"}
    red = [{"scope": everywhere, "value": ["red"]}, {"scope": danish, "value": ["red", "blue"]}]
    await workspace.record("schema-x", {"color": red, "sold": True, "name": "n"}, id="ent-a")
    await workspace.record("schema-x", {"color": ["red"], "sold": False}, id="ent-b")
    await workspace.record("schema-y", {"color": ["red"]}, id="ent-c")
    return workspace


async def test_each_record_counts_once_for_each_value(catalogue: RecordsWorkspace, admin: Caller):
    names = ("color", "sold", "schemaId", "lifecycleStateId")
    assert await counts(admin, *names) == {
        "color": [("val-red", 3), ("val-blue", 1)],
        "sold": [(False, 1), (True, 1)],
        "schemaId": [("schema-x", 2), ("schema-y", 1)],
        "lifecycleStateId": [("state-draft", 2)],
    }
    page = (await admin.post("/search", {"facets": ["color", "schemaId"]})).ok()
    assert page["facets"]["color"][0] == {"value": "val-red", "label": "red", "count": 3}
    assert page["facets"]["schemaId"][0]["label"] == "x"
    blue = [{"attribute": "color", "operator": "equals", "value": "blue"}]
    assert (await counts(admin, "color", criteria=blue))["color"] == [
        ("val-blue", 1),
        ("val-red", 1),
    ]
    by_name = [{"attribute": "name", "order": "desc"}]
    assert (await counts(admin, "sold", sort=by_name))["sold"] == [(False, 1), (True, 1)]
    assert "facets" not in (await admin.post("/search", {})).ok()
    found = (await admin.get("/search/text?query=red&facets=sold,schemaId&limit=1")).ok()
    assert found["facets"]["sold"] == [
        {"value": False, "label": None, "count": 1},
        {"value": True, "label": None, "count": 1},
    ]


async def test_facets_hold_nothing_that_is_hidden(catalogue: RecordsWorkspace, admin: Caller):
    (await admin.post("/records/ent-a/transition", {"toStateId": "state-secret"})).ok()
    everything = await catalogue.user_with_role({"*": {"*": "read"}}, name="role-all")
    assert (await counts(everything, "color"))["color"] == [("val-red", 2)]
    half = await catalogue.user_with_role(
        {"schema-x": {"*": "read", "attr-color": "hidden"}, "*": {"*": "read"}}, name="role-half"
    )
    assert (await counts(half, "color"))["color"] == [("val-red", 1)]
    none = await catalogue.user_with_role(
        {"*": {"*": "read", "attr-color": "hidden"}}, name="role-none"
    )
    unknown = error(400, "VALIDATION_ERROR", "Unknown attribute 'color'")
    assert (await none.post("/search", {"facets": ["color"]})).outcome == unknown
    refused = (await admin.post("/search", {"facets": ["name"]})).body["message"]
    assert refused == (
        "Values of 'name' cannot be counted: expected an attribute of type 'option' or 'boolean',"
        " got 'text'"
    )


async def test_categories_are_criteria_and_facets_where_they_may_be_viewed(
    catalogue: RecordsWorkspace, admin: Caller
):
    (await admin.post("/catalogs", {"id": "cat-a", "alias": "a", "name": "A"})).ok()
    for name, parent in (("top", None), ("below", "ctg-top")):
        body = {"id": f"ctg-{name}", "name": name.title(), "parentId": parent}
        (await admin.post("/catalogs/cat-a/categories", body)).ok()
    for category, record in (("top", "a"), ("below", "b"), ("below", "a")):
        assigned = {"entityId": f"ent-{record}"}
        (await admin.post(f"/categories/ctg-{category}/assign", assigned)).ok()

    async def found(caller: Caller, operator: str, value: Any, **more: Any) -> list[str]:
        criterion = {"field": "categoryId", "operator": operator, "value": value, **more}
        page = (await caller.post("/search", {"criteria": [criterion]})).ok()
        assert page["total"] == len(page["items"])
        return [item["id"] for item in page["items"]]

    below = {"includeSubcategories": True}
    assert await found(admin, "equals", "ctg-top") == ["ent-a"]
    assert await found(admin, "equals", "ctg-top", **below) == ["ent-a", "ent-b"]
    assert await found(admin, "in", ["ctg-below", "ctg-none"]) == ["ent-a", "ent-b"]
    assert await found(admin, "notEquals", "ctg-top", **below) == ["ent-c"]
    page = (await admin.post("/search", {"facets": ["categoryId"]})).ok()
    assert page["facets"]["categoryId"] == [
        {"value": "ctg-below", "label": "Below", "count": 2},
        {"value": "ctg-top", "label": "Top", "count": 1},
    ]
    outsider = await catalogue.user_with_role({"*": {"*": "read"}}, name="role-all")
    assert await found(outsider, "equals", "ctg-top", **below) == []
    assert await found(outsider, "notEquals", "ctg-top") == ["ent-a", "ent-b", "ent-c"]
    assert await counts(outsider, "categoryId") == {"categoryId": []}
