"""Lists of variants, and writes of variants that leave nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from records_service.variants import store
from shared.database import Conn, paging
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def caller(workspace: RecordsWorkspace) -> Caller:
    """Two schemas with one record each, and three variants of each."""
    await workspace.attribute("name", validation={"unique": True})
    for alias in ("x", "y"):
        await workspace.schema(alias, ["name"], variantEnabled=True)
        await workspace.record(f"schema-{alias}", id=f"ent-{alias}")
        for number in range(3):
            body = {"id": f"var-{alias}{number}", "values": entries({"name": f"{alias}{number}"})}
            (await workspace.admin.post(f"/records/ent-{alias}/variants", body)).ok()
    return workspace.admin


async def ids(caller: Caller, path: str) -> list[str]:
    return [each["id"] for each in (await caller.get(path)).ok()["items"]]


async def test_a_list_has_what_each_variant_answers(caller: Caller):
    page = (await caller.get("/records/ent-x/variants")).ok()
    assert page["items"] == [
        (await caller.get(f"/records/ent-x/variants/var-x{number}")).ok() for number in range(3)
    ]
    counted = {name: page[name] for name in ("total", "offset", "limit", "nextCursor")}
    assert counted == {"total": 3, "offset": 0, "limit": 50, "nextCursor": None}
    missing = error(404, "NOT_FOUND", "Entity 'ent-no' not found")
    assert (await caller.get("/records/ent-no/variants")).outcome == missing
    assert await ids(caller, "/records/ent-x/variants?offset=1&limit=1") == ["var-x1"]


async def test_a_schema_is_named_by_id_or_alias(workspace: RecordsWorkspace, caller: Caller):
    y = ["var-y0", "var-y1", "var-y2"]
    assert await ids(caller, "/variants?schemaId=schema-y") == y
    assert await ids(caller, "/variants?schemaId=y") == y
    assert await ids(caller, "/variants?schemaId=z") == []
    assert len(await ids(caller, "/variants")) == 6
    schema = (await caller.get("/schemas/schema-y")).ok()
    (await caller.put("/schemas/schema-y", schema | {"alias": "z"})).ok()
    assert await ids(caller, "/variants?schemaId=z") == y


async def test_a_name_is_looked_up_in_the_model_of_the_page(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    assert len(await ids(caller, "/variants?schemaId=y")) == 3
    page, renaming = store.page, []

    async def rename() -> None:
        for schema_id, alias in (("schema-y", "z"), ("schema-x", "y")):
            schema = (await caller.get(f"/schemas/{schema_id}")).ok()
            (await caller.put(f"/schemas/{schema_id}", schema | {"alias": alias})).ok()

    async def renamed_meanwhile(conn: Conn, **asked: Any) -> Any:
        if not renaming:
            renaming.append(asyncio.create_task(rename()))
        # A list that takes long is begun again: not so the renaming.
        await asyncio.shield(renaming[0])
        return await page(conn, **asked)

    monkeypatch.setattr(store, "page", renamed_meanwhile)
    assert await ids(caller, "/variants?schemaId=y") == ["var-x0", "var-x1", "var-x2"]


async def test_a_page_is_bounded_by_its_bytes(caller: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paging, "PAGE_BYTES_MAX", 120)
    for path in ("/records/ent-x/variants", "/variants?schemaId=x"):
        page = (await caller.get(path)).ok()
        assert (len(page["items"]), page["limit"], page["total"]) == (2, 2, 3), path
        joint = "&" if "?" in path else "?"
        rest = await ids(caller, f"{path}{joint}cursor={page['nextCursor']}")
        assert rest == ["var-x2"]
        refused = await caller.get(f"{path}{joint}limit=3")
        assert (refused.status, refused.body["error"]) == (400, "VALIDATION_ERROR")


async def test_a_cursor_is_of_one_list(caller: Caller):
    cursor = (await caller.get("/records/ent-x/variants?limit=1")).ok()["nextCursor"]
    for path in ("/records/ent-y/variants", "/variants", "/records"):
        assert (await caller.get(f"{path}?cursor={cursor}")).status == 400
    assert await ids(caller, f"/records/ent-x/variants?cursor={cursor}") == ["var-x1", "var-x2"]


async def test_a_page_is_found_by_an_index(workspace: RecordsWorkspace, caller: Caller):
    await workspace.database.execute(
        """
        INSERT INTO variants (workspace_id, id, record_id, schema_id, parent_id, path, level,
                              version, values, created_at, updated_at, created_by, updated_by)
        SELECT $1, 'var-n' || n, 'ent-' || CASE n % 2 WHEN 0 THEN 'x' ELSE 'y' END,
               'schema-' || CASE n % 2 WHEN 0 THEN 'x' ELSE 'y' END, NULL, '{}', 1, 1, '{}',
               now() + n * interval '1 ms', now(), 'u', 'u'
          FROM generate_series(1, 20000) AS n
        """,
        workspace.id,
    )
    await workspace.database.execute("ANALYZE variants")
    plans: list[str] = []
    async with workspace.database.acquire() as conn:
        fetch = conn.fetch

        class Explaining:
            """Explains each statement before it is executed."""

            async def fetch(self, sql: str, *values: Any) -> Any:
                found = await fetch(f"EXPLAIN (ANALYZE, FORMAT TEXT) {sql}", *values)
                plans.append("\n".join(row[0] for row in found))
                return await fetch(sql, *values)

            async def fetchval(self, sql: str, *values: Any) -> Any:
                return await conn.fetchval(sql, *values)

        for filters in ({}, {"schema_id": "schema-x"}, {"record_id": "ent-x"}):
            asked = paging.PageQuery(limit=50, total="none")
            place = paging.place_of(workspace.id, "/variants", asked, store.BY_CREATION)
            listing = await store.page(Explaining(), workspace.id, place=place, **filters)
            assert listing is not None and len(listing.part.rows) == 50
    assert len(plans) == 3
    for plan in plans:
        assert "Seq Scan on variants" not in plan, plan
        assert "Seq Scan on records" not in plan, plan


async def test_a_dry_run_leaves_nothing(workspace: RecordsWorkspace, caller: Caller):
    before = await workspace.fetch("SELECT * FROM variants WHERE workspace_id = $1 ORDER BY id")
    events = {event.id for event in await workspace.staged()}
    dry = {"Prefer": "dry-run"}
    address = "/records/ent-x/variants"
    made = await caller.post(address, {"values": entries({"name": "new"})}, headers=dry)
    assert made.status == 201
    taken = await caller.post(address, {"values": entries({"name": "y1"})}, headers=dry)
    value = "Value 'y1' for attribute 'name' must be unique"
    assert taken.outcome == error(409, "CONFLICT", value)
    patch = await caller.patch(f"{address}/var-x1/values/name", {"value": "z"}, headers=dry)
    assert patch.body["version"] == 2
    assert (await caller.delete(f"{address}/var-x1", headers=dry)).status == 204
    assert (await caller.delete("/records/ent-x", headers=dry)).status == 204
    after = await workspace.fetch("SELECT * FROM variants WHERE workspace_id = $1 ORDER BY id")
    assert after == before
    assert {event.id for event in await workspace.staged()} == events


async def test_a_request_with_a_key_creates_one_variant(caller: Caller):
    key = {"Idempotency-Key": "one"}
    answers = [await caller.post("/records/ent-x/variants", {}, headers=key) for _ in range(2)]
    assert answers[0].body == answers[1].body
    assert len(await ids(caller, "/records/ent-x/variants")) == 4
