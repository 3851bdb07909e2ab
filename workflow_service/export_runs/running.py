"""The worker: begins what is due, and does runs under leases that it renews.

    asleep until the next schedule or the end of the next lease; NOTIFY and a run's end wake it
    schedules that are due become runs (`commands.start_due`)
    a run that waits is claimed, if this process and the workspace of the run have room for it
    if this process has none, and a run of a workspace without a place waits, one may give way

A run whose process was killed waits again when its lease ends, and is started anew by any worker.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import asyncpg
import structlog
from aiohttp import web
from prometheus_client import Counter, Gauge, Histogram

from shared.database import DATABASE, Database
from shared.errors import ApiError
from shared.process import tracing
from workflow_service.export_jobs import store as jobs
from workflow_service.export_runs import commands, store, turns
from workflow_service.export_runs.exporting import Interrupted, export
from workflow_service.export_runs.model import Claim, Done
from workflow_service.export_runs.turns import Turn
from workflow_service.holds import Hold
from workflow_service.leases import Lost
from workflow_service.outbound.resolving import TENANT

RUNS_PER_WORKSPACE: Final = 2
"""Of all processes."""
LEASE_S: Final = 30.0
RENEW_S: Final = 8.0
ASLEEP_S_MAX: Final = 30.0
ASLEEP_S_MIN: Final = 0.5
GRACE_S: Final = 5.0
"""A run that waits for so long is one that no other process has a place for."""
AGAIN_AFTER_S: Final = (10.0, 60.0, 300.0)
"""After an interruption by another service, or by a run that waited."""
ATTEMPTS_MAX: Final = 1 + len(AGAIN_AFTER_S)
APPLICATION_NAME: Final = "workflow_service-export-runs"

GAVE_WAY: Final = Counter(
    "sigma_export_runs_gave_way_total", "Runs that gave their place to those of other workspaces"
)
SECONDS: Final = Histogram(
    "sigma_export_run_seconds",
    "Duration of runs of export jobs",
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600),
)
RUNNING: Final = Gauge("sigma_export_runs_running", "Runs that this process works on")
LATE: Final = Gauge(
    "sigma_export_schedule_late_seconds", "How long the schedule that is most overdue is due"
)

log = structlog.get_logger(__name__)


async def export_runs(app: web.Application) -> AsyncIterator[None]:
    """Run export jobs while the service runs; what is under way at its end is given back."""
    worker = Worker(app)
    task = asyncio.create_task(worker.run(), name="export_runs")
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await worker.stop()


class Worker:
    """The runs of one process."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._db: Database = app[DATABASE]
        self._runs: dict[asyncio.Task[None], Turn] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Begin and do runs until cancelled."""
        while True:
            await self._db.migrated.wait()
            try:
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ApiError) as error:
                log.warning("export_runs_interrupted", error=repr(error))
            except Exception:
                log.exception("export_runs_failed")
            await asyncio.sleep(ASLEEP_S_MIN)

    async def stop(self) -> None:
        """Give back what is under way, for another process to start anew at once."""
        for task in self._runs:
            task.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)

    async def _listen(self) -> None:
        conn = await self._db.connect(application_name=APPLICATION_NAME)
        try:
            await conn.add_listener(jobs.CHANNEL, lambda *_: self._wake.set())
            while not conn.is_closed():
                self._wake.clear()
                asleep_s = await self._begin()
                with suppress(TimeoutError):
                    async with asyncio.timeout(asleep_s):
                        await self._wake.wait()
        finally:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await conn.close(timeout=1)

    async def _begin(self) -> float:
        """Begin what can be begun; after how many seconds to look again."""
        async with self._db.acquire() as conn:
            due = await store.until_next(conn)
        LATE.set(max(0.0, -(due["schedule"] or 0.0)))
        while await commands.start_due(self._db) == commands.DUE_AT_ONCE:
            pass
        while len(self._runs) < turns.PLACES:
            worker, since_s = secrets.token_hex(8), time.monotonic()
            claim = await commands.claim(self._db, worker, LEASE_S, RUNS_PER_WORKSPACE)
            if claim is None:
                break
            turn = Turn(claim.workspace_id, asyncio.get_running_loop().time())
            work = self._do(claim, turn, since_s)
            task = asyncio.create_task(work, name=f"export_run {claim.run_id}")
            self._runs[task] = turn
            task.add_done_callback(self._ended)
        else:
            await self._make_room()
        RUNNING.set(len(self._runs))
        async with self._db.acquire() as conn:
            due = await store.until_next(conn)
        nearest = [at for at in (due["schedule"], due["lease"]) if at is not None]
        return min(ASLEEP_S_MAX, max(ASLEEP_S_MIN, min(nearest, default=ASLEEP_S_MAX)))

    async def _make_room(self) -> None:
        """Let a run give way if another workspace has none here and waits."""
        under_way = self._runs.values()
        if any(turn.is_over for turn in under_way):
            return
        turn = turns.to_give_way(under_way, asyncio.get_running_loop().time())
        if turn is None:
            return
        here = sorted({each.workspace_id for each in under_way})
        async with self._db.acquire() as conn:
            turn.is_over = bool(await store.RUNS.waiting(conn, 1, here, for_s=GRACE_S))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._runs.pop(task, None)
        RUNNING.set(len(self._runs))
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("export_run_lost", exc_info=task.exception())

    async def _do(self, claim: Claim, turn: Turn, since_s: float) -> None:
        """Do a run, and store what came of it."""
        TENANT.set(claim.workspace_id)
        told = {"workspace_id": claim.workspace_id, "job_id": claim.job_id, "run_id": claim.run_id}
        began = asyncio.get_running_loop().time()
        try:
            done = await self._under_lease(claim, turn, since_s)
        except asyncio.CancelledError:
            with suppress(Exception):
                await self._give_back(claim, 0.0, counts=False)
            raise
        except Lost:
            commands.ENDED.labels("lost").inc()
            log.warning("export_run_taken", **told)
            return
        except Interrupted as error:
            if claim.attempt < ATTEMPTS_MAX:
                log.warning("export_run_interrupted", **told, error=str(error))
                await self._give_back(claim, AGAIN_AFTER_S[claim.attempt - 1], counts=True)
                return
            done = Done(error=f"After {claim.attempt} attempts: {error}")
        except Exception:
            log.exception("export_run_failed", **told)
            done = Done(error="Internal error")
        with suppress(Lost):
            async with self._db.acquire() as conn:
                await store.finish(conn, claim, done)
            SECONDS.observe(asyncio.get_running_loop().time() - began)
            outcome = "success" if done.error is None else "failed"
            commands.ENDED.labels(outcome).inc()
            tracing.note_run(
                "export",
                claim.run_id,
                claim.workspace_id,
                claim.traceparent,
                began=claim.started_at,
                outcome=outcome,
                failed=done.error is not None,
            )
            log.info("export_run_ended", **told, records=done.record_count, error=done.error)

    async def _under_lease(self, claim: Claim, turn: Turn, since_s: float) -> Done:
        if claim.attempt > ATTEMPTS_MAX:
            return Done(error=f"The process that made the file ended {claim.attempt - 1} times")

        async def renew() -> None:
            async with self._db.acquire() as conn:
                await store.renew(conn, claim, LEASE_S)

        hold = Hold(LEASE_S, renew, since_s=since_s)
        work = asyncio.ensure_future(export(self._app, claim, hold))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=RENEW_S)
                if work.done():
                    break
                if turn.is_over:
                    GAVE_WAY.inc()
                    raise Interrupted(
                        f"It took longer than {turns.TURN_S:g} seconds while others waited"
                    )
                try:
                    await hold.renew()
                except ApiError:
                    # The database is away. Nobody can take the run over before the lease ends.
                    if hold.left_s < RENEW_S:
                        raise Lost from None
            return await work
        finally:
            if not work.done():
                work.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await work

    async def _give_back(self, claim: Claim, after_s: float, *, counts: bool) -> None:
        async with self._db.transaction() as conn:
            await store.release(conn, claim, after_s, counts=counts)
            await jobs.tell(conn)
