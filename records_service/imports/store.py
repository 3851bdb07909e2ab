"""SQL: import jobs, and the files they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.database import Conn, Record, mapping_constraints
from shared.database.paging import Key, Order, Part, Place, Total
from shared.errors import Conflict

CHUNK_BYTES: Final = 1 << 20
"""All chunks of a file but the last have this size, so each byte is found by its offset."""
AS_SENT: Final = 0
UNPACKED: Final = 1
"""The rows of a spreadsheet, one a line."""
NEWEST_FIRST: Final[Order] = (
    Key("created_at", datetime, descending=True),
    Key("id", str, descending=True),
)
RECEIVING: Final = "receiving"
_COLUMNS: Final = """
    workspace_id, id, status, format, file_name, file_size, settings, identity, position, total,
    created, updated, unchanged, skipped, failed, warnings, error,
    created_at, started_at, completed_at, created_by, traceparent
"""


@dataclass(frozen=True, slots=True)
class ImportJob:
    """A job as it is stored.

    `settings` say how the file is read; `position` is behind the last stored row: `offset` in
    bytes, `row`, `line`, and of a spreadsheet how much is `unpacked`.
    """

    workspace_id: str
    id: str
    status: str
    format: str
    file_name: str | None
    file_size: int
    settings: dict[str, Any]
    identity: dict[str, Any]
    position: dict[str, Any]
    total: int | None
    created: int
    updated: int
    unchanged: int
    skipped: int
    failed: int
    warnings: list[str]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    created_by: str
    traceparent: str | None
    """Of the request that has sent the file, where that is traced."""

    @property
    def processed(self) -> int:
        """How many rows have been read and stored, or refused."""
        return self.created + self.updated + self.unchanged + self.skipped + self.failed


async def insert(conn: Conn, workspace_id: str, import_id: str, created_by: str) -> None:
    """A job whose file is being received, or `Conflict` if the id is taken."""
    with mapping_constraints({"imports_id_taken": lambda: Conflict.taken("Import", import_id)}):
        await conn.execute(
            """
            INSERT INTO imports (workspace_id, id, status, format, created_by, created_at)
            VALUES ($1, $2, $3, '', $4, now())
            """,
            workspace_id,
            import_id,
            RECEIVING,
            created_by,
        )


async def is_receiving(
    conn: Conn, workspace_id: str, import_id: str, received_for_s: float = 0
) -> bool:
    """Whether the file of a job is being received, for at least so many seconds; locks the job."""
    found = await conn.fetchval(
        """
        SELECT true FROM imports
         WHERE workspace_id = $1 AND id = $2 AND status = $3
           AND created_at <= now() - make_interval(secs => $4)
           FOR UPDATE
        """,
        workspace_id,
        import_id,
        RECEIVING,
        received_for_s,
    )
    return found is not None


async def insert_chunk(
    conn: Conn, workspace_id: str, import_id: str, part: int, number: int, data: bytes
) -> None:
    """The next piece of a file; a piece of the same number was made of the same bytes."""
    await conn.execute(
        """
        INSERT INTO import_chunks (workspace_id, import_id, part, number, data)
        VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (workspace_id, import_id, part, number)
            DO UPDATE SET data = excluded.data
        """,
        workspace_id,
        import_id,
        part,
        number,
        data,
    )


async def begin(
    conn: Conn,
    workspace_id: str,
    import_id: str,
    *,
    kind: str,
    file_name: str | None,
    file_size: int,
    settings: Mapping[str, Any],
    identity: Mapping[str, Any],
    position: Mapping[str, Any],
    total: int | None,
    warnings: Sequence[str],
    traceparent: str | None,
) -> None:
    """The file is there: the job waits for its first turn."""
    await conn.execute(
        """
        UPDATE imports
           SET status = 'queued', format = $3, file_name = $4, file_size = $5, settings = $6,
               identity = $7, position = $8, total = $9, warnings = $10, traceparent = $11
         WHERE workspace_id = $1 AND id = $2
        """,
        workspace_id,
        import_id,
        kind,
        file_name,
        file_size,
        dict(settings),
        dict(identity),
        dict(position),
        total,
        list(warnings),
        traceparent,
    )


async def find(
    conn: Conn, workspace_id: str, import_id: str, *, lock: bool = False
) -> ImportJob | None:
    """The job, unless its file is still being received."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM imports
         WHERE workspace_id = $1 AND id = $2 AND status <> $3
         {"FOR NO KEY UPDATE" if lock else ""}
        """,  # noqa: S608 - constants
        workspace_id,
        import_id,
        RECEIVING,
    )
    return None if row is None else _job(row)


async def lock_lanes(conn: Conn, workspace_id: str) -> None:
    """Until the end of the transaction, nobody else decides which imports have turns."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('imports ' || $1, 0))", workspace_id
    )


async def count_jobs(
    conn: Conn, workspace_id: str, kind: str, *, other_than: str | None = None
) -> int:
    """How many background jobs of this kind there are, without that of one import."""
    found: int = await conn.fetchval(
        """
        SELECT count(*) FROM jobs
         WHERE workspace_id = $1 AND kind = $2 AND key IS DISTINCT FROM $3::text
        """,
        workspace_id,
        kind,
        other_than,
    )
    return found


