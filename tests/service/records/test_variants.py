"""Variants: what they store, what they show, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from records_service.variants import commands
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import entries
from tests.service.records.apparel import everywhere

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def apparel(workspace: RecordsWorkspace) -> Caller:
    """A record with values, of a schema that has variants."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("price", "number", validation={"required": True})
    await workspace.attribute("ean", inheritable=False)
    await workspace.attribute("related", "relation", multiple=True)
    attributes = ["name", "sku", "price", "ean", "related"]
    await workspace.schema("x", attributes, variantEnabled=True)
    await workspace.record("schema-x", {"sku": "X-1", "price": 10, "ean": "1"}, id="ent-a")
    return workspace.admin


async def add(caller: Caller, variant_id: str, parent: str = "ent-a", **values: Any) -> Answer:
    body = {"id": variant_id, "parentId": parent, "values": entries(values)}
    return await caller.post("/records/ent-a/variants", body)


async def resolved(caller: Caller, variant_id: str) -> dict[str, Any]:
    """Each attribute's only value, and where values come from."""
    found = (await caller.get(f"/records/ent-a/variants/{variant_id}/resolved")).ok()
    return {
        "values": {
            alias: held[0]["value"] if len(held) == 1 and not held[0]["scope"] else held
            for alias, held in found["effectiveValues"].items()
        },
        "overridden": found["overriddenAttributes"],
        "inherited": found["inheritedAttributes"],
    }


async def test_a_variant_stores_what_it_overrides_and_shows_the_rest(apparel: Caller):
    made = await add(apparel, "var-s", price=12)
    assert made.status == 201, made.outcome
    assert made.headers["ETag"] == '"1"'
    assert made.headers["Location"] == "/api/v1/records/ent-a/variants/var-s"
    body = dict(made.body)
    assert body.pop("createdAt") == body.pop("updatedAt")
    assert body == {
        "id": "var-s",
        "entityId": "ent-a",
        "parentId": "ent-a",
        "level": 1,
        "version": 1,
        "createdBy": "user-admin",
        "updatedBy": "user-admin",
        "values": {"price": everywhere(12)},
    }
    assert (await apparel.get("/records/ent-a/variants/var-s")).ok() == made.body
    found = (await apparel.get("/records/ent-a/variants/var-s/resolved")).ok()
    assert found == made.body | {
        "effectiveValues": {"sku": everywhere("X-1"), "price": everywhere(12)},
        "overriddenAttributes": ["price"],
        "inheritedAttributes": ["sku"],
    }


async def test_the_nearest_of_several_levels_wins(apparel: Caller):
    for variant_id, parent, price in (("var-1", "ent-a", 11), ("var-2", "var-1", 12)):
        assert (await add(apparel, variant_id, parent, price=price)).status == 201
    deepest = (await add(apparel, "var-3", "var-2")).ok()
    assert (deepest["level"], deepest["parentId"]) == (3, "var-2")
    assert (await resolved(apparel, "var-3"))["values"]["price"] == 12
    (await apparel.put("/records/ent-a/variants/var-2", {"values": {"price": None}})).ok()
    assert (await resolved(apparel, "var-3"))["values"]["price"] == 11
    (await apparel.put("/records/ent-a/variants/var-1", {"values": {"price": []}})).ok()
    assert (await resolved(apparel, "var-3"))["values"]["price"] == 10
    (await apparel.put("/records/ent-a", {"values": {"price": everywhere(9)}})).ok()
    assert (await resolved(apparel, "var-3"))["values"]["price"] == 9


@pytest.mark.parametrize("way", ["patch", "put-empty", "put-null"])
async def test_a_dropped_override_is_inherited_again(apparel: Caller, way: str):
    await add(apparel, "var-s")
    address = "/records/ent-a/variants/var-s"
    (await apparel.patch(f"{address}/values/price", {"value": 5})).ok()
    assert (await resolved(apparel, "var-s"))["overridden"] == ["price"]
    if way == "patch":
        (await apparel.patch(f"{address}/values/price", {"value": None})).ok()
    else:
        dropped = [] if way == "put-empty" else None
        (await apparel.put(address, {"values": {"price": dropped}})).ok()
    assert await resolved(apparel, "var-s") == {
        "values": {"sku": "X-1", "price": 10},
        "overridden": [],
        "inherited": ["sku", "price"],
    }


