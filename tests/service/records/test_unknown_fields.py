"""Fields that nothing reads, where a misspelt one would change what a request does (ADR 91)."""

from __future__ import annotations

import orjson
import pytest

from records_service.app import create_app
from records_service.config import Config
from tests.kit.sigma import error
from tests.service.records.apparel import NO_OTHER_SERVICES, apparel, create, everywhere
from tests.service.records.bulk_calls import NDJSON, bulk, failures

ENGLISH = {"dim-language": "seg-en"}
MISSPELT = {"language": "da", "value": "Jakke"}
UNKNOWN = "Unknown field 'language' in entry 0 of 'name': expected scope, value"


@pytest.fixture
async def service(services):
    return await services.start(create_app, Config, **NO_OTHER_SERVICES)


@pytest.fixture
async def admin(service):
    admin = await apparel(service)
    schema = (await admin.get("/schemas/schema-apparel")).ok()
    (await admin.put("/schemas/schema-apparel", {**schema, "variantEnabled": True})).ok()
    await create(admin, "ent-a", sku="AA-001")
    named = {"scope": ENGLISH, "value": "Jacket"}
    (await admin.patch("/records/ent-a/values/name", named)).ok()
    (await admin.post("/records/ent-a/variants", {"id": "var-a"})).ok()
    return admin


def refused(message):
    return error(400, "VALIDATION_ERROR", message)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/records", {"schemaId": "schema-apparel"}),
        ("PUT", "/records/ent-a", {}),
        ("POST", "/records/ent-a/variants", {}),
        ("PUT", "/records/ent-a/variants/var-a", {}),
    ],
)
async def test_an_entry_with_a_misspelt_scope_replaces_nothing(admin, method, path, body):
    answer = await admin.ask(method, path, {**body, "values": {"name": [MISSPELT]}})
    assert answer.outcome == refused(UNKNOWN)
    read = (await admin.get("/records/ent-a")).body
    assert read["values"]["name"] == [{"scope": ENGLISH, "value": "Jacket"}]


@pytest.mark.parametrize("path", ["/records/ent-a", "/records/ent-a/variants/var-a"])
async def test_a_value_that_is_set_has_a_scope_and_a_value_alone(admin, path):
    answer = await admin.patch(f"{path}/values/name", MISSPELT)
    assert answer.outcome == refused("Field 'language' is not known: expected one of scope, value")


async def test_every_unknown_field_of_an_entry_is_told_with_its_place(admin):
    entries = [{"scope": ENGLISH, "value": "x"}, {**MISSPELT, "a/b": 1}]
    answer = await admin.put(
        "/records/ent-a",
        {"values": {"name": entries}},
        headers={"Accept": "application/problem+json"},
    )
    assert [each["pointer"] for each in answer.body["errors"]] == [
        "/values/name/1/language",
        "/values/name/1/a~1b",
    ]


async def test_a_bulk_row_and_its_entries_are_read_whole_or_not_at_all(admin):
    rows = [
        {"id": "ent-a", "values": {"name": [MISSPELT]}},
        {"id": "ent-a", "valeus": {"name": everywhere("x")}},
        # A variant of an export of records with their variants is no record.
        {"id": "var-b", "entityId": "ent-a", "parentId": "ent-a", "level": 1, "values": {}},
    ]
    known = "id, externalKey, schemaId, values, lifecycleStateId"
    answer = await bulk(admin, *rows)
    assert failures(answer) == [
        (0, 400, "VALIDATION_ERROR", UNKNOWN, "/values/name/0/language"),
        (
            1,
            400,
            "VALIDATION_ERROR",
            f"Field 'valeus' is not known: expected one of {known}",
            "/valeus",
        ),
        (
            2,
            400,
            "VALIDATION_ERROR",
            f"Field 'entityId' is not known: expected one of {known}",
            "/entityId",
        ),
    ]
    answer = await admin.post("/records/bulk", {"mode": "atomic", "operations": rows})
    assert answer.outcome == refused("Field 'mode' is not known: expected operations")
    answer = await admin.post("/records/bulk-delete", {"ids": [], "mode": "atomic"})
    assert answer.outcome == refused("Field 'mode' is not known: expected ids")


async def test_a_record_is_taken_back_as_it_is_answered_and_exported(admin):
    read = (await admin.get('/records/ent-a?scope={"dim-language":"seg-en"}')).ok()
    assert "resolved" in read
    assert (await bulk(admin, read)).body["unchanged"] == 1
    exported = await admin.get("/export?format=ndjson&variants=true")
    record, variant = exported.body.splitlines()
    assert (await bulk(admin, orjson.loads(record))).body["unchanged"] == 1
    assert "entityId" in orjson.loads(variant)
    assert (await admin.put("/records/ent-a", read)).status == 200


