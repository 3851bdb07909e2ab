"""Where reads of the outbox begin: behind what has gone, and before all that may come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from shared.database import Conn, Database
from shared.events import Event
from shared.messaging import outbox, outbox_reading
from shared.messaging.connection import Bus
from shared.messaging.outbox_floor import RAISED_EVERY_S, WHOLE_EVERY_S, Floor
from tests.kit.eventually import eventually
from tests.service.shelf.relaying import relaying, unsent

STEPS = 3
"""From an id that is chosen to the floor."""


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Reading:
    """A relay's session with its floor."""

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.clock = Clock()
        self.floor = Floor(self.clock)

    async def found(self) -> list[int]:
        """The ids of what a read finds now."""
        rows, _ = await outbox_reading.read(self.conn, floor=self.floor)
        return [row["id"] for row in rows]

    async def raised(self) -> int:
        """The floor after all steps that it can take now, without a read of everything."""
        begins = []
        for _ in range(STEPS):
            self.clock.now_s += RAISED_EVERY_S
            begins.append(await self.floor.raised(self.conn))
        return max(begins)


@pytest.fixture
async def reading(db: Database) -> Reading:
    return Reading(await db.connect(**outbox_reading.SESSION))


async def stage(conn: Conn, *names: str) -> list[int]:
    """The ids of one event for each name."""
    for name in names:
        data: dict[str, Any] = {"version": 1}
        await outbox.stage(conn, Event("t", "/test", "ws-1", name, data))
    rows = await conn.fetch(
        "SELECT id FROM outbox WHERE subject = ANY($1::text[]) ORDER BY id", names
    )
    return [row["id"] for row in rows]


async def staged(db: Database, *names: str) -> list[int]:
    async with db.transaction() as conn:
        return await stage(conn, *names)


async def test_it_rises_to_the_last_of_what_has_gone(db: Database, reading: Reading):
    ids = await staged(db, "a", "b", "c")
    assert await reading.found() == ids
    await outbox_reading.delete(reading.conn, ids)
    assert await reading.raised() == ids[-1]
    [later] = await staged(db, "d")
    assert await reading.found() == [later]
    await reading.conn.close()


async def test_it_stays_before_what_is_left(db: Database, reading: Reading):
    ids = await staged(db, "a", "b", "c")
    await outbox_reading.delete(reading.conn, [ids[0], ids[2]])
    assert await reading.raised() < ids[1]
    assert await reading.found() == [ids[1]]
    await outbox_reading.delete(reading.conn, [ids[1]])
    assert await reading.raised() == ids[2]
    await reading.conn.close()


@pytest.mark.parametrize("steps_before", range(STEPS))
async def test_it_stays_before_the_id_of_a_transaction_that_runs(
    db: Database, reading: Reading, steps_before: int
):
    # Whenever the transaction begins: what it has drawn is found when it commits.
    first = await staged(db, "first")
    await outbox_reading.delete(reading.conn, first)
    for _ in range(steps_before):
        reading.clock.now_s += RAISED_EVERY_S
        await reading.floor.raised(reading.conn)
    async with db.transaction() as slow:
        drawn = await stage(slow, "slow")
        later = await staged(db, "later")
        assert await reading.found() == later
        await outbox_reading.delete(reading.conn, later)
        assert await reading.raised() < drawn[0]
        assert await reading.raised() < drawn[0]
    assert await reading.found() == drawn
    await outbox_reading.delete(reading.conn, drawn)
    await reading.raised()
    assert await reading.raised() == later[0]
    await reading.conn.close()


async def test_what_comes_below_it_all_the_same_is_found_when_everything_is_read(
    db: Database, reading: Reading
):
    # As on Citus, or from a transaction that had an id and no number for a second.
    ids = await staged(db, "a", "b")
    await outbox_reading.delete(reading.conn, ids)
    assert await reading.raised() == ids[-1]
    await db.execute(
        """INSERT INTO outbox (id, workspace_id, type, subject, event_id, document)
           OVERRIDING SYSTEM VALUE VALUES ($1, 'ws-1', 't', 'late', 'evt-late', '{}')""",
        ids[0],
    )
    assert await reading.found() == []
    reading.clock.now_s += WHOLE_EVERY_S
    assert await reading.found() == [ids[0]]
    # More may be there: the floor is not known any more.
    assert await reading.found() == [ids[0]]
    await outbox_reading.delete(reading.conn, [ids[0]])
    assert await reading.raised() == ids[-1]
    await reading.conn.close()


async def test_where_citus_is_everything_is_read(db: Database, reading: Reading):
    ids = await staged(db, "a")
    await outbox_reading.delete(reading.conn, ids)
    # PostgreSQL looks for the names of tables among temporary ones first.
    await reading.conn.execute("CREATE TEMP TABLE pg_extension AS SELECT 'citus'::name AS extname")
    assert await reading.raised() == 0
    await reading.conn.close()


async def test_a_read_passes_little_of_what_an_old_snapshot_keeps(db: Database, reading: Reading):
    old = await db.connect()
    await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await old.fetchval("SELECT count(*) FROM outbox")
    gone = 20_000
    await db.execute(
        """INSERT INTO outbox (workspace_id, type, subject, event_id, document)
           SELECT 'ws-1', 't', 'ent-' || n, 'evt-' || n, '{}' FROM generate_series(1, $1) AS n""",
        gone,
    )
    await db.execute("DELETE FROM outbox")
    before = await pages_of_a_read(reading)
    await reading.raised()
    assert await pages_of_a_read(reading) <= before / 20
    assert await unsent(db) == 0
    await old.execute("ROLLBACK")
    await old.close()
    await reading.conn.close()


@pytest.mark.parametrize("watermark", [None, "test.watermark"])
async def test_a_relay_that_tells_that_nothing_is_left_looks_at_everything(
    db: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch, watermark: str | None
):
    floors: list[Floor | None] = []
    read = outbox_reading.read

    async def noted(conn: Conn, publishable: str, floor: Floor | None = None) -> Any:
        floors.append(floor)
        return await read(conn, publishable, floor)

    monkeypatch.setattr(outbox_reading, "read", noted)
    async with relaying(db, bus, watermark=watermark):
        await eventually(lambda: len(floors) > 1)
    [floor] = set(floors)
    assert (floor is None) is (watermark is not None)


async def pages_of_a_read(reading: Reading) -> int:
    """How many pages PostgreSQL looks at for one read of the outbox."""
    explained = _Explained(reading.conn)
    await outbox_reading.read(cast(Conn, explained), floor=reading.floor)
    return explained.pages


class _Explained:
    """A session that tells what its reads of the outbox look at."""

    def __init__(self, conn: Conn) -> None:
        self._conn = conn
        self.pages = 0

    async def fetch(self, query: str, *arguments: Any) -> Sequence[Any]:
        told = await self._conn.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments
        )
        plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
        self.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return await self._conn.fetch(query, *arguments)
