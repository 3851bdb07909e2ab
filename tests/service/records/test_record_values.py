"""Values of records: empty ones, numbers, relations, and the completeness they make."""

from __future__ import annotations

import pytest

from records_service.app import create_app
from records_service.config import Config
from tests.kit.sigma import error
from tests.service.records.apparel import NO_OTHER_SERVICES, apparel, create, everywhere

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def service(services):
    return await services.start(create_app, Config, **NO_OTHER_SERVICES)


@pytest.fixture
async def admin(service):
    return await apparel(service)


async def test_a_deleted_record_is_skipped_where_others_name_it(admin):
    await create(admin, "ent-a")
    await create(admin, "ent-b")
    await create(admin, "ent-c", related=["ent-a", "ent-b"])
    (await admin.delete("/records/ent-a")).ok()
    assert (await admin.get("/records/ent-c")).body["values"]["related"] == everywhere(["ent-b"])
    (await admin.delete("/records/ent-b")).ok()
    assert "related" not in (await admin.get("/records/ent-c")).body["values"]


async def test_completeness_counts_required_attributes(admin):
    await create(admin, "ent-a", price=1)
    assert (await admin.get("/records/ent-a/completeness")).body == {
        "entityId": "ent-a",
        "stateId": None,
        "score": 0,
        "required": 1,
        "filled": [],
        "missing": ["sku"],
        "missingIn": [{"attribute": "sku", "scope": {}}],
        "states": [],
    }
    assert (await admin.get("/records/ent-a/completeness?scope=%7B")).outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'scope' expects a JSON object such as {\"dim-language\": \"seg-en\"}, got '{'",
    )


async def test_renaming_an_attribute_shows_at_once_and_moves_no_value(admin):
    await create(admin, "ent-a", price=5)
    attribute = (await admin.get("/attributes/attr-price")).body
    (await admin.put("/attributes/attr-price", {**attribute, "alias": "net-price"})).ok()
    read = await admin.get("/records/ent-a")
    assert (read.body["values"], read.headers["ETag"]) == ({"net-price": everywhere(5)}, '"1"')


async def test_an_empty_text_empties_a_required_attribute_as_null_does(admin):
    made = {"id": "attr-title", "alias": "title", "name": "Title", "type": "text"}
    (await admin.post("/attributes", {**made, "validation": {"required": True}})).ok()
    group = {"name": "All", "attributeIds": ["attr-title"]}
    schema = {"alias": "titled", "name": "Titled", "variantEnabled": False}
    body = {"id": "schema-titled", **schema, "attributeGroups": [group]}
    (await admin.post("/schemas", body)).ok()
    for record_id, text in (("ent-full", "Parka"), ("ent-empty", "")):
        draft = {"id": record_id, "schemaId": "schema-titled"}
        (await admin.post("/records", {**draft, "values": {"title": everywhere(text)}})).ok()
    refused = error(400, "VALIDATION_ERROR", "Attribute 'title' is required and cannot be emptied")
    for value in ("", None):
        answer = await admin.patch("/records/ent-full/values/title", {"value": value})
        assert answer.outcome == refused
        # Nothing is taken from a record that holds nothing.
        answer = await admin.patch("/records/ent-empty/values/title", {"value": value})
        assert answer.status == 200
    emptied = {"values": {"title": everywhere("")}}
    assert (await admin.put("/records/ent-full", emptied)).outcome == refused


async def test_a_number_that_would_come_back_different_is_refused(admin):
    def priced(number: str) -> bytes:
        price = f'{{"price": [{{"scope": {{}}, "value": {number}}}]}}'
        return f'{{"schemaId": "schema-apparel", "values": {price}}}'.encode()

    for number in ("3.0000000000000000001", "1e-400"):
        answer = await admin.post("/records", data=priced(number), headers=JSON)
        assert answer.status == 400
        assert answer.body["message"].startswith(
            "Field 'values.price.0.value' has more digits than are kept (15 significant digits,"
        )
    answer = await admin.post("/records", data=priced("-0.0"), headers=JSON)
    read = await admin.get(f"/records/{answer.ok()['id']}")
    assert answer.ok() == read.ok()
    assert str(answer.body["values"]["price"][0]["value"]) == "0.0"