async def test_an_import_refuses_the_rows_that_have_an_unknown_entry(admin):
    lines = [
        {"id": "ent-a", "values": {"name": [MISSPELT]}},
        {"entityId": "ent-a", "id": "var-a", "values": {}, "parentID": "ent-a"},
    ]
    tried = await admin.post(
        "/imports",
        data=b"\n".join(map(orjson.dumps, lines)),
        headers={"Content-Type": NDJSON, "Prefer": "dry-run"},
    )
    assert [each["message"] for each in tried.ok()["errors"]] == [
        UNKNOWN,
        "Field 'parentID' is not known: expected one of id, entityId, parentId, values",
    ]
    answer = await admin.post(
        "/imports?onMatched=skip", data=b"{}", headers={"Content-Type": NDJSON}
    )
    assert answer.status == 400
    assert answer.body["message"].startswith("Field 'onMatched' is not known: expected one of id,")
    answer = await admin.post(
        "/import/execute", {"rows": [], "schemaId": "schema-apparel", "mapping": {}}
    )
    assert answer.outcome == refused(
        "Field 'mapping' is not known: expected one of rows, schemaId, columnMapping"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"filter": []},
            (
                "Field 'filter' is not known: expected one of criteriaOperator, criteria, schemaId,"
                " offset, limit, cursor, total, attributes, facets, scope, sort"
            ),
        ),
        (
            {"criteria": [{"attribute": "price", "operator": "gt", "value": 1, "scop": {}}]},
            (
                "Field 'criteria.0.scop' is not known: expected one of attribute, field, operator,"
                " value, scope, stateId, includeSubcategories, criteriaOperator, criteria"
            ),
        ),
        (
            {"criteria": [{"criteriaOperator": "or", "criteria": [{"attribut": "price"}]}]},
            (
                "Field 'criteria.0.criteria.0.attribut' is not known: expected one of attribute,"
                " field, operator, value, scope, stateId, includeSubcategories, criteriaOperator,"
                " criteria"
            ),
        ),
        (
            {"sort": [{"attribute": "price", "direction": "desc"}]},
            (
                "Field 'sort.0.direction' is not known: expected one of attribute, field, scope,"
                " stateId, order"
            ),
        ),
    ],
)
async def test_a_search_is_asked_whole_or_not_at_all(admin, body, message):
    assert (await admin.post("/search", body)).outcome == refused(message)
    if "filter" not in body:
        saved = await admin.post("/saved-queries", {"name": "Mine", **body})
        assert saved.outcome == refused(message)
    assert (await admin.get("/saved-queries")).body == []


async def test_other_searches_and_saved_queries_know_their_fields(admin):
    answer = await admin.post("/search/full-text", {"query": "x", "schema": "schema-apparel"})
    assert answer.body["message"] == (
        "Field 'schema' is not known: expected one of offset, limit, cursor, total, attributes,"
        " facets, scope, query, q, schemaId"
    )
    query = {"name": "All", "criteria": [{"attributeAlias": "price", "operator": "isEmpty"}]}
    saved = (await admin.post("/saved-queries", query)).ok()
    # What was answered can be sent again, as another query.
    (await admin.post("/saved-queries", {**saved, "id": "sq-copy"})).ok()
    answer = await admin.post("/saved-queries/sq-copy/execute", {"limits": 1})
    assert answer.status == 400


async def test_a_query_that_was_saved_before_the_rule_still_runs(admin, service):
    query = {
        "id": "sq-old",
        "name": "All",
        "criteria": [{"attribute": "sku", "operator": "isEmpty"}],
    }
    (await admin.post("/saved-queries", query)).ok()
    await service.database.execute(
        "UPDATE saved_queries SET query = jsonb_set(query, '{criteria,0,note}', '1')"
    )
    answer = await admin.post("/saved-queries/sq-old/execute", {})
    assert (answer.status, answer.body["total"]) == (200, 0)


@pytest.mark.parametrize(
    "path",
    [
        "/records?schema=schema-apparel",
        "/records?schema_id=schema-apparel",
        "/records/ent-a?asof=2026-01-01T00:00:00Z",
        "/records/ent-a/completeness?state=x",
        "/variants?entityId=ent-a",
        "/audit?recordId=ent-a",
        "/export?schema=schema-apparel",
        "/search/text?query=x&schema=schema-apparel",
        "/schemas?alias=apparel",
        "/jobs?state=running",
    ],
)
async def test_a_misspelt_parameter_is_refused(admin, path):
    answer = await admin.get(path)
    name = path.split("?")[1].split("&")[-1].split("=")[0]
    assert answer.status == 400
    assert answer.body["message"].startswith(f"Field '{name}' is not known: expected one of ")


async def test_objects_of_the_model_and_records_may_have_more_than_is_read(admin):
    """Clients send back what they got, also from later versions: contract, Q27."""
    schema = (await admin.get("/schemas/schema-apparel")).ok()
    assert (await admin.put("/schemas/schema-apparel", {**schema, "note": 1})).status == 200
    attribute = (await admin.get("/attributes/attr-price")).ok()
    assert (await admin.put("/attributes/attr-price", {**attribute, "note": 1})).status == 200
    record = (await admin.get("/records/ent-a")).ok()
    assert (await admin.put("/records/ent-a", {**record, "note": 1})).status == 200
