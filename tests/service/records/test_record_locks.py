"""Who waits for whom: no write holds what others need while it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from records_service.app import create_app
from records_service.attributes.unique_keys import UniqueKey
from records_service.config import Config
from records_service.model_objects.commands import take_lock
from records_service.records import commands
from records_service.writes import attempts, create_batching, store
from shared.database import Database
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, Caller, error

TAKEN = error(409, "CONFLICT", "Value 'A' for attribute 'sku' must be unique")


@pytest.fixture
async def service(services: Services) -> RunningService:
    return await services.start(create_app, Config, database_connections_max=3)


@pytest.fixture
async def admin(service: RunningService) -> Caller:
    workspace = RecordsWorkspace(service, service, "ws-test")
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.schema("x", ["sku"])
    for record_id, value in (("ent-a", "A"), ("ent-b", "B"), ("ent-c", "C")):
        await workspace.record("schema-x", {"sku": value}, id=record_id)
    return workspace.admin


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
    assert (await set_sku(admin.at(single.url), "ent-b", "A")).outcome == TAKEN


async def test_claims_are_compared_without_comparing_each_with_each(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    def compared(*_: object) -> bool:
        raise AssertionError("one unique key was compared with another")

    monkeypatch.setattr(UniqueKey, "__eq__", compared)
    assert (await set_sku(admin, "ent-b", "A")).outcome == TAKEN
    assert (await set_sku(admin, "ent-b", "D")).status == 200
    assert (await set_sku(admin, "ent-a", "B")).status == 200


async def test_writes_that_wait_for_the_model_leave_connections_to_others(
    admin: Caller, service: RunningService, services: Services, beside: Database
):
    larger = await services.start(
        create_app,
        Config,
        database_connections_max=5,
        database_url=service.config.database_url,
        wait_seconds=30,
    )
    admin = admin.at(larger.url)
    async with beside.transaction() as conn:
        await take_lock(conn, "ws-test")
        # Of different records: changes of one do not even wait for a place among the writers.
        writes = [set_sku(admin, f"ent-{'abc'[n % 3]}", f"A{n}") for n in range(6)]
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
    for module in (create_batching, commands):
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
    assert (await made).outcome == error(409, "CONFLICT", "Entity with id 'ent-c' already exists")
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


async def waiting_for_turns(service: RunningService, thing: object, number: int) -> None:
    """Until so many changes wait for their turn with one record."""

    def wait() -> bool:
        places = service.app[attempts.RECORD_SLOTS]._wanted.get(thing)
        return places is not None and len(places._line) == number

    assert await eventually(wait)


async def test_a_record_is_read_when_the_turn_has_come_and_not_before(
    admin: Caller,
    services: Services,
    service: RunningService,
    beside: Database,
    monkeypatch: pytest.MonkeyPatch,
):
    """What was read before the turn is old by then, and its write would be in vain."""
    service = await services.start(
        create_app, Config, database_url=service.config.database_url, wait_seconds=30
    )
    admin = admin.at(service.url)
    read: list[str] = []
    written: list[int] = []
    load_record, update = commands.load_record, store.update

    async def loaded(context: Any, record_id: str) -> Any:
        read.append(record_id)
        return await load_record(context, record_id)

    async def updated(conn: Any, record: Any, *more: Any, **named: Any) -> None:
        written.append(record.version)
        await update(conn, record, *more, **named)

    monkeypatch.setattr(commands, "load_record", loaded)
    monkeypatch.setattr(store, "update", updated)
    workspace_id = "ws-test"
    async with beside.transaction() as holder:
        await holder.execute("SELECT FROM records WHERE id = 'ent-a' FOR UPDATE")
        first = set_sku(admin, "ent-a", "A0")
        await waiting_for_locks(beside, 1)
        others = [set_sku(admin, "ent-a", f"A{number}") for number in range(1, 4)]
        await waiting_for_turns(service, (workspace_id, "ent-a"), 3)
        deletion = asyncio.create_task(admin.delete("/records/ent-a"))
        await waiting_for_turns(service, (workspace_id, "ent-a"), 4)
        assert read == ["ent-a"]
        # Whoever wants another record does not stand behind them.
        assert (await set_sku(admin, "ent-b", "B0")).status == 200
    answers = await asyncio.gather(first, *others)
    assert [answer.status for answer in answers] == [200] * 4
    assert (await deletion).status in (200, 204)
    # Five statements for five changes: none was in vain.
    assert sorted(written) == [2, 2, 3, 4, 5]


async def test_a_change_whose_turn_does_not_come_is_refused_and_not_made(
    services: Services, service: RunningService, admin: Caller, beside: Database
):
    hasty = await services.start(
        create_app,
        Config,
        database_url=service.config.database_url,
        wait_seconds=0.2,
    )
    caller = admin.at(hasty.url)
    async with beside.transaction() as holder:
        await holder.execute("SELECT FROM records WHERE id = 'ent-a' FOR UPDATE")
        first = set_sku(caller, "ent-a", "A0")
        await waiting_for_locks(beside, 1)
        refused = await set_sku(caller, "ent-a", "A1")
        assert refused.outcome == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
    assert (await first).status == 200
    shown = (await caller.get("/records/ent-a")).ok()
    assert shown["values"]["sku"] == [{"scope": {}, "value": "A0"}]


async def test_creates_whose_statement_does_not_come_are_refused_and_not_made(
    services: Services, service: RunningService, admin: Caller, beside: Database
):
    hasty = await services.start(
        create_app,
        Config,
        database_url=service.config.database_url,
        wait_seconds=0.2,
    )
    caller = admin.at(hasty.url)
    stranger = hasty.as_(identities.admin("ws-other"))
    (await caller.get("/records/ent-a")).ok()

    def create(record_id: str) -> asyncio.Task[Answer]:
        body = {"id": record_id, "schemaId": "schema-x", "values": {}}
        return asyncio.create_task(caller.post("/records", body))

    async with beside.transaction() as holder:
        await take_lock(holder, "ws-test")
        first = create("ent-1")
        await waiting_for_locks(beside, 1)
        refused = await create("ent-2")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        body = {"id": "attr-x", "alias": "x", "name": "X", "type": "text"}
        assert (await stranger.post("/attributes", body)).status == 201
        await holder.execute("SELECT 1")
    assert (await first).status == 201
    assert (await caller.get("/records/ent-2")).status == 404
