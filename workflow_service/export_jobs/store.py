"""The SQL of export jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from shared.database import Conn, Record, mapping_constraints
from shared.errors import Conflict, NotFound
from workflow_service.export_jobs.model import TITLE, Due, ExportJob, Status

CHANNEL: Final = "export_jobs"
"""Tells workers that a run waits, or that a job may be due earlier than it was."""
_COLUMNS: Final = """
    workspace_id, id, body, sealed, status, created_by, runs_as, runs_as_kind, version, created_at,
    updated_at, last_run_at, next_run_at
"""


async def now(conn: Conn) -> datetime:
    """The time of the database, which all processes share."""
    moment: datetime = await conn.fetchval("SELECT clock_timestamp()")
    return moment


async def insert(conn: Conn, job: ExportJob, *, jobs_max: int) -> bool:
    """Store a new job; False, with nothing stored, if the workspace has as many as it may.

    Raises `Conflict` for a taken id.
    """
    # One after the other, so that the count holds.
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('export jobs ' || $1::text, 0))",
        job.workspace_id,
    )
    with mapping_constraints({"export_jobs_id_taken": lambda: Conflict.taken(TITLE, job.id)}):
        stored = await conn.fetchval(
            """
            INSERT INTO export_jobs (workspace_id, id, body, sealed, status, created_by, runs_as,
                                     runs_as_kind, version, created_at, updated_at, next_run_at)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
             WHERE (SELECT count(*) FROM export_jobs WHERE workspace_id = $1) < $13
            RETURNING id
            """,
            job.workspace_id,
            job.id,
            job.body,
            job.sealed,
            job.status,
            job.created_by,
            job.runs_as,
            job.runs_as_kind,
            job.version,
            job.created_at,
            job.updated_at,
            job.next_run_at,
            jobs_max,
        )
    return stored is not None


async def find_all(conn: Conn, workspace_id: str) -> list[ExportJob]:
    """All jobs of the workspace, oldest first."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM export_jobs
         WHERE workspace_id = $1
         ORDER BY created_at, id
        """,  # noqa: S608 - constants
        workspace_id,
    )
    return [_job(row) for row in rows]


async def get(conn: Conn, workspace_id: str, job_id: str, *, lock: bool = False) -> ExportJob:
    """The job, or `NotFound`; locked until the end of the transaction, if asked for."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM export_jobs
         WHERE workspace_id = $1 AND id = $2
        {"FOR NO KEY UPDATE" if lock else ""}
        """,  # noqa: S608 - constants
        workspace_id,
        job_id,
    )
    if row is None:
        raise NotFound.of(TITLE, job_id)
    return _job(row)


async def update(conn: Conn, job: ExportJob) -> None:
    """Store what has changed of a job that this transaction has locked."""
    await conn.execute(
        """
        UPDATE export_jobs
           SET body = $3, sealed = $4, status = $5, runs_as = $6, runs_as_kind = $7, version = $8,
               updated_at = $9, next_run_at = $10
         WHERE workspace_id = $1 AND id = $2
        """,
        job.workspace_id,
        job.id,
        job.body,
        job.sealed,
        job.status,
        job.runs_as,
        job.runs_as_kind,
        job.version,
        job.updated_at,
        job.next_run_at,
    )


async def delete(conn: Conn, workspace_id: str, job_id: str) -> None:
    """Delete a job, and with it its runs."""
    await conn.execute(
        "DELETE FROM export_jobs WHERE workspace_id = $1 AND id = $2", workspace_id, job_id
    )


async def due(conn: Conn, limit: int) -> list[Due]:
    """Jobs of any workspace that are due, longest first."""
    rows = await conn.fetch(
        """
        SELECT workspace_id, id, next_run_at FROM export_jobs
         WHERE next_run_at <= clock_timestamp()
         ORDER BY next_run_at
         LIMIT $1
        """,
        limit,
    )
    return [Due(**row) for row in rows]


async def take_due(conn: Conn, due: Due) -> Record | None:
    """Lock a job, and whose rights it has; None if it is not due any more, or another has it."""
    return await conn.fetchrow(
        """
        SELECT runs_as, runs_as_kind FROM export_jobs
         WHERE workspace_id = $1 AND id = $2 AND next_run_at = $3
           FOR NO KEY UPDATE SKIP LOCKED
        """,
        due.workspace_id,
        due.id,
        due.next_run_at,
    )


async def set_due(conn: Conn, due: Due, next_run_at: datetime | None) -> None:
    """When a job is due next; its version stays."""
    await conn.execute(
        "UPDATE export_jobs SET next_run_at = $3 WHERE workspace_id = $1 AND id = $2",
        due.workspace_id,
        due.id,
        next_run_at,
    )


async def note_run(conn: Conn, workspace_id: str, job_id: str, at: datetime) -> None:
    """Note when the last run began."""
    await conn.execute(
        """
        UPDATE export_jobs SET last_run_at = greatest(last_run_at, $3)
         WHERE workspace_id = $1 AND id = $2
        """,
        workspace_id,
        job_id,
        at,
    )


async def tell(conn: Conn) -> None:
    """Wake the workers when this transaction commits."""
    await conn.execute("SELECT pg_notify($1, '')", CHANNEL)


def _job(row: Record) -> ExportJob:
    fields = {name: row[name] for name in ExportJob.__dataclass_fields__}
    return ExportJob(**{**fields, "status": Status(row["status"])})
