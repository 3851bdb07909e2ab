"""Tries an import out: its rows are written by the steps of its job, and all is undone.

What a row meets depends on the rows before it, so all are written in one transaction. Its locks
hold up others who write the same records, and the count of the workspace's records: after
`TRIED_FOR_S`, the attempt is cut off and says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

from records_service.context import Context
from records_service.imports import job_commands, jobs, refused_store, unpacking
from records_service.imports.detection import FileFormat
from records_service.imports.forms import Form
from records_service.imports.planning import Plan
from records_service.imports.store import ImportJob
from records_service.writes import effects
from shared.database import Conn

TRIED_FOR_S: Final = 4.0
"""Less than anybody waits for a lock before giving up (`shared.database.pool.LOCK_TIMEOUT_S`)."""
UNPACKED_FOR_S: Final = 2.0
ERRORS_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Tried:
    """What would have become of a job, the first errors, and whether all rows were tried."""

    job: ImportJob
    errors: Sequence[Any]
    complete: bool


async def try_out(context: Context, import_id: str, form: Form, plan: Plan) -> Tried:
    """What would become of the rows; the caller undoes what this does."""
    job = await job_commands.begin(context, import_id, form, plan, is_job=False)
    job = replace(job, status="running", started_at=effects.now())
    with closing(unpacking.Spreadsheets()) as spreadsheets:
        async with context.database.transaction() as conn:
            if job.format == FileFormat.XLSX:
                job = await _unpacked(spreadsheets, context, conn, job)
            is_whole = job.position.get("unpacked_all", True)
            if job.status == "running":
                turn = jobs.Slice(time.monotonic() + TRIED_FOR_S, is_trial=True)
                job = await jobs.written(jobs.context_of(context, job), conn, job, turn)
            errors = await refused_store.first_errors(
                conn, context.workspace_id, import_id, errors_max=ERRORS_SHOWN
            )
    if job.status == "running" or (not is_whole and job.error is None):
        return Tried(replace(job, status="running", total=None), errors, complete=False)
    return Tried(replace(job, completed_at=effects.now()), errors, complete=True)


async def _unpacked(
    spreadsheets: unpacking.Spreadsheets, context: Context, conn: Conn, job: ImportJob
) -> ImportJob:
    until = time.monotonic() + UNPACKED_FOR_S
    while job.status == "running" and not job.position.get("unpacked_all"):
        if time.monotonic() >= until:
            return replace(job, position={**job.position, "unpacked_all": False})
        job = await jobs.or_failed(
            job, unpacking.unpack_some(spreadsheets, context.database, conn, job)
        )
    return job
