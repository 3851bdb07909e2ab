"""The example of docs/how-to, as somebody would run it: killed, sent things twice, sent rubbish."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from records_service.app import create_app
from records_service.config import Config
from shared.database import Database
from shared.events import Event, EventType
from shared.messaging.connection import Bus
from shared.messaging.publishing import Publisher
from shared.messaging.topology import Queue
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.service import Services
from tests.kit.wire import Wire

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "example_consumer.py"
QUEUE = Queue("example_follower", ("entity.*",))


@pytest.fixture
async def bus(amqp_url: str) -> AsyncIterator[Bus]:
    """For the test's own messages; the queues of the example are gone after the test."""
    opened = Bus(amqp_url, "test", [])
    opened.start()
    yield opened
    async with (await opened.connection()).channel() as channel:
        await channel.queue_delete(QUEUE.name)
        await channel.queue_delete(QUEUE.dead)
    await opened.stop()


@pytest.fixture
async def follower_db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
async def follower_pool(database_url: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        yield pool


@asynccontextmanager
async def following(amqp_url: str, database_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        env={**os.environ, "SIGMA_AMQP_URL": amqp_url, "FOLLOWER_DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert await said_until_following(process) == []
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def said_until_following(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    said = []
    async with asyncio.timeout(60):
        while (line := (await process.stdout.readline()).decode().strip()) != "following":
            assert line or not process.stdout.at_eof()
            said.append(line)
    return said


async def tell(bus: Bus, *told: Event) -> None:
    publisher = await Publisher.open(await bus.connection())
    for event in told:
        assert await publisher.publish(event.type, event.id, event.to_json())
    await publisher.close()


def news(kind: str, record: str, version: int, state: str | None = "draft") -> Event:
    data = {"entityId": record, "version": version, "lifecycleStateId": state, "changes": []}
    return Event(kind, "/records_service", "ws-1", record, data)


async def changes(db: Database) -> int:
    return int(await db.fetchval("SELECT coalesce(sum(changes), 0) FROM activity"))


async def waiting(bus: Bus, name: str) -> int | None:
    async with (await bus.connection()).channel() as channel:
        declared = await channel.declare_queue(name, passive=True)
        return declared.declaration_result.message_count


async def test_it_follows_and_the_newest_news_wins(
    amqp_url: str, database_url: str, bus: Bus, follower_db: Database
):
    moved = news(EventType.ENTITY_TRANSITION, "ent-1", 2, "review")
    async with following(amqp_url, database_url):
        await tell(
            bus,
            news(EventType.ENTITY_CREATED, "ent-1", 1),
            moved,
            moved,
            news(EventType.ENTITY_DELETED, "ent-2", 3),
            news(EventType.ENTITY_UPDATED, "ent-2", 2),
        )
        await eventually(lambda: _is(changes(follower_db), 4))
    rows = await follower_db.fetch(
        """SELECT record_id, version, state_id, deleted
             FROM followed_records ORDER BY record_id"""
    )
    assert [tuple(row) for row in rows] == [
        ("ent-1", 2, "review", False),
        ("ent-2", 3, "draft", True),
    ]


async def test_killed_in_the_middle_it_loses_none_and_counts_none_twice(
    amqp_url: str, database_url: str, bus: Bus, follower_db: Database
):
    async with following(amqp_url, database_url):
        pass  # It has made its queue: from now on nothing is missed.
    told = [news(EventType.ENTITY_CREATED, f"ent-{n}", 1) for n in range(300)]
    await tell(bus, *told)
    for reached in (40, 120):
        async with following(amqp_url, database_url) as process:
            await eventually(lambda: _at_least(changes(follower_db), reached))  # noqa: B023
            process.send_signal(signal.SIGKILL)
            await process.wait()
    await tell(bus, *told[:50])
    async with following(amqp_url, database_url):
        await eventually(lambda: _is(changes(follower_db), 300), within_s=60)
        await eventually(lambda: _is(waiting(bus, QUEUE.name), 0))
    assert await changes(follower_db) == 300
    assert await follower_db.fetchval("SELECT count(*) FROM followed_records") == 300
    assert await waiting(bus, QUEUE.dead) == 0


async def test_rubbish_goes_aside_and_the_rest_goes_on(
    amqp_url: str, database_url: str, bus: Bus, follower_db: Database
):
    async with following(amqp_url, database_url):
        publisher = await Publisher.open(await bus.connection())
        for number, body in enumerate([b"\xff", b"[]", b"{}", b'{"id": "x"}']):
            await publisher.publish(EventType.ENTITY_CREATED, f"rubbish-{number}", body)
        await tell(bus, news(EventType.ENTITY_CREATED, "ent-1", 1))
        await eventually(lambda: _is(changes(follower_db), 1))
        await eventually(lambda: _is(waiting(bus, QUEUE.dead), 4))


async def test_a_broker_and_a_database_that_go_away_cost_nothing(
    amqp_url: str, database_url: str, bus: Bus, follower_db: Database
):
    async with (
        Wire(amqp_url) as broker,
        Wire(database_url) as postgres,
        following(broker.url, postgres.url),
    ):
        for number, wire in enumerate((broker, postgres)):
            wire.cut()
            await tell(
                bus, *(news(EventType.ENTITY_CREATED, f"{number}-{n}", 1) for n in range(20))
            )
            wire.mend()
            owed = 20 * (number + 1)
            await eventually(lambda: _is(changes(follower_db), owed), within_s=60)  # noqa: B023
    assert await waiting(bus, QUEUE.dead) == 0


async def test_a_broker_that_falls_silent_is_left(
    amqp_url: str, database_url: str, bus: Bus, follower_db: Database
):
    """Its connections stay open, as those of a machine that has lost its network."""
    async with (
        Wire(amqp_url) as silent,
        following(f"{silent.url} {amqp_url}", database_url) as process,
    ):
        silent.hold()
        said = await said_until_following(process)
        assert any("No frames were received in 5 seconds" in line for line in said), said
        await tell(bus, news(EventType.ENTITY_CREATED, "ent-1", 1))
        await eventually(lambda: _is(changes(follower_db), 1))


async def test_a_broker_that_goes_away_before_the_acknowledgement_costs_nothing(
    amqp_url: str, database_url: str, bus: Bus, follower_db: Database
):
    async with Wire(amqp_url) as broker, following(broker.url, database_url):
        await tell(bus, news(EventType.ENTITY_CREATED, "ent-1", 1))
        await eventually(lambda: _is(changes(follower_db), 1))
        async with follower_db.transaction() as conn:
            await conn.fetch("SELECT changes FROM activity FOR UPDATE")
            await tell(bus, news(EventType.ENTITY_CREATED, "ent-2", 1))
            await eventually(lambda: _is(waits_for_a_lock(follower_db), 1))
            broker.cut()
        await eventually(lambda: _is(changes(follower_db), 2))
        broker.mend()
        await tell(bus, news(EventType.ENTITY_CREATED, "ent-3", 1))
        await eventually(lambda: _is(changes(follower_db), 3), within_s=60)


async def waits_for_a_lock(db: Database) -> int:
    return int(
        await db.fetchval(
            """SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        )
    )


def example() -> Any:
    spec = importlib.util.spec_from_file_location("example_consumer", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("deleted", [[0, 1], [4, 3], [0, 4, 8], [8, 7, 6], list(range(9))])
async def test_existing_records_are_read_whole_while_others_are_deleted_and_made(
    services: Services, follower_pool: Any, deleted: list[int]
):
    """A deletion after each page that is read, and one new record; its events come at the end."""
    service = await services.start(create_app, Config)
    admin = service.as_(identities.admin())
    (await admin.post("/attributes", {"alias": "sku", "name": "Sku", "type": "text"})).ok()
    schema = {"id": "schema-x", "alias": "x", "name": "X", "variantEnabled": False}
    (await admin.post("/schemas", {**schema, "attributeGroups": []})).ok()
    for number in range(9):
        (await admin.post("/records", {"id": f"ent-{number}", "schemaId": "schema-x"})).ok()
    before = len(await service.staged())
    await follower_pool.execute(example().TABLES)
    leaving = iter([f"ent-{number}" for number in deleted])

    async def page_of(cursor: str | None, limit: int) -> Any:
        place = "" if cursor is None else f"&cursor={cursor}"
        page = (await admin.get(f"/records?limit={limit}{place}")).ok()
        leaves = next(leaving, None)
        if leaves is not None:
            assert (await admin.delete(f"/records/{leaves}")).status == 204
        if (await admin.get("/records/ent-new")).status == 404:
            (await admin.post("/records", {"id": "ent-new", "schemaId": "schema-x"})).ok()
        # What an event says is stored at once for every other page, and at the end for the rest.
        if page["offset"] % 4:
            await follow((await service.staged())[before:])
        return page

    async def follow(events_: list[Event]) -> None:
        for event in events_:
            await example().follow(follower_pool, json.loads(event.to_json()))

    await example().read_existing(follower_pool, "ws-test", page_of, size=2)
    await follow((await service.staged())[before:])
    rows = await follower_pool.fetch("SELECT record_id, deleted FROM followed_records")
    there = {row["record_id"] for row in rows if not row["deleted"]}
    listed = (await admin.get("/records")).ok()["items"]
    assert there == {item["id"] for item in listed}
    assert "ent-new" in there


async def test_a_part_that_is_too_large_for_an_answer_is_asked_for_in_halves(
    follower_pool: Any,
):
    await follower_pool.execute(example().TABLES)
    asked = []

    async def page_of(cursor: str | None, limit: int) -> Any:
        asked.append((cursor, limit))
        if limit > 2:
            return None
        first = int(cursor or 0)
        numbers = range(first, min(first + limit, 5))
        items = [{"id": f"ent-{number}", "lifecycleStateId": None} for number in numbers]
        return {"items": items, "nextCursor": str(first + limit) if first + limit < 5 else None}

    await example().read_existing(follower_pool, "ws-test", page_of, size=4)
    assert asked == [(None, 4), (None, 2), ("2", 2), ("4", 2)]
    assert await follower_pool.fetchval("SELECT count(*) FROM followed_records") == 5


async def _is(asked, expected: object) -> bool:
    try:
        return await asked == expected
    except asyncpg.UndefinedTableError:
        return False


async def _at_least(asked, expected: int) -> bool:
    return await asked >= expected