async def test_what_is_not_inheritable_is_each_variants_own(apparel: Caller):
    await add(apparel, "var-1", ean="2")
    await add(apparel, "var-2", "var-1")
    assert "ean" not in (await resolved(apparel, "var-2"))["values"]
    found = await resolved(apparel, "var-1")
    assert (found["values"]["ean"], found["overridden"]) == ("2", ["ean"])


async def test_the_first_value_of_one_scope_hides_all_inherited_ones(apparel: Caller):
    both = [
        {"scope": {"dim-language": "seg-en"}, "value": "Cap"},
        {"scope": {"dim-language": "seg-da"}, "value": "Hue"},
    ]
    (await apparel.put("/records/ent-a", {"values": {"name": both}})).ok()
    danish = {"scope": {"dim-language": "seg-da"}, "value": "Stor hue"}
    await add(apparel, "var-alone")
    await add(apparel, "var-copied")
    one, other = (f"/records/ent-a/variants/var-{n}/values/name" for n in ("alone", "copied"))
    (await apparel.patch(one, danish)).ok()
    assert (await resolved(apparel, "var-alone"))["values"]["name"] == [danish]
    copied = (await apparel.patch(f"{other}?copyInherited=true", danish)).ok()
    assert copied["values"]["name"] == [both[0], danish]
    # Later changes add to what is the variant's own.
    english = {"scope": {"dim-language": "seg-en"}, "value": "Big cap"}
    changed = (await apparel.patch(f"{one}?copyInherited=true", english)).ok()
    assert changed["values"]["name"] == [danish, english]


async def test_without_one_scope_the_others_can_be_kept(apparel: Caller):
    both = [
        {"scope": {"dim-language": "seg-en"}, "value": "Cap"},
        {"scope": {"dim-language": "seg-da"}, "value": "Hue"},
    ]
    (await apparel.put("/records/ent-a", {"values": {"name": both}})).ok()
    await add(apparel, "var-s")
    address = "/records/ent-a/variants/var-s/values/name?copyInherited=true"
    gone = {"scope": {"dim-language": "seg-da"}, "value": None}
    assert (await apparel.patch(address, gone)).ok()["values"]["name"] == [both[0]]


async def test_an_inherited_unique_value_is_no_second_claim(apparel: Caller):
    taken = error(409, "CONFLICT", "Value 'X-1' for attribute 'sku' must be unique")
    assert (await add(apparel, "var-s")).status == 201
    assert (await add(apparel, "var-t", sku="X-1")).outcome == taken
    assert (await add(apparel, "var-t", sku="X-2")).status == 201
    body = {"schemaId": "schema-x", "values": entries({"sku": "X-2"})}
    of_variant = error(409, "CONFLICT", "Value 'X-2' for attribute 'sku' must be unique")
    assert (await apparel.post("/records", body)).outcome == of_variant
    address = "/records/ent-a/variants/var-s/values/sku"
    assert (await apparel.patch(address, {"value": "X-2"})).outcome == of_variant
    # A dropped override and a deleted variant release their value.
    (await apparel.put("/records/ent-a/variants/var-t", {"values": {"sku": None}})).ok()
    (await apparel.patch(address, {"value": "X-2"})).ok()
    assert (await apparel.delete("/records/ent-a/variants/var-s")).status == 204
    assert (await apparel.post("/records", body)).status == 201


async def test_a_variant_is_checked_like_a_record(apparel: Caller):
    assert (await add(apparel, "var-s", price="x")).outcome == error(
        400, "VALIDATION_ERROR", "Attribute 'price' expects type 'number', got 'string'"
    )
    assert (await add(apparel, "var-s", colour="x")).outcome == error(
        400, "VALIDATION_ERROR", "Unknown attribute 'colour'"
    )
    assert (await add(apparel, "var-s", related=["ent-no"])).outcome == error(
        400,
        "VALIDATION_ERROR",
        "Value for 'related' is not an existing record: 'ent-no' not found",
    )
    assert (await add(apparel, "VAR S")).status == 400
    await add(apparel, "var-s")
    patched = await apparel.patch("/records/ent-a/variants/var-s/values/no", {"value": 1})
    assert patched.outcome == error(404, "NOT_FOUND", "Attribute 'no' not found")


