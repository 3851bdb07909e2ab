"""Records over HTTP and real PostgreSQL: what is stored, what is refused, what is told."""

from __future__ import annotations

import asyncio

import pytest

from records_service import paging
from records_service.app import create_app
from records_service.config import Config
from records_service.model_objects.commands import take_lock
from records_service.permissions import store as roles
from shared.database import DATABASE
from tests.kit import identities
from tests.kit.sigma import error

JSON = {"Content-Type": "application/json"}
NO_NEIGHBOUR = {"auth_url": "http://127.0.0.1:9", "workflow_url": "http://127.0.0.1:9"}


@pytest.fixture
async def service(services):
    return await services.start(create_app, Config, **NO_NEIGHBOUR)


@pytest.fixture
async def admin(service):
    caller = service.as_(identities.admin())
    for body in (
        {
            "id": "dim-language",
            "alias": "language",
            "name": "Language",
            "defaultSegmentId": "seg-en",
            "segments": [
                {"id": "seg-en", "alias": "en", "name": "English"},
                {"id": "seg-da", "alias": "da", "name": "Danish"},
            ],
        },
    ):
        (await caller.post("/dimensions", body)).ok()
    for body in (
        {
            "id": "attr-name",
            "alias": "name",
            "name": "Name",
            "type": "text",
            "dimensionIds": ["dim-language"],
        },
        {
            "id": "attr-sku",
            "alias": "sku",
            "name": "SKU",
            "type": "text",
            "validation": {"unique": True, "required": True, "pattern": r"^[A-Z]{2}-\d{3}$"},
        },
        {
            "id": "attr-price",
            "alias": "price",
            "name": "Price",
            "type": "number",
            "validation": {"min": 0},
        },
        {
            "id": "attr-related",
            "alias": "related",
            "name": "Related",
            "type": "relation",
            "multiple": True,
        },
    ):
        (await caller.post("/attributes", body)).ok()
    schema = {
        "id": "schema-apparel",
        "alias": "apparel",
        "name": "Apparel",
        "variantEnabled": False,
        "attributeGroups": [
            {
                "id": "grp-all",
                "name": "All",
                "attributeIds": ["attr-name", "attr-sku", "attr-price", "attr-related"],
            }
        ],
    }
    (await caller.post("/schemas", schema)).ok()
    return caller


def everywhere(value):
    return [{"scope": {}, "value": value}]


async def create(caller, record_id, **values):
    return (
        await caller.post(
            "/records",
            {
                "id": record_id,
                "schemaId": "schema-apparel",
                "values": {alias: everywhere(value) for alias, value in values.items()},
            },
        )
    ).ok()


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
    assert twice.told == error(
        400, "VALIDATION_ERROR", "Dimension 'dim-language' is named twice in one scope"
    )
    unknown = await set_danish(None, {"tongue": "da"})
    assert unknown.told == error(
        400, "VALIDATION_ERROR", "Unknown dimension 'tongue' in a scope of 'name'"
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
        ('{"language": "xx"}', "Unknown segment 'xx' of dimension 'dim-language'"),
        ('{"tongue": "da"}', "Unknown dimension 'tongue'"),
        (
            '{"language": "da", "dim-language": "seg-da"}',
            "Dimension 'dim-language' is named twice in one scope",
        ),
        ('{"language": 5}', "Segment of dimension 'dim-language' must be a string, got number"),
    ):
        told = await admin.get("/records/ent-a/completeness", params={"scope": scope})
        assert told.told == error(400, "VALIDATION_ERROR", message)


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
        "schemaId": "schema-apparel",
        "lifecycleStateId": None,
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
    assert (await stranger.get("/records/ent-a")).told == not_there
    assert (await stranger.put("/records/ent-a", {"values": {}})).told == not_there
    assert (
        await stranger.patch("/records/ent-a/values/sku", {"value": "AB-124"})
    ).told == not_there
    assert (await stranger.delete("/records/ent-a")).told == not_there
    assert (await stranger.get("/records/ent-a/audit")).told == not_there
    assert (await stranger.get("/records/ent-a/completeness")).told == not_there
    assert (await stranger.get("/records")).body["total"] == 0
    assert (await stranger.get("/audit")).body["total"] == 0


