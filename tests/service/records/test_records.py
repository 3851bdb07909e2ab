"""Records over HTTP and real PostgreSQL: what is stored, what is refused, what is told."""

from __future__ import annotations

import asyncio

import pytest

from records_service.app import create_app
from records_service.config import Config
from records_service.model_objects.commands import take_lock
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


async def test_a_scope_may_name_by_alias_and_is_answered_by_ids(admin):
    english, danish = {"dim-language": "seg-en"}, {"dim-language": "seg-da"}

    def entries(**texts):
        return [{"scope": {"language": alias}, "value": text} for alias, text in texts.items()]

    body = {"id": "ent-a", "schemaId": "schema-apparel", "values": {"name": entries(en="Wind")}}
    created = (await admin.post("/records", body)).ok()
    assert created["values"]["name"] == [{"scope": english, "value": "Wind"}]

    sent = {"values": {"name": entries(en="Windbreaker", da="Vind")}}
    replaced = (await admin.put("/records/ent-a", sent)).ok()["values"]["name"]
    assert replaced == [
        {"scope": english, "value": "Windbreaker"},
        {"scope": danish, "value": "Vind"},
    ]

    async def set_danish(value, scope=None):
        change = {"scope": scope or {"language": "da"}, "value": value}
        return await admin.patch("/records/ent-a/values/name", change)

    changed = (await set_danish("Vindjakke")).ok()["values"]["name"]
    assert {"scope": danish, "value": "Vindjakke"} in changed
    assert len(changed) == 2
    assert (await set_danish(None)).ok()["values"]["name"] == [replaced[0]]
    twice = await set_danish("x", {"language": "da", "dim-language": "seg-en"})
    assert twice.outcome == error(
        400, "VALIDATION_ERROR", "Dimension 'dim-language' is named twice in one scope"
    )
    unknown = await set_danish(None, {"tongue": "da"})
    assert unknown.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Unknown dimension 'tongue' in a scope of 'name': expected dim-language",
    )


async def test_completeness_may_be_asked_for_by_alias(admin):
    name = (await admin.get("/attributes/attr-name")).ok()
    required = {**name, "validation": {"required": True}}
    (await admin.put("/attributes/attr-name", required)).ok()
    await create(admin, "ent-a", sku="AB-123")
    entry = {"scope": {"dim-language": "seg-da"}, "value": "Vindjakke"}
    (await admin.put("/records/ent-a", {"values": {"name": [entry]}})).ok()
    for scope, missing in (
        ('{"language": "da"}', []),
        ('{"dim-language": "da"}', []),
        ('{"language": "seg-en"}', [{"attribute": "name", "scope": {"dim-language": "seg-en"}}]),
    ):
        told = (await admin.get("/records/ent-a/completeness", params={"scope": scope})).ok()
        assert told["missingIn"] == missing
    for scope, message in (
        (
            '{"language": "xx"}',
            "Unknown segment 'xx' of dimension 'dim-language': expected seg-en, seg-da",
        ),
        ('{"tongue": "da"}', "Unknown dimension 'tongue'"),
        (
            '{"language": "da", "dim-language": "seg-da"}',
            "Dimension 'dim-language' is named twice in one scope",
        ),
        ('{"language": 5}', "Segment of dimension 'dim-language' must be a string, got number"),
    ):
        told = await admin.get("/records/ent-a/completeness", params={"scope": scope})
        assert told.outcome == error(400, "VALIDATION_ERROR", message)


async def test_a_record_is_answered_as_it_was_sent(admin):
    created = await admin.post(
        "/records",
        {
            "id": "ent-coastal-wb",
            "schemaId": "schema-apparel",
            "values": {
                "name": [
                    {"scope": {"dim-language": "seg-en"}, "value": "Coastal Windbreaker"},
                    {"scope": {"dim-language": "seg-da"}, "value": "Kystvindjakke"},
                ],
                "sku": everywhere("CW-001"),
            },
        },
    )
    assert created.status == 201
    assert created.headers["ETag"] == '"1"'
    assert created.headers["Location"] == "/api/v1/records/ent-coastal-wb"
    body = dict(created.body)
    assert body.pop("createdAt") == body.pop("updatedAt")
    assert body == {
        "id": "ent-coastal-wb",
        "externalKey": None,
        "schemaId": "schema-apparel",
        "lifecycleStateId": None,
        "version": 1,
        "createdBy": "user-admin",
        "updatedBy": "user-admin",
        "values": {
            "name": [
                {"scope": {"dim-language": "seg-en"}, "value": "Coastal Windbreaker"},
                {"scope": {"dim-language": "seg-da"}, "value": "Kystvindjakke"},
            ],
            "sku": [{"scope": {}, "value": "CW-001"}],
        },
    }
    read = await admin.get("/records/ent-coastal-wb")
    assert (read.status, read.body) == (200, created.body)


