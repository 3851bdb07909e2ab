"""A relay and a consumer for tests of the outbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from shared.database import Conn, Database
from shared.events import Event
from shared.messaging.connection import Bus
from shared.messaging.consuming import Consumer
from shared.messaging.relay import Relay
from shared.messaging.topology import Queue


def news(queue: Queue, subject: str = "ent-1", version: int = 1, **data: object) -> Event:
    return Event(f"{queue.name}.made", "/test", "ws-1", subject, {"version": version, **data})


@asynccontextmanager
async def relaying(db: Database, bus: Bus, **options: Any) -> AsyncIterator[Relay]:
    relay = Relay(db, bus, "/test", **options)
    relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


class Effects(list[Event]):
    """Events in the order in which a consumer's effects were committed, one effect each."""

    def of(self, subject: str) -> list[int]:
        return [event.version for event in self if event.subject == subject]


@asynccontextmanager
async def consuming(db: Database, bus: Bus, queue: Queue) -> AsyncIterator[Effects]:
    seen = Effects()

    async def handle(conn: Conn, event: Event) -> None:
        await conn.execute(
            "INSERT INTO effects (subject, version) VALUES ($1, $2)", event.subject, event.version
        )
        seen.append(event)

    consumer = Consumer(db, bus, queue, handle)
    consumer.start()
    try:
        yield seen
    finally:
        await consumer.stop()


async def unsent(db: Database) -> int:
    return int(await db.fetchval("SELECT count(*) FROM outbox"))


async def _is(asked: Awaitable[object], expected: object) -> bool:
    return await asked == expected
