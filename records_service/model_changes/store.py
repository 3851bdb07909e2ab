"""The SQL that reads records for a change of the model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from shared.database import Conn

BATCH_BYTES_MAX: Final = 4 << 20
_BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)

Position = tuple[datetime, str]
"""Creation time and id of a record."""


async def entries_after(
    conn: Conn, workspace_id: str, attribute_id: str, after: Position | None, *, rows_max: int
) -> tuple[Position | None, str]:
    """What the next records hold of an attribute, as JSON `[[record id, entries], ...]`.

    At most `rows_max` records, those without a value included, and some `BATCH_BYTES_MAX` bytes.
    Beside it, from where to go on; None at the end.
    """
    row = await conn.fetchrow(
        """
        WITH read AS (
            SELECT created_at, id, (values -> $2)::text AS entries
              FROM records
             WHERE workspace_id = $1 AND (created_at, id) > ($3, $4)
             ORDER BY created_at, id
             LIMIT $5
        ), fitting AS (
            SELECT created_at, id, entries,
                   coalesce(sum(octet_length(entries)) OVER (
                       ORDER BY created_at, id
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
              FROM read
        ), batch AS (
            SELECT created_at, id, entries FROM fitting WHERE bytes_before < $6
        )
        SELECT (SELECT '[' || coalesce(string_agg('[' || to_json(id) || ',' || entries || ']', ','),
                                       '') || ']'
                  FROM batch WHERE entries IS NOT NULL) AS held,
               last.created_at, last.id
          FROM (SELECT 1) AS always
          LEFT JOIN LATERAL (
               SELECT created_at, id FROM batch ORDER BY created_at DESC, id DESC LIMIT 1
          ) AS last ON true
        """,
        workspace_id,
        attribute_id,
        *(after or (_BEGINNING, "")),
        rows_max,
        BATCH_BYTES_MAX,
    )
    assert row is not None
    return None if row["id"] is None else (row["created_at"], row["id"]), row["held"]


async def has_records(conn: Conn, workspace_id: str, schema_id: str) -> bool:
    """Whether a record has this schema."""
    held: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM records WHERE workspace_id = $1 AND schema_id = $2)",
        workspace_id,
        schema_id,
    )
    return held
