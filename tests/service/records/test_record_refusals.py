"""What is refused in a record, and how much the refusal tells."""

from __future__ import annotations

import pytest

from records_service.app import create_app
from records_service.config import Config
from records_service.permissions import store as roles
from shared.database import DATABASE
from tests.kit import identities
from tests.kit.sigma import error
from tests.service.records.apparel import NO_OTHER_SERVICES, apparel, create, everywhere


@pytest.fixture
async def service(services):
    return await services.start(create_app, Config, **NO_OTHER_SERVICES)


@pytest.fixture
async def admin(service):
    return await apparel(service)


async def test_a_problem_names_each_place_that_may_not_be_written(service, admin):
    await create(admin, "ent-a", price=1)
    words = {"*": "write", "attr-price": "read", "attr-sku": "hidden"}
    document = {
        "id": "role-editor",
        "version": 1,
        "schemaPermissions": [{"schemaId": "schema-apparel", "attributePermissions": words}],
    }
    async with service.app[DATABASE].acquire() as conn:
        await roles.upsert(conn, "ws-test", "role-editor", 1, document)
    editor = service.as_(identities.user()).having({"Accept": "application/problem+json"})
    sent = {"name": everywhere("x"), "price": everywhere(2), "attr-sku": everywhere("AB-123")}
    denied = await editor.put("/records/ent-a", {"values": sent})
    assert (denied.status, denied.body["detail"]) == (403, "Permission denied")
    assert denied.body["errors"] == [
        {
            "pointer": "/values/price",
            "detail": "Attribute 'price' may only be read by the caller's role",
        },
        {"pointer": "/values/attr-sku", "detail": "Attribute 'attr-sku' may not be written"},
    ]
    one = await editor.patch("/records/ent-a/values/attr-price", {"value": 2})
    assert (one.status, one.body["detail"]) == (403, "Permission denied")
    assert one.body["errors"] == [
        {"pointer": "/value", "detail": "Attribute 'price' may only be read by the caller's role"}
    ]


async def test_a_problem_says_what_the_role_lacks(service, admin):
    await create(admin, "ent-a", price=1)
    document = {
        "id": "role-editor",
        "version": 1,
        "schemaPermissions": [
            {"schemaId": "schema-apparel", "attributePermissions": {"*": "read"}}
        ],
    }
    async with service.app[DATABASE].acquire() as conn:
        await roles.upsert(conn, "ws-test", "role-editor", 1, document)
    editor = service.as_(identities.user()).having({"Accept": "application/problem+json"})
    write = "The role needs the permission 'write' on an attribute of the schema"
    for answer, lacking in (
        (await editor.post("/records", {"schemaId": "schema-apparel", "values": {}}), write),
        (await editor.delete("/records/ent-a"), f"{write}, and 'read' or 'write' on all others"),
        (await editor.get("/audit"), "Only the role 'role-admin' can do this"),
    ):
        assert (answer.status, answer.body["message"]) == (403, "Permission denied")
        assert answer.body["errors"] == [{"pointer": "", "detail": lacking}]


async def test_a_grant_for_an_id_opens_no_attribute_that_has_it_as_its_alias(service, admin):
    for attribute_id, alias in (("cost", "own"), ("attr-secret", "cost")):
        body = {"id": attribute_id, "alias": alias, "name": alias, "type": "text"}
        (await admin.post("/attributes", body)).ok()
    group = {"name": "All", "attributeIds": ["cost", "attr-secret"]}
    schema = {"id": "schema-y", "alias": "y", "name": "Y", "variantEnabled": False}
    (await admin.post("/schemas", {**schema, "attributeGroups": [group]})).ok()
    values = {"own": everywhere("seen"), "cost": everywhere("secret")}
    (await admin.post("/records", {"id": "ent-y", "schemaId": "schema-y", "values": values})).ok()
    words = {"schemaId": "schema-y", "attributePermissions": {"cost": "write"}}
    document = {"id": "role-editor", "version": 1, "schemaPermissions": [words]}
    async with service.app[DATABASE].acquire() as conn:
        await roles.upsert(conn, "ws-test", "role-editor", 1, document)
    editor = service.as_(identities.user())
    assert (await editor.get("/records/ent-y")).ok()["values"] == {"own": everywhere("seen")}


async def test_an_id_that_is_taken_is_a_conflict_in_a_full_workspace_too(service):
    limited = service.as_(identities.api_key("ws-limited", record_limit=1))
    schema = {"id": "schema-a", "alias": "a", "name": "A", "variantEnabled": False}
    (await limited.post("/schemas", schema)).ok()
    sent = {"id": "ent-a", "schemaId": "schema-a"}
    (await limited.post("/records", sent)).ok()
    assert (await limited.post("/records", sent)).outcome == error(
        409, "CONFLICT", "Entity with id 'ent-a' already exists"
    )
    assert (await limited.post("/records", {**sent, "id": "ent-b"})).outcome == error(
        403, "LIMIT_EXCEEDED", "Entity limit of 1 reached"
    )


