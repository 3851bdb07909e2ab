"""SQL: how long each workspace keeps its history, and what must not be removed yet."""

from __future__ import annotations

from datetime import datetime

from records_service.history.retention.model import Retention
from shared.database import Conn, Database


async def find(conn: Conn, workspace_id: str) -> Retention:
    """What the workspace has chosen."""
    row = await conn.fetchrow(
        "SELECT days, updated_at, updated_by FROM history_retentions WHERE workspace_id = $1",
        workspace_id,
    )
    return Retention() if row is None else Retention(**row)


async def save(conn: Conn, workspace_id: str, retention: Retention) -> None:
    """Store what the workspace chooses; the removal is due at once."""
    await conn.execute(
        """
        INSERT INTO history_retentions (workspace_id, days, updated_at, updated_by, due_at)
        VALUES ($1, $2, $3, $4, $3)
            ON CONFLICT (workspace_id)
            DO UPDATE SET days = excluded.days, updated_at = excluded.updated_at,
                          updated_by = excluded.updated_by, due_at = excluded.due_at
        """,
        workspace_id,
        retention.days,
        retention.updated_at,
        retention.updated_by,
    )


async def lock_days(conn: Conn, workspace_id: str) -> int | None:
    """How many days are kept; nobody can choose otherwise until commit."""
    days: int | None = await conn.fetchval(
        "SELECT days FROM history_retentions WHERE workspace_id = $1 FOR NO KEY UPDATE",
        workspace_id,
    )
    return days


async def postpone(conn: Conn, workspace_id: str, due_at: datetime) -> None:
    """Say when the removal is due again."""
    await conn.execute(
        "UPDATE history_retentions SET due_at = $2 WHERE workspace_id = $1", workspace_id, due_at
    )


async def last_removable(conn: Conn, workspace_id: str) -> int | None:
    """The last entry of the history that no job needs; None if no job needs any.

    At their end these jobs read which records have been written since they began.
    """
    last: int | None = await conn.fetchval(
        """
        SELECT min(last_change)
          FROM (SELECT last_change FROM attribute_removals WHERE workspace_id = $1
                 UNION ALL
                SELECT last_change FROM unique_checks WHERE workspace_id = $1
                 UNION ALL
                SELECT last_change FROM conversions WHERE workspace_id = $1) AS job
        """,
        workspace_id,
    )
    return last


async def feed_reads_since(conn: Conn, workspace_id: str) -> datetime | None:
    """When the oldest entry was made that the change feed reads; None if it reads none.

    Only events from before a workspace chose to keep less than the feed does are read from there.
    """
    since: datetime | None = await conn.fetchval(
        """
        SELECT staged_at FROM feed
         WHERE workspace_id = $1 AND document IS NULL
         ORDER BY position LIMIT 1
        """,
        workspace_id,
    )
    return since


async def due(database: Database, job: str, *, now: datetime, rows_max: int) -> list[str]:
    """Workspaces whose removal is due and not under way, those that have waited longest first."""
    rows = await database.fetch(
        """
        SELECT r.workspace_id
          FROM history_retentions r
         WHERE r.days IS NOT NULL AND r.due_at <= $2
           AND NOT EXISTS (SELECT FROM jobs j
                            WHERE j.workspace_id = r.workspace_id AND j.kind = $1)
         ORDER BY r.due_at, r.workspace_id
         LIMIT $3
        """,
        job,
        now,
        rows_max,
    )
    return [row["workspace_id"] for row in rows]
