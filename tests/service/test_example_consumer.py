"""The example of docs/how-to, as somebody would run it: killed, sent things twice, sent rubbish."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from shared import events
from shared.database import Database
from shared.events import Event
from shared.messaging.connection import Bus
from shared.messaging.publishing import Publisher
from shared.messaging.topology import Queue
from tests.kit.eventually import eventually
from tests.kit.wire import Wire

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "example_consumer.py"
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


@asynccontextmanager
async def following(amqp_url: str, database_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        env={**os.environ, "SIGMA_AMQP_URL": amqp_url, "FOLLOWER_DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"following\n"
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


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
    moved = news(events.ENTITY_TRANSITION, "ent-1", 2, "review")
    async with following(amqp_url, database_url):
        await tell(
            bus,
            news(events.ENTITY_CREATED, "ent-1", 1),
            moved,
            moved,
            news(events.ENTITY_DELETED, "ent-2", 3),
            news(events.ENTITY_UPDATED, "ent-2", 2),
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
    told = [news(events.ENTITY_CREATED, f"ent-{n}", 1) for n in range(300)]
    await tell(bus, *told)
    for reached in (40, 120):
        async with following(amqp_url, database_url) as process:
            await eventually(lambda: _at_least(changes(follower_db), reached))  # noqa: B023
            process.send_signal(signal.SIGKILL)
            await process.wait()
    await tell(bus, *told[:50])
    async with following(amqp_url, database_url):
        await eventually(lambda: _is(changes(follower_db), 300), within_s=20)
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
            await publisher.publish(events.ENTITY_CREATED, f"rubbish-{number}", body)
        await tell(bus, news(events.ENTITY_CREATED, "ent-1", 1))
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
            await tell(bus, *(news(events.ENTITY_CREATED, f"{number}-{n}", 1) for n in range(20)))
            wire.mend()
            owed = 20 * (number + 1)
            await eventually(lambda: _is(changes(follower_db), owed), within_s=20)  # noqa: B023
    assert await waiting(bus, QUEUE.dead) == 0


async def _is(asked, expected: object) -> bool:
    try:
        return await asked == expected
    except asyncpg.UndefinedTableError:
        return False


async def _at_least(asked, expected: int) -> bool:
    return await asked >= expected
