"""Background jobs: who gets a turn, what a slice leaves behind, and what happens when one is lost.

Messages are taken from the outbox and delivered by the tests themselves, so that they can come
twice, late or never. With a broker: `test_job_turns.py`; with killed processes:
`records/test_killed_jobs.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import asyncpg
import pytest

from shared.database import Conn, Database
from shared.events import Event
from shared.messaging import jobs
from tests.kit.eventually import eventually

READY = "test.job"
SOURCE = "/test"
KIND = "count"


@pytest.fixture
async def db(db: Database) -> Database:
    """With jobs, and the work of the job `count`: numbers to be moved to `effects`, one a slice."""
    await db.execute(
        f"""{jobs.SCHEMA}
        CREATE TABLE numbers (workspace_id text, number int, PRIMARY KEY (workspace_id, number))"""
    )
    return db


async def count(conn: Conn, workspace_id: str, _key: str) -> bool:
    number = await conn.fetchval(
        """DELETE FROM numbers WHERE workspace_id = $1 AND number =
                  (SELECT min(number) FROM numbers WHERE workspace_id = $1)
           RETURNING number""",
        workspace_id,
    )
    if number is not None:
        await conn.execute("INSERT INTO effects VALUES (DEFAULT, $1, $2)", workspace_id, number)
    left: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM numbers WHERE workspace_id = $1)", workspace_id
    )
    return left


KINDS = {KIND: count}


async def give(conn: Conn, workspace_id: str, *numbers: int) -> None:
    """Work, and the request for it."""
    for number in numbers:
        await conn.execute("INSERT INTO numbers VALUES ($1, $2)", workspace_id, number)
    await jobs.request(conn, READY, SOURCE, workspace_id, KIND)


async def messages(db: Database) -> list[Event]:
    """Take what is staged."""
    rows = await db.fetch("DELETE FROM outbox RETURNING id, document::text AS document")
    return [
        Event.from_json(row["document"].encode()) for row in sorted(rows, key=lambda r: r["id"])
    ]


async def deliver(db: Database, event: Event) -> None:
    async with db.transaction() as conn:
        await jobs.slices(READY, SOURCE, KINDS)(conn, event, lambda: False)


async def run(db: Database) -> None:
    """Deliver in order until nothing is staged any more."""
    queue = await messages(db)
    while queue:
        await deliver(db, queue.pop(0))
        queue += await messages(db)


async def effects(db: Database) -> list[tuple[str, int]]:
    rows = await db.fetch("SELECT subject, version FROM effects ORDER BY id")
    return [(row["subject"], row["version"]) for row in rows]


async def open_jobs(db: Database) -> int:
    return int(await db.fetchval("SELECT count(*) FROM jobs"))


async def test_a_job_gets_turns_until_no_work_is_left(db: Database):
    async with db.transaction() as conn:
        await give(conn, "ws-1", 1, 2, 3)
    await run(db)
    assert await effects(db) == [("ws-1", 1), ("ws-1", 2), ("ws-1", 3)]
    assert await open_jobs(db) == 0


async def test_a_job_is_requested_in_the_transaction_of_its_work(db: Database):
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as conn:
            await give(conn, "ws-1", 1)
            raise ZeroDivisionError
    assert await open_jobs(db) == 0
    assert await messages(db) == []


async def test_jobs_alternate_however_much_work_one_has(db: Database):
    async with db.transaction() as conn:
        await give(conn, "ws-1", *range(50))
    async with db.transaction() as conn:
        await give(conn, "ws-2", 1, 2)
    await run(db)
    done = await effects(db)
    assert done[:4] == [("ws-1", 0), ("ws-2", 1), ("ws-1", 1), ("ws-2", 2)]
    assert len(done) == 52


async def test_requests_for_a_job_that_waits_are_one_job(db: Database):
    async with db.transaction() as conn:
        await give(conn, "ws-1", 1)
    async with db.transaction() as conn:
        await give(conn, "ws-1", 2)
    (one,) = await messages(db)
    await deliver(db, one)
    await run(db)
    assert await effects(db) == [("ws-1", 1), ("ws-1", 2)]


async def test_work_that_comes_during_the_last_slice_is_done(db: Database):
    async with db.transaction() as conn:
        await give(conn, "ws-1", 1)
    (one,) = await messages(db)
    looked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(conn: Conn, workspace_id: str, key: str) -> bool:
        more = await count(conn, workspace_id, key)
        looked.set()
        await go_on.wait()
        return more

    async def take_turn() -> None:
        async with db.transaction() as conn:
            await jobs.slices(READY, SOURCE, {KIND: slow})(conn, one, lambda: False)

    turn = asyncio.create_task(take_turn())
    await looked.wait()
    async with db.transaction() as conn:
        await give(conn, "ws-1", 2)
    go_on.set()
    await turn
    await run(db)
    assert await effects(db) == [("ws-1", 1), ("ws-1", 2)]
    assert await open_jobs(db) == 0


async def test_work_that_comes_while_the_job_ends_begins_another(db: Database):
    async with db.transaction() as conn:
        await give(conn, "ws-1", 1)
    (one,) = await messages(db)

    async def request() -> None:
        async with db.transaction() as conn:
            await give(conn, "ws-1", 2)

    async with db.transaction() as conn:
        await jobs.slices(READY, SOURCE, KINDS)(conn, one, lambda: False)
        requesting = asyncio.create_task(request())
        await eventually(lambda: _is(_waits_for_locks(db), 1))
    await requesting
    await run(db)
    assert await effects(db) == [("ws-1", 1), ("ws-1", 2)]


async def test_a_message_of_an_earlier_turn_has_no_effect(db: Database):
    async with db.transaction() as conn:
        await give(conn, "ws-1", 1, 2, 3)
    (one,) = await messages(db)
    await deliver(db, one)
    (two,) = await messages(db)
    await deliver(db, one)
    assert await messages(db) == []
    assert await effects(db) == [("ws-1", 1)]
    await deliver(db, two)
    assert await effects(db) == [("ws-1", 1), ("ws-1", 2)]


async def test_a_job_that_is_withdrawn_has_no_turn_until_it_is_requested_again(db: Database):
    async with db.transaction() as conn:
        await give(conn, "ws-1", 1, 2, 3)
    (one,) = await messages(db)
    await deliver(db, one)
    (two,) = await messages(db)
    async with db.transaction() as conn:
        await jobs.withdraw(conn, "ws-1", KIND)
    await deliver(db, two)
    assert await effects(db) == [("ws-1", 1)]
    assert await open_jobs(db) == 0
    async with db.transaction() as conn:
        await jobs.request(conn, READY, SOURCE, "ws-1", KIND)
    await run(db)
    assert await effects(db) == [("ws-1", 1), ("ws-1", 2), ("ws-1", 3)]


async def test_a_slice_that_fails_leaves_everything_as_it_was(db: Database):
    async with db.transaction() as conn:
        await give(conn, "ws-1", 1)
    (one,) = await messages(db)
    await db.execute("ALTER TABLE effects ADD CHECK (version <> 1)")
    with pytest.raises(asyncpg.CheckViolationError):
        await deliver(db, one)
    await db.execute("ALTER TABLE effects DROP CONSTRAINT effects_version_check")
    await deliver(db, one)
    assert await effects(db) == [("ws-1", 1)]


async def test_a_kind_of_a_newer_version_stays_for_a_process_that_knows_it(db: Database):
    async with db.transaction() as conn:
        await jobs.request(conn, READY, SOURCE, "ws-1", "new")
    (one,) = await messages(db)
    with pytest.raises(jobs.UnknownKind):
        await deliver(db, one)
    assert await open_jobs(db) == 1


async def test_a_job_whose_message_is_lost_gets_one_again(db: Database):
    async with db.transaction() as conn:
        await give(conn, "ws-1", 1)
    (lost,) = await messages(db)
    assert await jobs.resume_lost(db, READY, SOURCE) == 0
    await db.execute("UPDATE jobs SET lost_at = now()")
    async with db.transaction() as conn:
        await conn.execute("SELECT FROM jobs FOR UPDATE")
        resuming = [asyncio.create_task(jobs.resume_lost(db, READY, SOURCE)) for _ in range(3)]
        await eventually(lambda: _is(_waits_for_locks(db), 3))
    assert sorted(await asyncio.gather(*resuming)) == [0, 0, 1]
    await deliver(db, lost)
    assert await effects(db) == []
    await run(db)
    assert await effects(db) == [("ws-1", 1)]
    assert await open_jobs(db) == 0


async def _waits_for_locks(db: Database) -> int:
    """How many statements wait for one."""
    return int(
        await db.fetchval(
            """SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        )
    )


async def _is(asked: Awaitable[int], expected: int) -> bool:
    return await asked == expected
