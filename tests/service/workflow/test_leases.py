"""Leases of runs: one process has a run, and what another one had it for has no effect later."""

from __future__ import annotations

import asyncio

import pytest

from shared.database import Database
from tests.kit.service import RunningService
from workflow_service.export_runs.store import RUNS as EXPORTS
from workflow_service.leases import LeasedTable, Lost, Waiting
from workflow_service.sync_runs.store import RUNS as SYNCS

WORKSPACE, OTHER = "ws-leases", "ws-others"
ROWS = {
    EXPORTS.table: (
        """INSERT INTO export_jobs (workspace_id, id, body, sealed, status, created_by, runs_as,
                                    runs_as_kind, version, created_at, updated_at)
           VALUES ($1, 'of', '{}', '', 'active', 'user-1', 'user-1', 'user', 1, now(), now())""",
        """INSERT INTO export_runs (workspace_id, job_id, id, status, started_at, leased_until)
           VALUES ($1, 'of', 'run', 'running', now(), now())""",
    ),
    SYNCS.table: (
        """INSERT INTO channels (workspace_id, id, alias, type, body, config, key, version,
                                 created_at, updated_at)
           VALUES ($1, 'of', 'of', 'custom', '{}', '', '', 1, now(), now())""",
        """INSERT INTO sync_runs (workspace_id, channel_id, id, direction, status, caller_kind,
                                  caller_id, created_at, step, due_at)
           VALUES ($1, 'of', 'run', 'push', 'running', 'user', 'user-1', now(), 'push', now())""",
    ),
}


@pytest.fixture(params=[EXPORTS, SYNCS], ids=lambda runs: runs.table)
def runs(request: pytest.FixtureRequest) -> LeasedTable:
    table: LeasedTable = request.param
    return table


@pytest.fixture
async def db(service: RunningService, runs: LeasedTable) -> Database:
    for workspace_id in (WORKSPACE, OTHER):
        for statement in ROWS[runs.table]:
            await service.database.execute(statement, workspace_id)
    return service.database


async def end_lease(db: Database, runs: LeasedTable) -> None:
    await db.execute(f"UPDATE {runs.table} SET {runs.until} = clock_timestamp()")


async def test_a_run_that_waits_is_claimed_once(db: Database, runs: LeasedTable):
    async with db.acquire() as conn:
        waiting = await runs.waiting(conn, 10)
        assert {each.workspace_id for each in waiting} == {WORKSPACE, OTHER}
        assert await runs.waiting(conn, 1) == waiting[:1]
        (first,) = await runs.waiting(conn, 10, [OTHER])
    assert first == Waiting(WORKSPACE, "of", "run")

    async def claimed(holder: str) -> bool:
        async with db.acquire() as conn:
            return await runs.claim(conn, first, holder, 30, returning="id") is not None

    assert sorted(await asyncio.gather(*(claimed(f"h-{n}") for n in range(4)))) == [False] * 3 + [
        True
    ]
    async with db.acquire() as conn:
        assert await runs.waiting(conn, 10, [OTHER]) == []


async def test_who_lost_a_run_changes_nothing_of_it(db: Database, runs: LeasedTable):
    row = Waiting(WORKSPACE, "of", "run")
    async with db.acquire() as conn:
        await runs.claim(conn, row, "first", 30, returning="id")
        first = row.lease("first")
        await end_lease(db, runs)
        # Nobody else has taken it yet: it goes on.
        await runs.renew(conn, first, 30)
        assert await runs.waiting(conn, 10, [OTHER]) == []
        await end_lease(db, runs)
        await runs.claim(conn, row, "second", 30, returning="id")
        for write in (
            runs.renew(conn, first, 30),
            runs.update(conn, first, "status = $5", "failed"),
        ):
            with pytest.raises(Lost):
                await write
        await runs.release(conn, first, 0)
        stored = await conn.fetchrow(
            f"""SELECT {runs.holder} AS holder, status, {runs.until} > now() AS held
                  FROM {runs.table} WHERE workspace_id = $1""",
            WORKSPACE,
        )
        assert tuple(stored) == ("second", "running", True)


async def test_a_run_that_is_given_back_waits_as_long_as_was_said(db: Database, runs: LeasedTable):
    row = Waiting(WORKSPACE, "of", "run")
    async with db.acquire() as conn:
        await runs.claim(conn, row, "first", 30, returning="id")
        await runs.release(conn, row.lease("first"), 60)
        assert await runs.claim(conn, row, "second", 30, returning="id") is None
        await end_lease(db, runs)
        assert await runs.claim(conn, row, "second", 30, returning="id") is not None
        ended = await runs.update(
            conn, row.lease("second"), "status = $5", "failed", returning="status"
        )
        assert ended["status"] == "failed"
        with pytest.raises(Lost):
            await runs.renew(conn, row.lease("second"), 30)
