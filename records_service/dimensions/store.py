"""SQL: what uses a dimension or one of its segments."""

from __future__ import annotations

from collections.abc import Sequence

from shared.postgres import Conn


async def varying(conn: Conn, workspace_id: str, dimension_id: str) -> list[str]:
    """The attributes that vary by this dimension."""
    rows = await conn.fetch(
        "SELECT id FROM attributes WHERE workspace_id = $1 AND body->'dimensionIds' ? $2",
        workspace_id,
        dimension_id,
    )
    return [row["id"] for row in rows]


async def used_segment(
    conn: Conn, workspace_id: str, dimension_id: str, segment_ids: Sequence[str]
) -> str | None:
    """One of these segments that a stored value's scope names."""
    if not segment_ids:
        return None
    segment: str | None = await conn.fetchval(
        """
        SELECT scope ->> $2
          FROM records r
         CROSS JOIN LATERAL jsonb_path_query(r.values, '$.*[*].scope') AS scope
         WHERE r.workspace_id = $1 AND scope ->> $2 = ANY($3::text[])
         LIMIT 1
        """,
        workspace_id,
        dimension_id,
        list(segment_ids),
    )
    return segment
