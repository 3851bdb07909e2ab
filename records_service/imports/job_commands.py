"""Begins, cancels and resumes import jobs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Final

from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.context import Context
from records_service.imports import lanes, store
from records_service.imports.forms import Form
from records_service.imports.jobs import RUNNING, identity_to_json, note_ended
from records_service.imports.planning import Plan, plan_of
from records_service.imports.store import ImportJob
from records_service.imports.stored_file import stored_file
from records_service.writes import effects
from shared.database import Conn, Database
from shared.database.request_transactions import REQUEST_TRANSACTION
from shared.errors import Conflict, NotFound, truncated
from shared.events import TRACE
from shared.messaging import outbox
from shared.process.offload import OFFLOAD

CHUNKS_AT_ONCE: Final = 100
ABANDONED_AFTER_S: Final = 900.0
"""Longer than a request may last."""
RESUMABLE: Final = frozenset({"failed", "cancelled"})


async def plan(context: Context, import_id: str, form: Form) -> Plan:
    """How the file that was received will be read; raises what `plan_of` raises."""
    blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
    file = stored_file(context.database, context.workspace_id, import_id, form.received.stored)
    name = form.file_name or ""
    return await context.app[OFFLOAD].run(
        context.workspace_id, plan_of, name, form.query, form.received, file, blueprint
    )


async def begin(
    context: Context, import_id: str, form: Form, plan: Plan, *, is_job: bool = True
) -> ImportJob:
    """Let the job of a file that was received wait for its turns; without `is_job` it has none."""
    async with context.database.transaction() as conn:
        await store.begin(
            conn,
            context.workspace_id,
            import_id,
            kind=plan.kind,
            file_name=form.file_name,
            file_size=form.received.size,
            settings=plan.settings,
            identity=identity_to_json(context.identity),
            position=plan.position,
            total=plan.total,
            warnings=plan.warnings,
            traceparent=TRACE.get(),
        )
        if is_job:
            await lanes.fill(conn, context.workspace_id)
        job = await store.find(conn, context.workspace_id, import_id)
    if is_job:
        outbox.wake(context.app)
    assert job is not None
    return job


async def reserve(context: Context, import_id: str) -> None:
    """Take the id of a job whose file is about to be received; `Conflict` if it is taken.

    A file that has been received for longer than any request lasts belonged to a process that died.
    """
    for _ in range(2):
        try:
            async with context.database.acquire() as conn:
                await store.insert(conn, context.workspace_id, import_id, context.identity.id)
        except Conflict:
            if not await discard(context, import_id, received_for_s=ABANDONED_AFTER_S):
                raise
        else:
            return
    raise Conflict.taken("Import", import_id)


async def discard(context: Context, import_id: str, *, received_for_s: float = 0) -> bool:
    """Delete what was received for a job that has not begun; whether there was anything."""
    workspace_id = context.workspace_id
    is_found = False
    while True:
        async with context.database.transaction() as conn:
            if not await store.is_receiving(conn, workspace_id, import_id, received_for_s):
                return is_found
            is_found = True
            if await store.delete_file(conn, workspace_id, import_id, chunks_max=CHUNKS_AT_ONCE):
                return True


async def get(context: Context, import_id: str) -> ImportJob:
    """The job, or `NotFound`; a user whose role is limited sees only their own."""
    async with context.database.acquire() as conn:
        return await _find(context, conn, import_id)


async def cancel(context: Context, import_id: str) -> ImportJob:
    """End a job before its next row; raises `NotFound`, or `Conflict` if it has ended."""
    async with context.database.transaction() as conn:
        job = await _find(context, conn, import_id, lock=True)
        if job.status not in RUNNING:
            raise Conflict(f"Import '{truncated(import_id)}' has ended: '{truncated(job.status)}'")
        await store.save(conn, replace(job, status="cancelled", completed_at=effects.now()))
        await lanes.leave(conn, context.workspace_id, import_id)
        cancelled = await _find(context, conn, import_id)
    outbox.wake(context.app)
    bound = REQUEST_TRANSACTION.get()
    if bound is None:
        note_ended(cancelled)
    else:
        bound.after_commit(partial(note_ended, cancelled))
    return cancelled


async def resume(context: Context, import_id: str) -> ImportJob:
    """Let a job go on behind its last stored row, with the rights of the caller.

    Raises `NotFound`, or `Conflict` for a job that did not fail and was not cancelled, or whose
    file is gone.
    """
    async with context.database.transaction() as conn:
        job = await _find(context, conn, import_id, lock=True)
        if job.status not in RESUMABLE:
            raise Conflict(
                f"Import '{truncated(import_id)}' can be resumed only after it failed or was"
                f" cancelled, it is '{truncated(job.status)}'"
            )
        if not await store.has_file(conn, context.workspace_id, import_id):
            raise Conflict(f"The file of import '{truncated(import_id)}' is not kept any more")
        identity = identity_to_json(context.identity)
        again = replace(job, status="queued", error=None, completed_at=None, identity=identity)
        await store.save(conn, again)
        await lanes.fill(conn, context.workspace_id)
        resumed = await _find(context, conn, import_id)
    outbox.wake(context.app)
    return resumed


async def _find(context: Context, conn: Conn, import_id: str, *, lock: bool = False) -> ImportJob:
    job = await store.find(conn, context.workspace_id, import_id, lock=lock)
    if job is None or not sees(context, job):
        raise NotFound.of("Import", import_id)
    return job


def sees(context: Context, job: ImportJob) -> bool:
    """Whether the caller may see a job: its rows may hold what is hidden from others."""
    return context.identity.unrestricted or job.created_by == context.identity.id


async def sweep(db: Database, *, kept_days: float) -> int:
    """Delete files that are not kept any more; how many."""
    async with db.acquire() as conn:
        found = await store.expired(conn, kept_days=kept_days, jobs_max=CHUNKS_AT_ONCE)
    for workspace_id, import_id in found:
        done = False
        while not done:
            async with db.acquire() as conn:
                done = await store.delete_file(
                    conn, workspace_id, import_id, chunks_max=CHUNKS_AT_ONCE
                )
            await asyncio.sleep(0)
    return len(found)
