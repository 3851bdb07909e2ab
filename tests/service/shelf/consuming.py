"""Consumers for tests of the bus, and what they have handled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from shared.database import Conn, Database
from shared.events import Event
from shared.messaging.connection import (
    Bus,
)
from shared.messaging.consuming import CONSUMED, Consumer
from shared.messaging.publishing import Publisher
from shared.messaging.topology import Queue
from tests.kit.eventually import eventually

Handle = Callable[[Conn, Event], Awaitable[None]]


def news(queue: Queue, subject: str = "ent-1", version: int = 1) -> Event:
    return Event(f"{queue.name}.made", "/test", "ws-1", subject, {"version": version})


async def publish(bus: Bus, *events: Event) -> None:
    publisher = await Publisher.open(await bus.connection())
    for event in events:
        assert await publisher.publish(event.type, event.id, event.to_json())
    await publisher.close()


@asynccontextmanager
async def consuming(
    db: Database, bus: Bus, queue: Queue, handle: Handle, **options: Any
) -> AsyncIterator[Consumer]:
    consumer = Consumer(db, bus, queue, handle, **options)
    consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def record(conn: Conn, event: Event) -> None:
    """The simplest effect: a row."""
    await conn.execute(
        "INSERT INTO effects (subject, version) VALUES ($1, $2)", event.subject, event.version
    )


async def subjects(db: Database) -> list[str]:
    return [row["subject"] for row in await db.fetch("SELECT subject FROM effects ORDER BY id")]


async def waiting(bus: Bus, name: str) -> int | None:
    async with (await bus.connection()).channel() as channel:
        declared = await channel.declare_queue(name, passive=True)
        return declared.declaration_result.message_count


async def come_true(check: Callable[[], Awaitable[object]], expected: object) -> None:
    async def asked() -> bool:
        assert await check() == expected
        return True

    await eventually(asked, within_s=60)


def outcome(queue: Queue, name: str) -> float:
    return float(CONSUMED.labels(queue.name, name)._value.get())


async def _count(db: Database) -> int:
    return int(await db.fetchval("SELECT count(*) FROM effects"))
