"""The SQL that reads what has changed since a version of a record or a variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.database import Conn
from shared.database import Record as Row

VERSIONS_MAX: Final = 200
BYTES_MAX: Final = 256 << 10
"""Of the changes as they are stored, compressed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the history."""

    action: str
    changes: Sequence[dict[str, Any]]


async def steps_since(
    conn: Conn,
    workspace_id: str,
    record_id: str,
    variant_id: str | None,
    *,
    after: int,
    until: int,
) -> list[Step] | None:
    """The entries that lead from one version to another, in order.

    None if one of them is missing, because the history has been shortened or the version was never
    there, or if they are too many or too large.
    """
    if until - after > VERSIONS_MAX:
        return None
    if variant_id is None:
        rows = await _of_record(conn, workspace_id, record_id, after, until)
        if [row["version"] for row in rows] != [*range(after + 1, until + 1)]:
            return None
    else:
        rows = await _of_variant(conn, workspace_id, variant_id, until - after)
        if len(rows) != until - after:
            return None
    if any(row["changes"] is None for row in rows):
        return None
    return [Step(row["action"], row["changes"]) for row in rows]


async def _of_record(
    conn: Conn, workspace_id: str, record_id: str, after: int, until: int
) -> Sequence[Row]:
    return await conn.fetch(
        """
        SELECT version, action,
               CASE WHEN sum(pg_column_size(changes)) OVER () <= $5::bigint
                    THEN changes END AS changes
          FROM audit
         WHERE workspace_id = $1 AND record_id = $2 AND variant_id IS NULL
           AND version > $3 AND version <= $4
         ORDER BY version
        """,
        workspace_id,
        record_id,
        after,
        until,
        BYTES_MAX,
    )


async def _of_variant(conn: Conn, workspace_id: str, variant_id: str, count: int) -> Sequence[Row]:
    """The last entries of a variant: they have the version of its record, and each is one of it."""
    return await conn.fetch(
        """
        WITH last AS MATERIALIZED (
            SELECT at, version, id, action, changes
              FROM audit
             WHERE workspace_id = $1 AND variant_id = $2
             ORDER BY at DESC, version DESC NULLS LAST, id DESC
             LIMIT $3
        )
        SELECT action,
               CASE WHEN sum(pg_column_size(changes)) OVER () <= $4::bigint
                    THEN changes END AS changes
          FROM last
         ORDER BY at, version NULLS FIRST, id
        """,
        workspace_id,
        variant_id,
        count,
        BYTES_MAX,
    )