async def test_completeness_says_where_a_value_is_missing(admin):
    (
        await admin.put(
            "/attributes/attr-name",
            {
                "alias": "name",
                "name": "Name",
                "type": "text",
                "dimensionIds": ["dim-language"],
                "validation": {"required": True},
            },
        )
    ).ok()
    danish = {"dim-language": "seg-da"}
    await create(admin, "ent-a", sku="AB-001")
    (await admin.patch("/records/ent-a/values/name", {"scope": danish, "value": "Jakke"})).ok()
    found = (await admin.get("/records/ent-a/completeness")).ok()
    assert found["missing"] == ["name"]
    assert found["missingIn"] == [{"attribute": "name", "scope": {"dim-language": "seg-en"}}]
    asked = await admin.get('/records/ent-a/completeness?scope={"dim-language": "seg-da"}')
    assert (asked.ok()["missing"], asked.body["missingIn"]) == ([], [])


async def test_what_is_not_there_is_null_at_every_depth(admin):
    for path in ("attributes/attr-sku", "schemas/schema-apparel"):
        found = (await admin.get(f"/{path}")).ok()
        assert "description" in found
        again = (await admin.put(f"/{path}", found)).ok()
        assert {**again, "updatedAt": 0} == {**found, "updatedAt": 0}
    sku = (await admin.get("/attributes/attr-sku")).ok()
    assert (sku["validation"]["maxLength"], sku["validation"]["min"]) == (None, None)
    listed = (await admin.get("/attributes")).ok()
    assert next(one for one in listed if one["id"] == "attr-sku") == sku
    await create(admin, "ent-a", price=1)
    history = (await admin.get("/records/ent-a/audit")).ok()["items"]
    assert [(one["fromStateId"], one["toStateId"], one["comment"]) for one in history] == [
        (None, None, None)
    ]


async def test_an_empty_text_claims_nothing_as_unique(service, admin):
    (
        await admin.put(
            "/attributes/attr-sku",
            {"alias": "sku", "name": "SKU", "type": "text", "validation": {"unique": True}},
        )
    ).ok()
    await create(admin, "ent-a", sku="")
    await create(admin, "ent-b", sku="")
    await create(admin, "ent-c", sku="AB-1")
    taken = await admin.patch("/records/ent-b/values/sku", {"value": "AB-1"})
    assert taken.status == 409
    (await admin.patch("/records/ent-c/values/sku", {"value": ""})).ok()
    (await admin.patch("/records/ent-b/values/sku", {"value": "AB-1"})).ok()


async def modelled_parts(admin) -> None:
    """A product with a part that is required, further parts, and a bill of materials."""
    for sent in (
        {"alias": "part", "type": "relation", "validation": {"required": True}},
        {"alias": "shoe", "type": "relation", "targetSchemaId": "schema-footwear"},
        {
            "alias": "bill",
            "type": "complex",
            "attributes": [
                {"alias": "to", "type": "relation"},
                {"alias": "several", "type": "relation", "multiple": True},
                {"alias": "note", "type": "text"},
            ],
        },
        {
            "alias": "care",
            "type": "text",
            "validation": {"required": True},
            "guards": [{"attributeId": "attr-part", "operator": "isNotEmpty"}],
        },
    ):
        if "targetSchemaId" in sent:
            footwear = {"id": "schema-footwear", "alias": "f", "name": "F", "variantEnabled": False}
            (await admin.post("/schemas", footwear)).ok()
        named = {"id": f"attr-{sent['alias']}", "name": sent["alias"], **sent}
        (await admin.post("/attributes", named)).ok()
    group = {"name": "All", "attributeIds": ["attr-part", "attr-shoe", "attr-bill", "attr-care"]}
    kit = {"id": "schema-kit", "alias": "kit", "name": "Kit", "variantEnabled": False}
    (await admin.post("/schemas", {**kit, "attributeGroups": [group]})).ok()


