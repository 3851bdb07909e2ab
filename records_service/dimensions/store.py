"""Asks who uses a dimension or one of its segments."""

from __future__ import annotations

from collections.abc import Sequence

from shared.postgres import Conn


async def is_used(conn: Conn, workspace_id: str, dimension_id: str) -> bool:
    """Whether an attribute varies by this dimension."""
    used: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM attributes
                        WHERE workspace_id = $1
                          AND body->'dimensionIds' ? $2)
        """,
        workspace_id,
        dimension_id,
    )
    return used


async def used_segment(
    conn: Conn, workspace_id: str, dimension_id: str, segment_ids: Sequence[str]
) -> str | None:
    """One of these segments that a stored value's scope names."""
    segment: str | None = await conn.fetchval(
        """
        SELECT asked.segment_id
          FROM unnest($3::text[]) AS asked (segment_id)
         WHERE EXISTS (SELECT FROM records r
                        WHERE r.workspace_id = $1
                          AND jsonb_path_exists(
                                r.values,
                                '$.*[*].scope.keyvalue() ? (@.key == $dim && @.value == $seg)',
                                jsonb_build_object('dim', $2::text, 'seg', asked.segment_id)))
         LIMIT 1
        """,
        workspace_id,
        dimension_id,
        list(segment_ids),
    )
    return segment
