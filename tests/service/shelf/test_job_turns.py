"""How many slices a turn of a background job has: one while another job waits, else many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shared.database import Conn, Database
from shared.events import Event
from shared.messaging import job_turns, jobs
from shared.messaging.connection import Bus
from shared.messaging.topology import Queue
from tests.kit.eventually import eventually
from tests.service.shelf.consuming import come_true, consuming, publish, subjects

SOURCE, KIND = "/test", "count"


@pytest.fixture
async def db(db: Database) -> Database:
    """With jobs."""
    await db.execute(jobs.SCHEMA)
    return db


@pytest.fixture
def queue_of_jobs() -> Queue:
    return Queue("test-jobs", ("test.job",))


class Work:
    """What jobs have to do: so many effects of each workspace, one a slice."""

    def __init__(self, db: Database, slices: int) -> None:
        self.db = db
        self.slices = slices
        self.fails_at: int | None = None
        self.after_each: Callable[[int], Any] = lambda _: None

    async def run(self, conn: Conn, workspace_id: str, _key: str) -> bool:
        done = await conn.fetchval("SELECT count(*) FROM effects WHERE subject = $1", workspace_id)
        if done == self.fails_at:
            self.fails_at = None
            raise ZeroDivisionError
        await conn.execute("INSERT INTO effects VALUES (DEFAULT, $1, $2)", workspace_id, done)
        await asyncio.sleep(0)
        self.after_each(done)
        return bool(done + 1 < self.slices)

    async def request(self, event_type: str, *workspaces: str) -> list[Event]:
        """Request the job of each, and take what is staged."""
        for workspace in workspaces:
            async with self.db.transaction() as conn:
                await jobs.request(conn, event_type, SOURCE, workspace, KIND)
        return await self.staged()

    async def staged(self) -> list[Event]:
        rows = await self.db.fetch("DELETE FROM outbox RETURNING id, document::text AS document")
        found = sorted((row["id"], row["document"].encode()) for row in rows)
        return [Event.from_json(document) for _, document in found]

    def turns(self, queue: Queue, nobody_waits: Callable[[], bool] = lambda: True) -> Any:
        take = jobs.slices(queue.bindings[0], SOURCE, {KIND: self.run})
        return job_turns.turns(queue, take, nobody_waits)

    async def effects(self) -> list[int]:
        rows = await self.db.fetch("SELECT version FROM effects ORDER BY id")
        return [row["version"] for row in rows]


async def test_a_job_that_nobody_waits_for_has_all_its_slices_in_one_turn(
    db: Database, queue_of_jobs: Queue
):
    work = Work(db, slices=5)
    (one,) = await work.request("test.job", "ws-1")
    await work.turns(queue_of_jobs)(db, one)
    assert await work.effects() == [0, 1, 2, 3, 4]
    assert await work.staged() == []
    assert await db.fetchval("SELECT count(*) FROM jobs") == 0
    await work.turns(queue_of_jobs)(db, one)
    assert await work.effects() == [0, 1, 2, 3, 4]


async def test_a_turn_ends_when_somebody_waits(db: Database, queue_of_jobs: Queue):
    work = Work(db, slices=5)
    (one,) = await work.request("test.job", "ws-1")
    waits = False

    def after_each(number: int) -> None:
        nonlocal waits
        waits = number == 1

    work.after_each = after_each
    take_turn = work.turns(queue_of_jobs, lambda: not waits)
    await take_turn(db, one)
    assert await work.effects() == [0, 1]
    (two,) = await work.staged()
    await take_turn(db, one)
    assert await work.effects() == [0, 1]
    await take_turn(db, two)
    assert await work.effects() == [0, 1, 2, 3, 4]


async def test_a_turn_ends_after_its_time(
    db: Database, queue_of_jobs: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jobs, "TURN_S", 0)
    work = Work(db, slices=3)
    (one,) = await work.request("test.job", "ws-1")
    await work.turns(queue_of_jobs)(db, one)
    assert await work.effects() == [0]
    assert len(await work.staged()) == 1


async def test_a_turn_that_is_cut_off_goes_on_with_the_next_delivery(
    db: Database, queue_of_jobs: Queue
):
    work = Work(db, slices=5)
    work.fails_at = 3
    (one,) = await work.request("test.job", "ws-1")
    with pytest.raises(ZeroDivisionError):
        await work.turns(queue_of_jobs)(db, one)
    assert await work.effects() == [0, 1, 2]
    assert await work.staged() == []
    await work.turns(queue_of_jobs)(db, one)
    assert await work.effects() == [0, 1, 2, 3, 4]


async def test_deliveries_at_once_have_one_slice_at_a_time(
    db: Database, queue_of_jobs: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jobs, "TURN_S", 3_600)
    work = Work(db, slices=20)
    (one,) = await work.request("test.job", "ws-1")
    take_turn = work.turns(queue_of_jobs)
    await asyncio.gather(*(take_turn(db, one) for _ in range(5)))
    assert await work.effects() == list(range(20))
    assert await work.staged() == []


async def test_a_message_that_waits_in_the_broker_ends_the_turn(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    """More jobs than this process takes at a time: one of them has no end."""
    monkeypatch.setattr(jobs, "TURN_S", 3_600)
    endless = 1_000_000
    event_type = f"{queue.name}.made"
    work = Work(db, slices=endless)

    async def run(conn: Conn, workspace_id: str, key: str) -> bool:
        return await work.run(conn, workspace_id, key) and workspace_id == "ws-endless"

    take = jobs.slices(event_type, SOURCE, {KIND: run})
    take_turn = job_turns.turns(queue, take, lambda: consumer.nobody_waits)
    first = await work.request(event_type, "ws-endless")
    async with consuming(
        db, bus, queue, None, first=take_turn, prefetch=job_turns.PREFETCH, workers=1
    ) as consumer:
        await publish(bus, *first)
        await eventually(lambda: _has(db, "ws-endless", 5))
        assert await work.staged() == []
        for others in (["ws-1"], [f"ws-{n}" for n in range(2, 8)]):
            done = len(await subjects(db))
            await publish(bus, *await work.request(event_type, *others))
            await come_true(lambda: _of_others(db), int(others[-1].removeprefix("ws-")))
            (again,) = await work.staged()
            assert again.workspace_id == "ws-endless"
            await publish(bus, again)
            await eventually(lambda: _has(db, "ws-endless", done))  # noqa: B023
    # A consumer that stops does not wait for the end of the turn, but for that of a slice.
    (again,) = await work.staged()
    assert again.workspace_id == "ws-endless"


async def _has(db: Database, subject: str, more_than: int) -> bool:
    return (await subjects(db)).count(subject) > more_than


async def _of_others(db: Database) -> int:
    return len([each for each in await subjects(db) if each != "ws-endless"])