async def test_a_required_attribute_is_not_emptied_by_an_override(
    workspace: RecordsWorkspace, apparel: Caller
):
    rules = {"required": True}
    await workspace.attribute("text", validation=rules)
    await workspace.schema("y", ["text"], variantEnabled=True)
    await workspace.record("schema-y", {"text": "a"}, id="ent-y")
    (await apparel.post("/records/ent-y/variants", {"id": "var-y"})).ok()
    emptied = error(400, "VALIDATION_ERROR", "Attribute 'text' is required and cannot be emptied")
    address = "/records/ent-y/variants/var-y"
    assert (await apparel.patch(f"{address}/values/text", {"value": ""})).outcome == emptied
    put = {"values": {"text": everywhere("")}}
    assert (await apparel.put(address, put)).outcome == emptied
    # Where nothing is inherited, the only value stays.
    await workspace.attribute("own", validation=rules, inheritable=False)
    await workspace.schema("z", ["own"], variantEnabled=True)
    await workspace.record("schema-z", {"own": "a"}, id="ent-z")
    body = {"id": "var-z", "values": {"own": everywhere("b")}}
    (await apparel.post("/records/ent-z/variants", body)).ok()
    emptied = error(400, "VALIDATION_ERROR", "Attribute 'own' is required and cannot be emptied")
    dropped = await apparel.patch("/records/ent-z/variants/var-z/values/own", {"value": None})
    assert dropped.outcome == emptied


async def test_a_parent_is_the_record_or_another_variant_of_it(
    workspace: RecordsWorkspace, apparel: Caller
):
    await workspace.record("schema-x", id="ent-b")
    (await apparel.post("/records/ent-b/variants", {"id": "var-b"})).ok()

    def refused(parent: str) -> Any:
        return error(
            400,
            "VALIDATION_ERROR",
            "Field 'parentId' must be the id of the record or of another variant of it,"
            f" got '{parent}'",
        )

    for parent in ("ent-b", "var-b", "var-s", "var-none"):
        assert (await add(apparel, "var-s", parent)).outcome == refused(parent)
    await add(apparel, "var-s")
    assert (await add(apparel, "var-s", "var-s")).outcome == refused("var-s")
    assert (await add(apparel, "ent-a")).outcome == error(
        400, "VALIDATION_ERROR", "Field 'id' must differ from the id of the record, got 'ent-a'"
    )
    address = "/records/ent-a/variants/var-s"
    for field, right, wrong in (
        ("parentId", "ent-a", "var-b"),
        ("entityId", "ent-a", "ent-b"),
        ("id", "var-s", "var-b"),
    ):
        assert (await apparel.put(address, {field: right, "values": {}})).status == 200
        assert (await apparel.put(address, {field: wrong, "values": {}})).outcome == error(
            400,
            "VALIDATION_ERROR",
            f"Field '{field}' cannot change: expected '{right}', got '{wrong}'",
        )


async def test_the_whole_variant_can_be_sent_back(apparel: Caller):
    made = (await add(apparel, "var-s", price=3)).ok()
    again = await apparel.put("/records/ent-a/variants/var-s", made)
    assert again.ok() == made


async def test_a_schema_without_variants_takes_none(workspace: RecordsWorkspace, apparel: Caller):
    await workspace.schema("plain", ["name"])
    await workspace.record("schema-plain", id="ent-p")
    assert (await apparel.post("/records/ent-p/variants", {})).outcome == error(
        400,
        "VALIDATION_ERROR",
        "Records of schema 'schema-plain' have no variants: its field 'variantEnabled' is false",
    )


