"""Begins runs, by hand and by schedule, and records those that were made elsewhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import asyncpg
import structlog
from prometheus_client import Counter

from shared.database import Database
from shared.errors import ApiError, ValidationError
from shared.events import TRACE
from shared.identity import Identity
from shared.ids import new_id
from workflow_service.acting import subject_kind
from workflow_service.export_jobs import store as jobs
from workflow_service.export_jobs.commands import next_run
from workflow_service.export_jobs.model import Due
from workflow_service.export_jobs.schedule import Unreadable
from workflow_service.export_runs import store
from workflow_service.export_runs.model import Claim, Run, RunDraft

PREFIX: Final = "run"
DUE_AT_ONCE: Final = 20
AGAIN_AFTER: Final = timedelta(hours=1)
"""When a job is due again that could not begin."""
CLOCKS_DIFFER_MAX: Final = timedelta(minutes=5)
"""How far the clock of whoever records a run may be ahead."""

BEGUN: Final = Counter("sigma_export_runs_begun_total", "Runs of export jobs", ["by"])
ENDED: Final = Counter(
    "sigma_export_runs_ended_total", "Runs of export jobs that ended, by outcome", ["outcome"]
)
SKIPPED: Final = Counter(
    "sigma_export_schedules_skipped_total",
    "Times of schedules at which the run before was still under way",
)

log = structlog.get_logger(__name__)


async def start(db: Database, workspace_id: str, job_id: str) -> Run:
    """Begin a run now. Raises `NotFound`, or `Conflict` while another one is running."""
    async with db.transaction() as conn:
        await jobs.get(conn, workspace_id, job_id, lock=True)
        run = await store.begin(conn, workspace_id, job_id, new_id(PREFIX), TRACE.get())
        await jobs.note_run(conn, workspace_id, job_id, run.started_at)
        await store.remove_old(conn, workspace_id, job_id)
        await jobs.tell(conn)
    BEGUN.labels("hand").inc()
    return run


async def record(db: Database, identity: Identity, job_id: str, draft: RunDraft) -> Run:
    """Store a run that was made elsewhere. Raises `NotFound` or `ValidationError`."""
    workspace_id = identity.workspace_id
    async with db.transaction() as conn:
        await jobs.get(conn, workspace_id, job_id, lock=True)
        now = await jobs.now(conn)
        for name, at in (("startedAt", draft.startedAt), ("completedAt", draft.completedAt)):
            # It would hide later runs, of which the newest are kept.
            if at is not None and at > now + CLOCKS_DIFFER_MAX:
                raise ValidationError.at(f"/{name}", f"Field '{name}' must not be in the future")
        completed_at = draft.completedAt or max(now, draft.startedAt or now)
        started_at = draft.startedAt or completed_at
        if completed_at < started_at:
            raise ValidationError.at(
                "/completedAt", "Field 'completedAt' must not be before 'startedAt'"
            )
        run = Run(
            job_id=job_id,
            id=new_id(PREFIX),
            status=draft.status or "success",
            started_at=started_at,
            completed_at=completed_at,
            record_count=draft.recordCount,
            file_size=draft.fileSize,
            destination_path=draft.destinationPath,
            error=draft.error,
            runs_as=identity.id,
            runs_as_kind=subject_kind(identity),
        )
        await store.record(conn, workspace_id, run)
        await jobs.note_run(conn, workspace_id, job_id, run.started_at)
        await store.remove_old(conn, workspace_id, job_id)
    return run


async def start_due(db: Database) -> int:
    """Begin a run of each job that is due, of the first `DUE_AT_ONCE`; of how many this decided.

    A job is locked while its next time is set, so each time has one run, however many processes do
    this. After a time without workers a job is due once, whatever was left out. While a run is
    under way, a time is left out. A job that fails here holds up no other: it has a run that says
    so, and is due again in an hour.
    """
    async with db.acquire() as conn:
        found = await jobs.due(conn, DUE_AT_ONCE)
    return sum([await _start_due(db, due) for due in found])


async def _start_due(db: Database, due: Due) -> bool:
    """Begin a run of one job; False if another process has it."""
    try:
        async with db.transaction() as conn:
            if await jobs.take_due(conn, due) is None:
                return False
            job = await jobs.get(conn, due.workspace_id, due.id)
            now = await jobs.now(conn)
            await jobs.set_due(conn, due, next_run(job.body, now))
            if await store.is_running(conn, due.workspace_id, due.id):
                SKIPPED.inc()
                log.warning("export_schedule_skipped", workspace_id=due.workspace_id, job_id=due.id)
                return True
            run = await store.begin(conn, due.workspace_id, due.id, new_id(PREFIX), None)
            await jobs.note_run(conn, due.workspace_id, due.id, run.started_at)
            await store.remove_old(conn, due.workspace_id, due.id)
    except (ApiError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        # The database: the others would fail as well.
        raise
    except Unreadable as error:
        reason = f"The schedule cannot be read: {error}. It is tried again in an hour"
    except Exception:
        log.exception("export_schedule_failed", workspace_id=due.workspace_id, job_id=due.id)
        reason = "Internal error"
    else:
        BEGUN.labels("schedule").inc()
        return True
    await _set_aside(db, due, reason)
    return True


async def _set_aside(db: Database, due: Due, reason: str) -> None:
    """Let a job be due again later, with a run that says why it has not begun."""
    async with db.transaction() as conn:
        owner = await jobs.take_due(conn, due)
        if owner is None:
            return
        now = await jobs.now(conn)
        await jobs.set_due(conn, due, now + AGAIN_AFTER)
        run = Run(due.id, new_id(PREFIX), "failed", now, now, error=reason, **owner)
        await store.record(conn, due.workspace_id, run)
        await jobs.note_run(conn, due.workspace_id, due.id, now)
        await store.remove_old(conn, due.workspace_id, due.id)
    ENDED.labels("failed").inc()
    log.error(
        "export_schedule_unreadable", workspace_id=due.workspace_id, job_id=due.id, reason=reason
    )


async def claim(db: Database, worker: str, lease_s: float, per_workspace: int) -> Claim | None:
    """The run that has waited longest, of a workspace with room for one more; None if none has."""
    full: list[str] = []
    while True:
        async with db.acquire() as conn:
            found = await store.RUNS.waiting(conn, 1, full)
        if not found:
            return None
        (run,) = found
        async with db.transaction() as conn:
            await store.lock_claims(conn, run.workspace_id)
            if not await store.has_room(conn, run.workspace_id, per_workspace):
                full.append(run.workspace_id)
                continue
            taken = await store.claim(conn, run, worker, lease_s)
        if taken is not None:
            return taken
