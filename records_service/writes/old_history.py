"""The SQL that removes what is old from the history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.database import Conn

ROWS_MAX: Final = 2_000
STORED_BYTES_MAX: Final = 8 << 20
"""Of the changes as they are stored, compressed: each 2 kB of a large one is a row as well."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one statement has removed, and whether nothing is left to remove."""

    removed: int
    is_last: bool


async def remove(
    conn: Conn,
    workspace_id: str,
    *,
    before: datetime,
    until: int | None,
    rows_max: int = ROWS_MAX,
    stored_bytes_max: int = STORED_BYTES_MAX,
) -> Step:
    """Remove the oldest entries of a workspace: earlier than `before`, with ids up to `until`.

    One entry is removed however large it is.
    """
    row = await conn.fetchrow(
        """
        WITH oldest AS MATERIALIZED (
            SELECT at, version, id, pg_column_size(changes) AS bytes
              FROM audit
             WHERE workspace_id = $1 AND at < $2 AND ($3::bigint IS NULL OR id <= $3)
             ORDER BY at, version NULLS FIRST, id
             LIMIT $4
        ), chosen AS (
            SELECT at, id, bytes, sum(bytes) OVER (ORDER BY at, version NULLS FIRST, id) AS so_far
              FROM oldest
        ), removed AS (
            DELETE FROM audit a
             USING chosen c
             WHERE a.workspace_id = $1 AND a.id = c.id AND a.at = c.at AND a.at < $2
               AND (c.so_far <= $5 OR c.so_far = c.bytes)
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM oldest) AS found, (SELECT count(*) FROM removed) AS removed
        """,
        workspace_id,
        before,
        until,
        rows_max,
        stored_bytes_max,
    )
    assert row is not None
    return Step(row["removed"], row["found"] == row["removed"] < rows_max)