async def kit(admin, **values):
    sent = {"schemaId": "schema-kit", "values": {a: everywhere(v) for a, v in values.items()}}
    return await admin.post("/records", {"id": "ent-kit", **sent})


async def test_a_relation_to_a_record_that_is_gone_is_no_value(admin):
    await modelled_parts(admin)
    await create(admin, "ent-part", price=1)
    (await kit(admin, part="ent-part", care="wash")).ok()
    path = "/records/ent-kit"
    assert (await admin.get(f"{path}/completeness")).body["filled"] == ["part", "care"]

    (await admin.delete("/records/ent-part")).ok()
    found = (await admin.get(f"{path}/completeness")).ok()
    # The guard of `care` looks at what is gone, too.
    assert (found["score"], found["filled"], found["missing"]) == (0, [], ["part"])

    dead = error(
        400, "VALIDATION_ERROR", "Value for 'part' is not an existing record: 'ent-part' not found"
    )
    assert (await admin.patch(f"{path}/values/part", {"value": "ent-part"})).outcome == dead
    sent = {"values": {"part": everywhere("ent-part")}}
    assert (await admin.put(path, sent)).outcome == dead
    # What nobody sees is no value that could not be taken away.
    (await admin.patch(f"{path}/values/care", {"value": "dry"})).ok()
    (await admin.patch(f"{path}/values/part", {"value": None})).ok()


async def test_an_id_that_is_used_again_counts_only_where_its_schema_may(admin):
    await modelled_parts(admin)
    shoe = {"id": "ent-shoe", "schemaId": "schema-footwear"}
    (await admin.post("/records", shoe)).ok()
    (await kit(admin, shoe="ent-shoe", part="ent-shoe")).ok()
    (await admin.delete("/records/ent-shoe")).ok()
    await create(admin, "ent-shoe", price=1)
    shown = (await admin.get("/records/ent-kit")).ok()["values"]
    assert shown == {"part": everywhere("ent-shoe")}
    assert (await admin.get("/records?schemaId=schema-kit")).ok()["items"][0]["values"] == shown
    assert (
        await admin.patch("/records/ent-kit/values/shoe", {"value": "ent-shoe"})
    ).outcome == error(
        400,
        "VALIDATION_ERROR",
        "Value for 'shoe' must be a record of schema 'schema-footwear',"
        " got 'ent-shoe' of 'schema-apparel'",
    )


async def test_relations_inside_complex_values_are_relations(admin):
    await modelled_parts(admin)
    await create(admin, "ent-a", price=1)
    await create(admin, "ent-b", price=1)
    for bill, name in (({"to": "ent-x"}, "to"), ([{"several": ["ent-a", "ent-x"]}], "several")):
        assert (await kit(admin, bill=bill)).outcome == error(
            400,
            "VALIDATION_ERROR",
            f"Value for 'bill.{name}' is not an existing record: 'ent-x' not found",
        )
    bill = [
        {"to": "ent-a"},
        {"to": "ent-a", "note": "left"},
        {"several": ["ent-a", "ent-b"]},
        {"note": "none"},
    ]
    created = (await kit(admin, bill=bill)).ok()
    assert created["values"]["bill"] == everywhere(bill)
    (await admin.delete("/records/ent-a")).ok()
    left = [{"note": "left"}, {"several": ["ent-b"]}, {"note": "none"}]
    assert (await admin.get("/records/ent-kit")).ok()["values"]["bill"] == everywhere(left)
    (await admin.put("/records/ent-kit", {"values": {"bill": everywhere({"to": "ent-b"})}})).ok()
    (await admin.delete("/records/ent-b")).ok()
    assert (await admin.get("/records/ent-kit")).ok()["values"] == {}
