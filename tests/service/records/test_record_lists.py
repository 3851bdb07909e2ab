"""Lists of records: paging, filters, and what a page may cost."""

from __future__ import annotations

import pytest

from records_service.app import create_app
from records_service.config import Config
from shared.database import paging
from tests.kit.sigma import error
from tests.service.records.apparel import NO_OTHER_SERVICES, apparel, create, everywhere


@pytest.fixture
async def service(services):
    return await services.start(create_app, Config, **NO_OTHER_SERVICES)


@pytest.fixture
async def admin(service):
    return await apparel(service)


async def test_a_list_is_paged_in_order_of_creation(admin):
    for n in range(5):
        await create(admin, f"ent-{n}")
    page = (await admin.get("/records?offset=1&limit=2&schemaId=schema-apparel")).body
    assert [item["id"] for item in page["items"]] == ["ent-1", "ent-2"]
    assert (page["total"], page["offset"], page["limit"]) == (5, 1, 2)
    beyond = (await admin.get("/records?offset=9")).body
    assert (beyond["items"], beyond["total"]) == ([], 5)
    assert (await admin.get("/records?limit=501")).outcome == error(
        400, "VALIDATION_ERROR", "Field 'limit' must be at most 500, got '501'"
    )


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
        assert (await admin.get(f"{path}&limit=3")).outcome == too_large
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
    assert (await admin.get(f"{path}?limit=2")).outcome == error(
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


async def test_a_list_is_filtered_by_the_schemas_id_or_alias(admin):
    await create(admin, "ent-a", price=1)
    for name, total in (("schema-apparel", 1), ("apparel", 1), ("nothing", 0)):
        assert (await admin.get(f"/records?schemaId={name}")).ok()["total"] == total