async def waiting(conn: Conn, workspace_id: str, kind: str, *, imports_max: int) -> list[str]:
    """The oldest imports that are `queued` and have no background job of this kind."""
    rows = await conn.fetch(
        """
        SELECT id FROM imports i
         WHERE workspace_id = $1 AND status = 'queued'
           AND NOT EXISTS (SELECT FROM jobs j
                            WHERE j.workspace_id = $1 AND j.kind = $2 AND j.key = i.id)
         ORDER BY created_at, id
         LIMIT $3
        """,
        workspace_id,
        kind,
        imports_max,
    )
    return [row["id"] for row in rows]


async def waiting_beside_free_lanes(
    conn: Conn, kind: str, *, lanes: int, workspaces_max: int
) -> list[str]:
    """Workspaces with fewer jobs of this kind than lanes, and an import that waits for one."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT workspace_id FROM imports i
         WHERE status = 'queued'
           AND NOT EXISTS (SELECT FROM jobs j
                            WHERE j.workspace_id = i.workspace_id AND j.kind = $1 AND j.key = i.id)
           AND (SELECT count(*) FROM jobs j
                 WHERE j.workspace_id = i.workspace_id AND j.kind = $1) < $2
         LIMIT $3
        """,
        kind,
        lanes,
        workspaces_max,
    )
    return [row["workspace_id"] for row in rows]


async def has_file(conn: Conn, workspace_id: str, import_id: str) -> bool:
    """Whether the file of a job is still kept."""
    kept: bool | None = await conn.fetchval(
        "SELECT has_file FROM imports WHERE workspace_id = $1 AND id = $2", workspace_id, import_id
    )
    return bool(kept)


async def page(
    conn: Conn, workspace_id: str, *, created_by: str | None, place: Place
) -> tuple[list[ImportJob], Part[Record], Total | None]:
    """The jobs of a workspace, newest first; all, or those of one user."""
    source = "imports WHERE workspace_id = $1 AND status <> 'receiving'"
    arguments: list[Any] = [workspace_id]
    if created_by is not None:
        arguments.append(created_by)
        source += " AND created_by = $2"
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


async def read(
    conn: Conn, workspace_id: str, import_id: str, part: int, offset: int, length: int
) -> bytes:
    """Some bytes of a file, fewer at its end."""
    first, last = offset // CHUNK_BYTES, (offset + length - 1) // CHUNK_BYTES
    rows = await conn.fetch(
        """
        SELECT substring(data FROM greatest(1, $6 - number * $7 + 1)::int
                              FOR greatest(0, least($7, $6 + $8 - number * $7)
                                              - greatest(0, $6 - number * $7))::int) AS data
          FROM import_chunks
         WHERE workspace_id = $1 AND import_id = $2 AND part = $3 AND number BETWEEN $4 AND $5
         ORDER BY number
        """,
        workspace_id,
        import_id,
        part,
        first,
        last,
        offset,
        CHUNK_BYTES,
        length,
    )
    return b"".join(row["data"] for row in rows)


async def save(conn: Conn, job: ImportJob) -> None:
    """Where the job is; in the transaction of what it has written."""
    await conn.execute(
        """
        UPDATE imports
           SET status = $3, position = $4, total = $5, created = $6, updated = $7, unchanged = $8,
               skipped = $9, failed = $10, warnings = $11, error = $12,
               identity = $13, started_at = $14, completed_at = $15
         WHERE workspace_id = $1 AND id = $2
        """,
        job.workspace_id,
        job.id,
        job.status,
        job.position,
        job.total,
        job.created,
        job.updated,
        job.unchanged,
        job.skipped,
        job.failed,
        job.warnings,
        job.error,
        job.identity,
        job.started_at,
        job.completed_at,
    )


async def expired(conn: Conn, *, kept_days: float, jobs_max: int) -> list[tuple[str, str]]:
    """Jobs of all workspaces whose file is no longer kept, and uploads that were broken off."""
    rows = await conn.fetch(
        """
        SELECT workspace_id, id FROM imports
         WHERE (completed_at < now() - make_interval(secs => $1 * 86400) AND has_file)
            OR (status = 'receiving' AND created_at < now() - interval '1 hour')
         LIMIT $2
        """,
        kept_days,
        jobs_max,
    )
    return [(row["workspace_id"], row["id"]) for row in rows]


async def delete_file(conn: Conn, workspace_id: str, import_id: str, *, chunks_max: int) -> bool:
    """Delete some of the file of a job; whether nothing of it is left. Such a job stays."""
    deleted = await conn.execute(
        """
        DELETE FROM import_chunks
         WHERE workspace_id = $1 AND import_id = $2
           AND (part, number) IN (SELECT part, number FROM import_chunks
                                   WHERE workspace_id = $1 AND import_id = $2
                                   ORDER BY part, number
                                   LIMIT $3::bigint)
        """,
        workspace_id,
        import_id,
        chunks_max,
    )
    if deleted == f"DELETE {chunks_max}":
        return False
    await conn.execute(
        """
        UPDATE imports SET has_file = false
         WHERE workspace_id = $1 AND id = $2 AND status <> 'receiving'
        """,
        workspace_id,
        import_id,
    )
    await conn.execute(
        "DELETE FROM imports WHERE workspace_id = $1 AND id = $2 AND status = 'receiving'",
        workspace_id,
        import_id,
    )
    return True


def _job(row: Any) -> ImportJob:
    return ImportJob(**{name: row[name] for name in ImportJob.__dataclass_fields__})
