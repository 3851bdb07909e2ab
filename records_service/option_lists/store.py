"""Asks who uses an option list or one of its values."""

from __future__ import annotations

from collections.abc import Sequence

from shared.postgres import Conn


async def is_used(conn: Conn, workspace_id: str, list_id: str) -> bool:
    """Whether an attribute, or a part of a complex one, chooses from this list."""
    used: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM attributes
                        WHERE workspace_id = $1
                          AND jsonb_path_exists(body, '$.**.optionListId ? (@ == $id)',
                                                jsonb_build_object('id', $2::text)))
        """,
        workspace_id,
        list_id,
    )
    return used


async def used_value(
    conn: Conn, workspace_id: str, list_id: str, value_ids: Sequence[str]
) -> str | None:
    """One of these values that a record has for an attribute with this list."""
    if not value_ids:
        return None
    value: str | None = await conn.fetchval(
        """
        WITH choosing AS (
            SELECT id FROM attributes
             WHERE workspace_id = $1
               AND jsonb_path_exists(body, '$.**.optionListId ? (@ == $id)',
                                     jsonb_build_object('id', $2::text))
        )
        SELECT chosen #>> '{}'
          FROM choosing
          JOIN records r ON r.workspace_id = $1 AND r.values ? choosing.id
         CROSS JOIN LATERAL jsonb_path_query(
                   r.values -> choosing.id, 'strict $[*].value.** ? (@.type() == "string")'
               ) AS chosen
         WHERE chosen #>> '{}' = ANY($3::text[])
         LIMIT 1
        """,
        workspace_id,
        list_id,
        list(value_ids),
    )
    return value