async def test_another_workspace_sees_nothing_of_it(service, admin):
    await create(admin, "ent-a", sku="AB-123")
    stranger = service.as_(identities.admin(workspace="ws-other"))
    not_there = error(404, "NOT_FOUND", "Entity 'ent-a' not found")
    assert (await stranger.get("/records/ent-a")).outcome == not_there
    assert (await stranger.put("/records/ent-a", {"values": {}})).outcome == not_there
    assert (
        await stranger.patch("/records/ent-a/values/sku", {"value": "AB-124"})
    ).outcome == not_there
    assert (await stranger.delete("/records/ent-a")).outcome == not_there
    assert (await stranger.get("/records/ent-a/audit")).outcome == not_there
    assert (await stranger.get("/records/ent-a/completeness")).outcome == not_there
    assert (await stranger.get("/records")).body["total"] == 0
    assert (await stranger.get("/audit")).body["total"] == 0


async def test_the_documented_refusals(admin):
    await create(admin, "ent-a", sku="AB-123")

    async def refused(values, **fields):
        body = {"schemaId": "schema-apparel", "values": values, **fields}
        return (await admin.post("/records", body)).outcome

    assert await refused({"price": everywhere("12")}) == error(
        400, "VALIDATION_ERROR", "Attribute 'price' expects type 'number', got 'string'"
    )
    assert await refused({"sku": everywhere("nope")}) == error(
        400, "VALIDATION_ERROR", r"Value for 'sku' does not match pattern '^[A-Z]{2}-\d{3}$'"
    )
    assert await refused({"colour": everywhere("red")}) == error(
        400, "VALIDATION_ERROR", "Unknown attribute 'colour'"
    )
    assert await refused({"sku": everywhere("AB-123")}) == error(
        409, "CONFLICT", "Value 'AB-123' for attribute 'sku' must be unique"
    )
    assert await refused({}, id="ent-a") == error(
        409, "CONFLICT", "Entity with id 'ent-a' already exists"
    )
    assert await refused({}, schemaId="schema-x") == error(
        404, "NOT_FOUND", "Schema 'schema-x' not found"
    )
    assert (await admin.post("/records", {"values": {}})).outcome == error(
        400, "VALIDATION_ERROR", "Field 'schemaId' is required"
    )
    assert await refused({"related": everywhere(["ent-none"])}) == error(
        400,
        "VALIDATION_ERROR",
        "Value for 'related' is not an existing record: 'ent-none' not found",
    )
    assert (await admin.get("/records")).body["total"] == 1


async def test_fifty_creates_at_499_give_one_record(service, admin):
    limited = service.as_(identities.admin())
    for first in range(0, 499, 100):
        await asyncio.gather(
            *(create(limited, f"ent-{n}") for n in range(first, min(first + 100, 499)))
        )
    answers = await asyncio.gather(
        *(limited.post("/records", {"schemaId": "schema-apparel"}) for _ in range(50))
    )
    assert sorted(answer.status for answer in answers) == [201] + [403] * 49
    assert {answer.body["message"] for answer in answers if answer.status == 403} == {
        "Entity limit of 500 reached"
    }
    assert (await limited.get("/records")).body["total"] == 500
    (await limited.delete("/records/ent-0")).ok()
    assert (await limited.post("/records", {"schemaId": "schema-apparel"})).status == 201
    assert (await limited.post("/records", {"schemaId": "schema-apparel"})).status == 403