async def test_the_documented_refusals(admin):
    await create(admin, "ent-a", sku="AB-123")

    async def refused(values, **fields):
        body = {"schemaId": "schema-apparel", "values": values, **fields}
        return (await admin.post("/records", body)).told

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
    assert (await admin.post("/records", {"values": {}})).told == error(
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
    assert late.told == error(
        412,
        "PRECONDITION_FAILED",
        "Entity 'ent-a' is at version 2; If-Match names another version",
    )
    gone = await admin.delete("/records/ent-a", headers={"If-Match": '"1"'})
    assert gone.status == 412
    assert (await admin.get("/records/ent-a")).body["values"]["price"] == everywhere(1)


async def test_a_put_changes_what_it_names_and_keeps_the_rest(admin):
    await create(admin, "ent-a", sku="AB-123", price=5)
    changed = await admin.put("/records/ent-a", {"values": {"price": None}})
    assert changed.body["values"] == {"sku": everywhere("AB-123")}
    refused = await admin.put("/records/ent-a", {"values": {"sku": []}})
    assert refused.told == error(
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


async def test_a_list_is_paged_in_order_of_creation(admin):
    for n in range(5):
        await create(admin, f"ent-{n}")
    page = (await admin.get("/records?offset=1&limit=2&schemaId=schema-apparel")).body
    assert [item["id"] for item in page["items"]] == ["ent-1", "ent-2"]
    assert (page["total"], page["offset"], page["limit"]) == (5, 1, 2)
    beyond = (await admin.get("/records?offset=9")).body
    assert (beyond["items"], beyond["total"]) == ([], 5)
    assert (await admin.get("/records?limit=501")).told == error(
        400, "VALIDATION_ERROR", "Field 'limit' must be at most 500, got '501'"
    )


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
    assert (await admin.get("/records/ent-a/completeness?scope=%7B")).told == error(
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
    assert refused.told == error(400, "VALIDATION_ERROR", "Unknown attribute 'label'")


async def test_a_list_shows_what_is_there_now(admin):
    """Also for an id that belonged to another record a moment ago, and after the model changed."""

    async def listed():
        return (await admin.get("/records")).ok()["items"]

    await create(admin, "ent-a", price=1)
    assert (await listed())[0]["values"] == {"price": everywhere(1)}
    (await admin.delete("/records/ent-a")).ok()
    await create(admin, "ent-a", price=2)
    assert (await listed())[0]["values"] == {"price": everywhere(2)}
    (await admin.put("/records/ent-a", {"values": {"price": everywhere(3)}})).ok()
    assert (await listed())[0]["values"] == {"price": everywhere(3)}
    assert await listed() == [(await admin.get("/records/ent-a")).body]
    attribute = (await admin.get("/attributes/attr-price")).body
    (await admin.put("/attributes/attr-price", {**attribute, "alias": "net-price"})).ok()
    assert (await listed())[0]["values"] == {"net-price": everywhere(3)}


async def test_a_list_without_relations_is_remembered_for_each_version_apart(service, admin):
    """As above, where renderings are kept: the schema has no relation."""
    schema = {
        "id": "schema-plain",
        "alias": "plain",
        "name": "Plain",
        "variantEnabled": False,
        "attributeGroups": [{"name": "All", "attributeIds": ["attr-price", "attr-name"]}],
    }
    (await admin.post("/schemas", schema)).ok()

    async def put(value):
        draft = {"id": "ent-p", "schemaId": "schema-plain", "values": {"price": everywhere(value)}}
        return (await admin.post("/records", draft)).ok()

    async def prices():
        items = (await admin.get("/records?schemaId=schema-plain")).ok()["items"]
        return [item["values"]["price"][0]["value"] for item in items]

    await put(1)
    assert await prices() == await prices() == [1]
    (await admin.delete("/records/ent-p")).ok()
    await put(2)
    assert await prices() == [2]
    (await admin.patch("/records/ent-p/values/price", {"value": 3})).ok()
    assert await prices() == [3]
    items = (await admin.get("/records?schemaId=schema-plain")).ok()["items"]
    assert items == [(await admin.get("/records/ent-p")).body]


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


async def test_a_page_of_too_many_bytes_is_refused_and_told_what_would_fit(admin, monkeypatch):
    for number in range(4):
        await create(admin, f"ent-{number}", name="x" * 10_000)
    monkeypatch.setattr(paging, "PAGE_BYTES_MAX", 25_000)
    too_large = error(
        400,
        "VALIDATION_ERROR",
        "Field 'limit' asks for more than 25000 bytes at this offset: expected at most 2, got 3",
    )
    for path in ("/records?offset=1", "/audit?offset=1"):
        assert (await admin.get(f"{path}&limit=3")).told == too_large
        assert len((await admin.get(f"{path}&limit=2")).ok()["items"]) == 2
        assert (await admin.get("/records?offset=9")).ok()["items"] == []


@pytest.mark.parametrize("path", ["/records", "/audit", "/records/ent-1/audit"])
async def test_one_item_that_is_larger_than_a_page_is_answered(admin, monkeypatch, path):
    for number in range(3):
        await create(admin, f"ent-{number}", name="x" * 10_000)
    for number in range(2):
        await admin.patch("/records/ent-1/values/name", {"value": f"{number}" * 10_000})
    everything = (await admin.get(path)).ok()
    monkeypatch.setattr(paging, "PAGE_BYTES_MAX", 5_000)
    for offset in range(everything["total"] - 1):
        for limit in ("", "&limit=1"):
            page = (await admin.get(f"{path}?offset={offset}{limit}")).ok()
            assert page["items"] == [everything["items"][offset]]
            assert (page["limit"], page["total"]) == (1, everything["total"])
    assert (await admin.get(f"{path}?limit=2")).told == error(
        400,
        "VALIDATION_ERROR",
        "Field 'limit' asks for more than 5000 bytes at this offset: expected at most 1, got 2",
    )


@pytest.mark.parametrize("path", ["/records", "/audit", "/records/ent-0/audit"])
async def test_a_page_without_a_limit_is_shorter_and_says_so(admin, monkeypatch, path):
    for number in range(4):
        await create(admin, f"ent-{number}", name="x" * 10_000)
    for number in range(4):
        await admin.patch("/records/ent-0/values/name", {"value": f"{number}" * 5_000})
    monkeypatch.setattr(paging, "PAGE_BYTES_MAX", 25_000)
    found, lengths = [], []
    while True:
        page = (await admin.get(f"{path}?offset={len(found)}")).ok()
        if not page["items"]:
            break
        found += [one["id"] for one in page["items"]]
        lengths.append((len(page["items"]), page["limit"]))
    assert len(found) == len(set(found)) == page["total"]
    assert len(lengths) > 1
    assert all(length == limit for length, limit in lengths[:-1])
    assert (await admin.get(f"{path}?limit=500")).status == 400


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
        assert answer.told == refused
        # Nothing is taken from a record that holds nothing.
        answer = await admin.patch("/records/ent-empty/values/title", {"value": value})
        assert answer.status == 200
    emptied = {"values": {"title": everywhere("")}}
    assert (await admin.put("/records/ent-full", emptied)).told == refused


async def test_a_list_is_filtered_by_the_schemas_id_or_alias(admin):
    await create(admin, "ent-a", price=1)
    for name, total in (("schema-apparel", 1), ("apparel", 1), ("nothing", 0)):
        assert (await admin.get(f"/records?schemaId={name}")).ok()["total"] == total


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
        (await editor.get("/audit"), "Only the role 'role-admin' and API keys can do this"),
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


async def test_an_id_that_is_taken_is_a_conflict_in_a_full_workspace_too(service):
    limited = service.as_(identities.api_key("ws-limited", record_limit=1))
    schema = {"id": "schema-a", "alias": "a", "name": "A", "variantEnabled": False}
    (await limited.post("/schemas", schema)).ok()
    sent = {"id": "ent-a", "schemaId": "schema-a"}
    (await limited.post("/records", sent)).ok()
    assert (await limited.post("/records", sent)).told == error(
        409, "CONFLICT", "Entity with id 'ent-a' already exists"
    )
    assert (await limited.post("/records", {**sent, "id": "ent-b"})).told == error(
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
        assert (await admin.put(path, {**sent, "id": "other"})).told == error(
            400, "VALIDATION_ERROR", f"Field 'id' cannot change: expected '{known}', got 'other'"
        )
        assert (await admin.put(path, {**sent, "id": known})).status == 200


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
    assert (await admin.patch(f"{path}/values/part", {"value": "ent-part"})).told == dead
    sent = {"values": {"part": everywhere("ent-part")}}
    assert (await admin.put(path, sent)).told == dead
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
    assert (await admin.patch("/records/ent-kit/values/shoe", {"value": "ent-shoe"})).told == error(
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
        assert (await kit(admin, bill=bill)).told == error(
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


async def test_a_key_without_read_does_not_guess_what_a_record_has(service, admin):
    await create(admin, "ent-a", sku="AB-123")
    writer = service.as_(identities.api_key(permissions=["update-data"]))
    for field, right in (("schemaId", "schema-apparel"), ("lifecycleStateId", None)):
        for guess in (right, "guess"):
            refused = await writer.put("/records/ent-a", {"values": {}, field: guess})
            assert refused.told == error(
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
            assert (await writer.put(f"/records/{record}", sent)).told == refused
        path = f"/records/{record}/values/sku"
        assert (await writer.patch(path, {"value": None})).told == refused
    (await reader.put("/records/ent-empty", {"values": {"sku": None}})).ok()
    assert (await reader.put("/records/ent-full", {"values": {"sku": None}})).told == refused
    # What is not required may be emptied, what is may be replaced or left out when it is created.
    (await writer.put("/records/ent-full", {"values": {"price": None}})).ok()
    (await writer.put("/records/ent-full", {"values": {"sku": everywhere("AB-124")}})).ok()
    (await writer.post("/records", {"schemaId": "schema-apparel", "values": {"sku": None}})).ok()


async def test_no_message_shows_a_word_of_python_or_repeats_much_of_what_was_sent(admin):
    await create(admin, "ent-a", price=1)
    answer = await admin.put("/records/ent-a", {"values": {}, "lifecycleStateId": "state-x"})
    assert answer.told == error(
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
