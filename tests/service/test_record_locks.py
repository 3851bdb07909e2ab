"""Who waits for whom: no write holds what others need while it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from records_service.app import create_app
from records_service.attributes.uniqueness import Claim
from records_service.config import Config
from records_service.parts.commands import take_lock
from records_service.records import arrivals, commands, store
from shared.postgres import Database
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, Caller, error

TAKEN = error(409, "CONFLICT", "Value 'A' for attribute 'sku' must be unique")


@pytest.fixture
async def service(services: Services) -> RunningService:
    return await services.start(create_app, Config, database_connections_max=3)


@pytest.fixture
async def admin(service: RunningService) -> Caller:
    caller = service.as_(identities.admin())
    sku = {"id": "attr-sku", "alias": "sku", "name": "SKU", "type": "text"}
    (await caller.post("/attributes", {**sku, "validation": {"unique": True}})).ok()
    group = {"name": "All", "attributeIds": ["attr-sku"]}
    schema = {"id": "schema-x", "alias": "x", "name": "X", "variantEnabled": False}
    (await caller.post("/schemas", {**schema, "attributeGroups": [group]})).ok()
    for record_id, value in (("ent-a", "A"), ("ent-b", "B"), ("ent-c", "C")):
        values = {"sku": [{"scope": {}, "value": value}]}
        body = {"id": record_id, "schemaId": "schema-x", "values": values}
        (await caller.post("/records", body)).ok()
    return caller


@pytest.fixture
async def beside(service: RunningService) -> AsyncIterator[Database]:
    """Connections of the test's own to the same database."""
    database = Database(service.config.database_url.get_secret_value(), connections_max=3)
    yield database
    await database.close()


def set_sku(admin: Caller, record_id: str, value: str) -> asyncio.Task[Answer]:
    return asyncio.create_task(admin.patch(f"/records/{record_id}/values/sku", {"value": value}))


async def waiting_for_locks(beside: Database, number: int) -> None:
    async def wait() -> bool:
        found = await beside.fetchval(
            """SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        )
        return bool(found == number)

    await eventually(wait)


async def test_a_conflict_is_told_without_a_second_connection(
    admin: Caller, service: RunningService, services: Services
):
    single = await services.start(
        create_app, Config, database_connections_max=1, database_url=service.config.database_url
    )
    assert (await set_sku(admin.at(single.url), "ent-b", "A")).told == TAKEN


async def test_claims_are_compared_without_comparing_each_with_each(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    def compared(*_: object) -> bool:
        raise AssertionError("one claim was compared with another")

    monkeypatch.setattr(Claim, "__eq__", compared)
    assert (await set_sku(admin, "ent-b", "A")).told == TAKEN
    assert (await set_sku(admin, "ent-b", "D")).status == 200
    assert (await set_sku(admin, "ent-a", "B")).status == 200


async def test_writes_that_wait_for_the_model_leave_connections_to_others(
    admin: Caller, service: RunningService, services: Services, beside: Database
):
    larger = await services.start(
        create_app, Config, database_connections_max=5, database_url=service.config.database_url
    )
    admin = admin.at(larger.url)
    async with beside.transaction() as conn:
        await take_lock(conn, "ws-test")
        writes = [set_sku(admin, "ent-a", f"A{n}") for n in range(6)]
        await waiting_for_locks(beside, 2)
        drafts = [{"alias": f"n{n}", "name": "N", "type": "text"} for n in range(6)]
        changes = [asyncio.create_task(admin.post("/attributes", draft)) for draft in drafts]
        await waiting_for_locks(beside, 3)
        # Of five connections one is for lists, two wait to write, and one to change the model.
        assert (await admin.get("/records/ent-b")).status == 200
    assert {answer.status for answer in await asyncio.gather(*writes)} == {200}
    assert {answer.status for answer in await asyncio.gather(*changes)} == {201}


async def test_a_create_and_a_delete_of_one_id_do_not_wait_for_each_other(
    admin: Caller, beside: Database, monkeypatch: pytest.MonkeyPatch
):
    for module in (arrivals, commands):
        monkeypatch.setattr(module, "any_stripe", lambda: 0)
    async with beside.transaction() as conn:
        await conn.execute("SELECT FROM usage WHERE stripe = 0 FOR UPDATE")
        made = asyncio.create_task(
            admin.post("/records", {"id": "ent-c", "schemaId": "schema-x", "values": {}})
        )
        await waiting_for_locks(beside, 1)
        gone = asyncio.create_task(admin.delete("/records/ent-c"))
        await waiting_for_locks(beside, 2)
    assert (await gone).status == 204
    assert (await made).told == error(409, "CONFLICT", "Entity with id 'ent-c' already exists")
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await beside.fetchval(deadlocks) == 0


async def test_a_record_that_came_and_went_meanwhile_has_had_its_versions(
    admin: Caller,
    service: RunningService,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
):
    """One process found that the id is new, and is slow; in another it is used and freed."""
    insert, waits, go = store.insert, asyncio.Event(), asyncio.Event()

    async def slow_once(*arguments: Any, **more: Any) -> None:
        if not waits.is_set():
            waits.set()
            await go.wait()
        await insert(*arguments, **more)

    monkeypatch.setattr(store, "insert", slow_once)
    body = {"id": "ent-x", "schemaId": "schema-x"}
    slow = asyncio.create_task(admin.post("/records", body))
    await waits.wait()
    other = await services.start(create_app, Config, database_url=service.config.database_url)
    assert (await admin.at(other.url).post("/records", body)).headers["ETag"] == '"1"'
    assert (await admin.at(other.url).delete("/records/ent-x")).status == 204
    go.set()
    assert ((await slow).status, (await slow).headers["ETag"]) == (201, '"3"')
    versions = [event.version for event in await service.staged() if event.subject == "ent-x"]
    assert versions == [1, 2, 3]
