"""SQL: the jobs that clients can follow. The newest of one kind and subject may be unfinished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from records_service.model_objects.search_store import ValueTable
from records_service.progress.model import (
    KEPT_DAYS,
    SAMPLES_MAX,
    Counts,
    Job,
    JobKind,
    JobStatus,
    Sample,
)
from shared.database import Conn, Record, mapping_constraints
from shared.database.paging import Key, Order, Part, Place, Total
from shared.errors import Conflict

NEWEST_FIRST: Final[Order] = (
    Key("created_at", datetime, descending=True),
    Key("id", str, descending=True),
)
SubjectTable: TypeAlias = Literal["attributes", "schemas"]
_COLUMNS: Final = """
    id, kind, subject_id, status, total, created, updated, unchanged, skipped, failed, samples,
    error, created_at, started_at, completed_at, created_by
"""


async def insert(
    conn: Conn, workspace_id: str, job_id: str, kind: JobKind, subject_id: str, created_by: str
) -> None:
    """A new job, which waits for its first slice. No other of its subject may be unfinished."""
    with mapping_constraints({"followed_jobs_pkey": lambda: Conflict.taken("Job", job_id)}):
        await conn.execute(
            """
            INSERT INTO followed_jobs (workspace_id, id, kind, subject_id, created_by, created_at)
            VALUES ($1, $2, $3, $4, $5, $6)
            """,
            workspace_id,
            job_id,
            kind,
            subject_id,
            created_by,
            datetime.now(UTC),
        )


async def subject_named(conn: Conn, workspace_id: str, table: SubjectTable, name: str) -> str:
    """The id of the attribute or schema with this id or, failing that, alias; else the name itself.

    A job may be about one that was deleted.
    """
    found: str | None = await conn.fetchval(
        f"""
        SELECT id FROM {table}
         WHERE workspace_id = $1 AND (id = $2 OR alias = $2)
         ORDER BY id = $2 DESC
         LIMIT 1
        """,  # noqa: S608 - one of two constants
        workspace_id,
        name,
    )
    return name if found is None else found


async def delete_old(conn: Conn, workspace_id: str) -> None:
    """Forget jobs that ended long ago."""
    await conn.execute(
        """
        DELETE FROM followed_jobs
         WHERE workspace_id = $1 AND completed_at < now() - make_interval(days => $2)
        """,
        workspace_id,
        KEPT_DAYS,
    )


async def advance(
    conn: Conn,
    workspace_id: str,
    kind: JobKind,
    subject_id: str,
    counts: Counts,
    samples: Sequence[Sample],
) -> Record | None:
    """Add to the counts and samples of the unfinished job: its `total`, how many `sampled`."""
    return await conn.fetchrow(
        """
        UPDATE followed_jobs
           SET status = 'running', started_at = coalesce(started_at, $10),
               created = created + $4, updated = updated + $5, unchanged = unchanged + $6,
               skipped = skipped + $7, failed = failed + $8,
               samples = CASE WHEN jsonb_array_length(samples) < $11 THEN samples || $9::jsonb
                              ELSE samples END
         WHERE workspace_id = $1 AND kind = $2 AND subject_id = $3 AND completed_at IS NULL
        RETURNING total, jsonb_array_length(samples) AS sampled
        """,
        workspace_id,
        kind,
        subject_id,
        *asdict(counts).values(),
        _shown(samples),
        datetime.now(UTC),
        SAMPLES_MAX,
    )


async def take_back(conn: Conn, workspace_id: str, kind: JobKind, subject_id: str) -> None:
    """Count what was updated as unchanged."""
    await conn.execute(
        """
        UPDATE followed_jobs SET updated = 0, unchanged = unchanged + updated
         WHERE workspace_id = $1 AND kind = $2 AND subject_id = $3 AND completed_at IS NULL
        """,
        workspace_id,
        kind,
        subject_id,
    )


async def set_total(
    conn: Conn, workspace_id: str, kind: JobKind, subject_id: str, total: int
) -> None:
    """Say how much there is to do."""
    await conn.execute(
        """
        UPDATE followed_jobs SET total = $4
         WHERE workspace_id = $1 AND kind = $2 AND subject_id = $3 AND completed_at IS NULL
        """,
        workspace_id,
        kind,
        subject_id,
        total,
    )


async def end(
    conn: Conn,
    workspace_id: str,
    kind: JobKind,
    subject_id: str,
    status: JobStatus,
    error: str | None,
) -> None:
    """End the unfinished job, if there is one; one that has done all has its total, too."""
    await conn.execute(
        """
        UPDATE followed_jobs
           SET status = $4, error = $5, completed_at = $6, started_at = coalesce(started_at, $6),
               total = CASE WHEN $4 IN ('succeeded', 'partial')
                            THEN created + updated + unchanged + skipped + failed
                            ELSE total END
         WHERE workspace_id = $1 AND kind = $2 AND subject_id = $3 AND completed_at IS NULL
        """,
        workspace_id,
        kind,
        subject_id,
        status,
        error,
        datetime.now(UTC),
    )


async def find(conn: Conn, workspace_id: str, job_id: str) -> Job | None:
    """The job with this id."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM followed_jobs WHERE workspace_id = $1 AND id = $2",  # noqa: S608
        workspace_id,
        job_id,
    )
    return None if row is None else _job(row)