async def test_fifty_creates_with_one_sku_give_one_record(admin):
    answers = await asyncio.gather(
        *(
            admin.post(
                "/records", {"schemaId": "schema-apparel", "values": {"sku": everywhere("AB-123")}}
            )
            for _ in range(50)
        )
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 49
    assert {answer.body["message"] for answer in answers if answer.status == 409} == {
        "Value 'AB-123' for attribute 'sku' must be unique"
    }


async def test_two_people_who_set_two_locales_both_keep_theirs(admin):
    await create(admin, "ent-a")

    async def set_name(segment, value):
        return (
            await admin.patch(
                "/records/ent-a/values/name",
                {"scope": {"dim-language": segment}, "value": value},
            )
        ).ok()

    for n in range(20):
        await asyncio.gather(set_name("seg-en", f"coat {n}"), set_name("seg-da", f"frakke {n}"))
        entries = (await admin.get("/records/ent-a")).body["values"]["name"]
        assert sorted(entry["value"] for entry in entries) == [f"coat {n}", f"frakke {n}"]


async def test_if_match_refuses_to_overwrite_what_was_not_seen(admin):
    await create(admin, "ent-a", sku="AB-123")
    first = await admin.put(
        "/records/ent-a", {"values": {"price": everywhere(1)}}, headers={"If-Match": '"1"'}
    )
    assert (first.status, first.headers["ETag"]) == (200, '"2"')
    late = await admin.put(
        "/records/ent-a", {"values": {"price": everywhere(2)}}, headers={"If-Match": '"1"'}
    )
    assert late.outcome == error(
        412,
        "PRECONDITION_FAILED",
        "Entity 'ent-a' is at version 2; If-Match names another version. Others have changed since"
        " what is sent: /values/price",
    )
    gone = await admin.delete("/records/ent-a", headers={"If-Match": '"1"'})
    assert gone.status == 412
    assert (await admin.get("/records/ent-a")).body["values"]["price"] == everywhere(1)


async def test_a_put_changes_what_it_names_and_keeps_the_rest(admin):
    await create(admin, "ent-a", sku="AB-123", price=5)
    changed = await admin.put("/records/ent-a", {"values": {"price": None}})
    assert changed.body["values"] == {"sku": everywhere("AB-123")}
    refused = await admin.put("/records/ent-a", {"values": {"sku": []}})
    assert refused.outcome == error(
        400, "VALIDATION_ERROR", "Attribute 'sku' is required and cannot be emptied"
    )


async def test_a_write_that_changes_nothing_leaves_no_trace(service, admin):
    await create(admin, "ent-a", price=5)
    staged = len(await service.staged())
    same = await admin.put("/records/ent-a", {"values": {"price": everywhere(5)}})
    assert (same.status, same.headers["ETag"]) == (200, '"1"')
    assert len(await service.staged()) == staged
    assert (await admin.get("/records/ent-a/audit")).body["total"] == 1


async def test_a_freed_unique_value_can_be_taken_again(admin):
    await create(admin, "ent-a", sku="AB-123")
    (await admin.put("/records/ent-a", {"values": {"sku": everywhere("AB-124")}})).ok()
    await create(admin, "ent-b", sku="AB-123")
    (await admin.delete("/records/ent-a")).ok()
    await create(admin, "ent-c", sku="AB-124")


async def test_history_tells_old_and_new_values(admin):
    await create(admin, "ent-a", sku="AB-123")
    (await admin.put("/records/ent-a", {"values": {"price": everywhere(5)}})).ok()
    (await admin.put("/records/ent-a", {"values": {"price": everywhere(6)}})).ok()
    (await admin.delete("/records/ent-a")).ok()
    history = (await admin.get("/audit?entityId=ent-a")).body
    assert history["total"] == 4
    assert [entry["action"] for entry in history["items"]] == [
        "delete",
        "update",
        "update",
        "create",
    ]
    assert history["items"][1]["changes"] == [
        {"attribute": "price", "scope": {}, "oldValue": 5, "newValue": 6}
    ]
    assert history["items"][0]["changes"] == [
        {"attribute": "sku", "scope": {}, "oldValue": "AB-123", "newValue": None},
        {"attribute": "price", "scope": {}, "oldValue": 6, "newValue": None},
    ]


async def test_every_write_stages_its_event_with_the_version(service, admin):
    before = len(await service.staged())
    await create(admin, "ent-a", sku="AB-123")
    (await admin.patch("/records/ent-a/values/price", {"value": 7})).ok()
    (await admin.delete("/records/ent-a")).ok()
    events = (await service.staged())[before:]
    assert [(event.type, event.subject, event.version) for event in events] == [
        ("entity.created", "ent-a", 1),
        ("entity.updated", "ent-a", 2),
        ("entity.deleted", "ent-a", 3),
    ]
    assert events[1].data["changes"] == [
        {
            "attribute": "price",
            "attributeId": "attr-price",
            "scope": {},
            "oldValue": None,
            "newValue": 7,
        }
    ]


async def test_writes_and_changes_of_the_model_do_not_cross(admin):
    """A write judged by an old model is judged again: no value of a type that is gone is stored."""
    attribute = (await admin.get("/attributes/attr-price")).body
    for n in range(10):
        kind = "text" if n % 2 == 0 else "number"
        change, *writes = await asyncio.gather(
            admin.put("/attributes/attr-price", {**attribute, "type": kind, "validation": {}}),
            *(
                admin.post(
                    "/records", {"schemaId": "schema-apparel", "values": {"price": everywhere(v)}}
                )
                for v in (1, "one", 2, "two")
            ),
        )
        assert change.status in (200, 409)
        now = (await admin.get("/attributes/attr-price")).body["type"]
        page = (await admin.get("/records?limit=500")).body
        expected = str if now == "text" else int
        for item in page["items"]:
            assert isinstance(item["values"]["price"][0]["value"], expected)
        assert all(write.status in (201, 400) for write in writes)
        for item in page["items"]:
            (await admin.delete(f"/records/{item['id']}")).ok()


async def test_a_create_is_judged_by_a_model_that_another_process_just_changed(service, admin):
    """This process has an old blueprint; what it would refuse by that is allowed by now."""
    await create(admin, "ent-a")
    async with service.app[DATABASE].transaction() as conn:
        await take_lock(conn, "ws-test")
        await conn.execute(
            """
            UPDATE attributes
               SET alias = 'label', version = version + 1,
                   changed_in = (SELECT version FROM models WHERE workspace_id = 'ws-test')
             WHERE workspace_id = 'ws-test' AND id = 'attr-name'
            """
        )
    created = await create(admin, "ent-b", label="new word")
    assert created["values"] == {"label": everywhere("new word")}
    async with service.app[DATABASE].transaction() as conn:
        await take_lock(conn, "ws-test")
        await conn.execute(
            """
            UPDATE attributes
               SET alias = 'title', version = version + 1,
                   changed_in = (SELECT version FROM models WHERE workspace_id = 'ws-test')
             WHERE workspace_id = 'ws-test' AND id = 'attr-name'
            """
        )
    refused = await admin.post(
        "/records", {"schemaId": "schema-apparel", "values": {"label": everywhere("old word")}}
    )
    assert refused.outcome == error(400, "VALIDATION_ERROR", "Unknown attribute 'label'")


async def test_an_id_that_is_used_again_goes_on_counting(service, admin):
    """Neither an old If-Match nor an old event is taken for one of the new record."""
    await create(admin, "ent-a", price=1)
    old = (await admin.get("/records/ent-a")).headers["ETag"]
    (await admin.delete("/records/ent-a")).ok()
    await create(admin, "ent-a", price=2)
    late = await admin.put(
        "/records/ent-a", {"values": {"price": everywhere(3)}}, headers={"If-Match": old}
    )
    assert late.status == 412
    told = [event.version for event in await service.staged() if event.subject == "ent-a"]
    assert told == [1, 2, 3]


async def test_history_of_an_earlier_record_keeps_its_own_secrets(service, admin):
    """An editor is told of the record that is there; administrators also of the one before."""
    secret = {
        "id": "schema-secret",
        "alias": "secret",
        "name": "Secret",
        "variantEnabled": False,
        "attributeGroups": [{"name": "All", "attributeIds": ["attr-price"]}],
    }
    (await admin.post("/schemas", secret)).ok()
    draft = {"id": "ent-a", "schemaId": "schema-secret", "values": {"price": everywhere(7)}}
    (await admin.post("/records", draft)).ok()
    (await admin.delete("/records/ent-a")).ok()
    await create(admin, "ent-a", price=8)
    document = {
        "id": "role-editor",
        "version": 1,
        "schemaPermissions": [
            {"schemaId": "schema-apparel", "attributePermissions": {"*": "write"}},
            {"schemaId": "schema-secret", "attributePermissions": {"*": "hidden"}},
        ],
    }
    async with service.app[DATABASE].acquire() as conn:
        await roles.upsert(conn, "ws-test", "role-editor", 1, document)
    editor = service.as_(identities.user())
    told = (await editor.get("/records/ent-a/audit")).ok()
    assert told["total"] == 1
    assert [change["newValue"] for entry in told["items"] for change in entry["changes"]] == [8]
    whole = (await admin.get("/records/ent-a/audit")).ok()
    assert [entry["action"] for entry in whole["items"]] == ["create", "delete", "create"]