async def test_a_put_whose_body_names_another_id_is_refused_everywhere(admin):
    red = {"id": "val-red", "alias": "red", "label": "Red"}
    (
        await admin.post(
            "/option-lists", {"id": "ol-c", "alias": "c", "name": "C", "values": [red]}
        )
    ).ok()
    await create(admin, "ent-a", price=1)
    for path, known in (
        ("/attributes/attr-sku", "attr-sku"),
        ("/schemas/schema-apparel", "schema-apparel"),
        ("/dimensions/dim-language", "dim-language"),
        ("/option-lists/ol-c", "ol-c"),
        ("/option-lists/ol-c/values/val-red", "val-red"),
        ("/records/ent-a", "ent-a"),
    ):
        sent = red if "values" in path else (await admin.get(path)).ok()
        assert (await admin.put(path, {**sent, "id": "other"})).outcome == error(
            400, "VALIDATION_ERROR", f"Field 'id' cannot change: expected '{known}', got 'other'"
        )
        assert (await admin.put(path, {**sent, "id": known})).status == 200


async def test_a_key_without_read_does_not_guess_what_a_record_has(service, admin):
    await create(admin, "ent-a", sku="AB-123")
    writer = service.as_(identities.api_key(permissions=["update-data"]))
    for field, right in (("schemaId", "schema-apparel"), ("lifecycleStateId", None)):
        for guess in (right, "guess"):
            refused = await writer.put("/records/ent-a", {"values": {}, field: guess})
            assert refused.outcome == error(
                400, "VALIDATION_ERROR", f"Field '{field}' may be sent only by callers who may read"
            )
        (await admin.put("/records/ent-a", {"values": {}, field: right})).ok()
        wrong = await admin.put("/records/ent-a", {"values": {}, field: "guess"})
        assert "expected" in wrong.body["message"]


async def test_a_key_without_read_does_not_feel_for_values_by_emptying(service, admin):
    """Whether the required attribute has a value or not, or others beside the one that goes."""
    await create(admin, "ent-full", sku="AB-123")
    await create(admin, "ent-empty")
    reader = service.as_(identities.api_key(permissions=["update-data", "read"]))
    writer = service.as_(identities.api_key(permissions=["update-data"]))
    refused = error(400, "VALIDATION_ERROR", "Attribute 'sku' is required and cannot be emptied")
    for record in ("ent-full", "ent-empty"):
        for nothing in (None, []):
            sent = {"values": {"sku": nothing}}
            assert (await writer.put(f"/records/{record}", sent)).outcome == refused
        path = f"/records/{record}/values/sku"
        assert (await writer.patch(path, {"value": None})).outcome == refused
    (await reader.put("/records/ent-empty", {"values": {"sku": None}})).ok()
    assert (await reader.put("/records/ent-full", {"values": {"sku": None}})).outcome == refused
    # What is not required may be emptied, what is may be replaced or left out when it is created.
    (await writer.put("/records/ent-full", {"values": {"price": None}})).ok()
    (await writer.put("/records/ent-full", {"values": {"sku": everywhere("AB-124")}})).ok()
    (await writer.post("/records", {"schemaId": "schema-apparel", "values": {"sku": None}})).ok()


async def test_no_message_shows_a_word_of_python_or_repeats_much_of_what_was_sent(admin):
    await create(admin, "ent-a", price=1)
    answer = await admin.put("/records/ent-a", {"values": {}, "lifecycleStateId": "state-x"})
    assert answer.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'lifecycleStateId' changes only through a transition:"
        " expected null, because the schema has no workflow, got 'state-x'",
    )
    long = "x" * 120
    told = "x" * 100 + "…"
    for path, sent in (
        (f"/records/{long}", None),
        (f"/records/ent-a/values/{long}", {"value": 1}),
        ("/records/ent-a", {"values": {long: []}}),
        ("/records/ent-a", {"values": {}, "lifecycleStateId": long}),
        ("/records/ent-a", {"values": {}, "schemaId": long}),
        ("/records/ent-a", {"values": {}, "id": long}),
        ("/records", {"schemaId": long}),
        ("/attributes", {"alias": "y", "name": "Y", "type": "text", "dimensionIds": [long]}),
        ("/attributes", {"alias": "sku", "name": "Y", "type": "option", "optionListId": long}),
    ):
        verb = admin.get if sent is None else admin.patch if "/values/" in path else admin.put
        answer = await (admin.post if path in ("/records", "/attributes") else verb)(
            *([path] if sent is None else [path, sent])
        )
        assert answer.status in (400, 404)
        assert told in answer.body["message"]
        assert long not in answer.body["message"]