async def unfinished_id(
    conn: Conn, workspace_id: str, kind: JobKind, subject_id: str
) -> str | None:
    """The id of the job of this subject that goes on, if any does."""
    job_id: str | None = await conn.fetchval(
        """
        SELECT id FROM followed_jobs
         WHERE workspace_id = $1 AND kind = $2 AND subject_id = $3 AND completed_at IS NULL
        """,
        workspace_id,
        kind,
        subject_id,
    )
    return job_id


async def page(
    conn: Conn,
    workspace_id: str,
    *,
    created_by: str | None,
    kinds: Sequence[JobKind] | None,
    subject_id: str | None,
    status: JobStatus | None,
    place: Place,
) -> tuple[list[Job], Part[Record], Total | None]:
    """The jobs of a workspace that are asked for, newest first."""
    source = "followed_jobs WHERE workspace_id = $1"
    arguments: list[Any] = [workspace_id]
    # Only equality leaves the rows of an index in their order.
    one = None if kinds is None or len(kinds) != 1 else kinds[0]
    for condition, asked in (
        ("created_by = {}", created_by),
        ("kind = {}", one),
        ("kind = ANY({}::text[])", kinds if one is None else None),
        ("subject_id = {}", subject_id),
        ("status = {}", status),
    ):
        if asked is not None:
            arguments.append(asked)
            source += " AND " + condition.format(f"${len(arguments)}")
    wanted = place.select(_COLUMNS, source, arguments)
    rows = await conn.fetch(
        f"""
        WITH wanted AS MATERIALIZED ({wanted})
        SELECT w.*, head.counted
          FROM ({place.count(source)}) head (counted)
          LEFT JOIN wanted w ON true
         ORDER BY {place.order_by}
        """,  # noqa: S608 - constants
        *arguments,
    )
    part = place.part([row for row in rows if row["id"] is not None])
    total = await place.total(conn, part, rows[0]["counted"], source, arguments)
    return [_job(row) for row in part.rows], part, total


async def count_rows(
    conn: Conn, workspace_id: str, schema_ids: Sequence[str], tables: Sequence[ValueTable]
) -> int:
    """How many records and variants these schemas have: an index tells it."""
    counted = 0
    for table in tables:
        counted += await conn.fetchval(
            f"""
            SELECT count(*) FROM {table}
             WHERE workspace_id = $1 AND schema_id = ANY($2::text[])
            """,  # noqa: S608 - a constant
            workspace_id,
            list(schema_ids),
        )
    return counted


def _shown(samples: Sequence[Sample]) -> list[dict[str, str | None]]:
    return [
        {"entityId": one.record_id, "variantId": one.variant_id, "reason": one.reason}
        for one in samples[:SAMPLES_MAX]
    ]


def _job(row: Record) -> Job:
    return Job(
        row["id"],
        JobKind(row["kind"]),
        row["subject_id"],
        JobStatus(row["status"]),
        *(
            row[name]
            for name in (
                "total",
                "created",
                "updated",
                "unchanged",
                "skipped",
                "failed",
                "samples",
                "error",
                "created_at",
                "started_at",
                "completed_at",
                "created_by",
            )
        ),
    )
