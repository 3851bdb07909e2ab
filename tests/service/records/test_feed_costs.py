"""What it costs to place events and to publish them, with the plans of an outbox that was empty."""

from __future__ import annotations

from typing import Any, cast

import pytest

from records_service.app import create_app
from records_service.config import Config
from records_service.feed import store
from shared.database import Conn, Database
from shared.events import Event
from shared.messaging import outbox, outbox_reading
from shared.messaging.outbox_floor import last_drawn
from tests.kit.service import Services
from tests.service.records.costed import Kept

EVENTS = 3_000
PLACED = store.PLACED_AT_ONCE
LOOKS = 20
"""How often a row may be looked at: each part of the statement that hands it on counts."""


@pytest.fixture
async def db(services: Services) -> Database:
    """Of a service that places nothing by itself."""
    return (await services.start(create_app, Config)).database


async def stage(conn: Conn, first: int, events: int) -> None:
    for number in range(first, first + events):
        data: dict[str, Any] = {"entityId": f"ent-{number}", "version": 1, "changes": []}
        news = Event("entity.updated", "/records_service", "ws-1", f"ent-{number}", data)
        await outbox.stage(conn, news)


async def ids(conn: Conn) -> list[int]:
    rows = await conn.fetch("SELECT id FROM outbox ORDER BY id")
    return [row["id"] for row in rows]


async def empty(conn: Conn) -> None:
    """Make the planner expect nothing of the outbox and the feed."""
    await stage(conn, 0, 500)
    await store.place(conn, after=0, gaps=[], swept_until=0)
    for table in ("outbox", "feed"):
        await conn.execute(f"DELETE FROM {table}")
        await conn.execute(f"VACUUM ANALYZE {table}")


@pytest.mark.parametrize("which", ["after", "gaps", "swept"])
async def test_a_plan_from_an_empty_outbox_looks_at_each_row_a_few_times(db: Database, which: str):
    conn = await db.connect(**store.SESSION)
    await empty(conn)
    kept = Kept(conn)
    placing = cast(Conn, kept)
    await store.place(placing, after=1_000_000, gaps=[], swept_until=0)
    last = await last_drawn(conn)

    await stage(conn, 500, EVENTS)
    kept.rows = 0
    all_ids = await ids(conn)
    if which == "after":
        await store.place(placing, after=last, gaps=[], swept_until=0)
    elif which == "gaps":
        await store.place(placing, after=all_ids[-1], gaps=all_ids[::3], swept_until=0)
    else:
        await store.place(placing, after=2**62, gaps=[], swept_until=all_ids[-1])

    placed = await db.fetchval("SELECT count(*) FROM feed")
    assert placed == PLACED
    assert kept.rows <= LOOKS * PLACED
    await conn.close()


async def test_the_relay_keeps_such_plans_too(db: Database):
    conn = await db.connect(**outbox_reading.SESSION)
    await empty(conn)
    kept = Kept(conn)
    relaying = cast(Conn, kept)
    await outbox_reading.read(relaying, store.PUBLISHABLE)
    await outbox_reading.delete(relaying, [])

    last = await last_drawn(conn)
    await stage(conn, 500, EVENTS)
    await store.place(conn, after=last, gaps=[], swept_until=0)
    await store.place(conn, after=last + PLACED, gaps=[], swept_until=0)
    kept.rows = 0
    rows, more = await outbox_reading.read(relaying, store.PUBLISHABLE)
    await outbox_reading.delete(relaying, [row["id"] for row in rows])

    assert (len(rows), more) == (outbox_reading.BATCH_SIZE, True)
    assert kept.rows <= LOOKS * len(rows)
    await conn.close()