async def test_what_is_not_there_is_told_by_name(apparel: Caller):
    await add(apparel, "var-s")
    no_record = error(404, "NOT_FOUND", "Entity 'ent-no' not found")
    no_variant = error(404, "NOT_FOUND", "Variant 'var-no' not found")
    assert (await apparel.post("/records/ent-no/variants", {})).outcome == no_record
    for rest in ("", "/resolved", "/completeness"):
        for method in ("GET", "DELETE") if not rest else ("GET",):
            address = f"/records/ent-no/variants/var-s{rest}"
            assert (await apparel.ask(method, address)).outcome == no_record
            address = f"/records/ent-a/variants/var-no{rest}"
            assert (await apparel.ask(method, address)).outcome == no_variant
    for address, outcome in (
        ("ent-no/variants/var-s", no_record),
        ("ent-a/variants/var-no", no_variant),
    ):
        assert (await apparel.put(f"/records/{address}", {"values": {}})).outcome == outcome
        patched = await apparel.patch(f"/records/{address}/values/price", {"value": 1})
        assert patched.outcome == outcome


async def test_an_id_is_taken_in_the_whole_workspace(workspace: RecordsWorkspace, apparel: Caller):
    await workspace.record("schema-x", id="ent-b")
    await add(apparel, "var-s")
    taken = error(409, "CONFLICT", "Variant with id 'var-s' already exists")
    assert (await add(apparel, "var-s")).outcome == taken
    assert (await apparel.post("/records/ent-b/variants", {"id": "var-s"})).outcome == taken
    made = (await apparel.post("/records/ent-b/variants", {})).ok()
    assert made["id"].startswith("var-") and made["entityId"] == "ent-b"


async def test_a_version_is_asked_for_and_goes_on_counting(apparel: Caller):
    await add(apparel, "var-s")
    address = "/records/ent-a/variants/var-s"
    stale = {"If-Match": '"7"'}
    refused = error(
        412,
        "PRECONDITION_FAILED",
        "Variant 'var-s' is at version 1; If-Match names another version",
    )
    assert (await apparel.put(address, {"values": {}}, headers=stale)).outcome == refused
    patch = await apparel.patch(f"{address}/values/price", {"value": 1}, headers=stale)
    assert patch.outcome == refused
    assert (await apparel.delete(address, headers=stale)).outcome == refused
    right = {"If-Match": '"1"'}
    changed = await apparel.patch(f"{address}/values/price", {"value": 1}, headers=right)
    assert (changed.body["version"], changed.headers["ETag"]) == (2, '"2"')
    assert (await apparel.delete(address, headers={"If-Match": '"2"'})).status == 204
    assert (await add(apparel, "var-s")).body["version"] == 4


async def test_levels_and_variants_are_bounded(apparel: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commands, "LEVELS_MAX", 3)
    monkeypatch.setattr(commands, "VARIANTS_MAX", 4)
    parent = "ent-a"
    for number in range(3):
        parent = (await add(apparel, f"var-{number}", parent)).ok()["id"]
    assert (await add(apparel, "var-deep", parent)).outcome == error(
        400, "VALIDATION_ERROR", "Variants may have at most 3 levels, got 4"
    )
    (await add(apparel, "var-last")).ok()
    assert (await add(apparel, "var-more")).outcome == error(
        403, "LIMIT_EXCEEDED", "Entity 'ent-a' has 4 variants, the maximum"
    )


async def test_a_dead_relation_overrides_nothing(workspace: RecordsWorkspace, apparel: Caller):
    for record_id in ("ent-old", "ent-new"):
        await workspace.record("schema-x", id=record_id)
    (await apparel.put("/records/ent-a", {"values": {"related": everywhere(["ent-new"])}})).ok()
    await add(apparel, "var-s", related=["ent-old"])
    assert (await resolved(apparel, "var-s"))["values"]["related"] == ["ent-old"]
    await apparel.delete("/records/ent-old")
    assert (await apparel.get("/records/ent-a/variants/var-s")).ok()["values"] == {}
    found = await resolved(apparel, "var-s")
    assert found["values"]["related"] == ["ent-new"]
    assert (found["overridden"], found["inherited"]) == ([], ["sku", "price", "related"])
    await apparel.delete("/records/ent-new")
    assert "related" not in (await resolved(apparel, "var-s"))["values"]
