"""SQL: where the feed of a workspace begins and ends, and which positions are in it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from shared.database import Conn, Database


async def last_position(conn: Conn, workspace_id: str) -> int:
    """The position of the last event of a workspace, also if that was removed."""
    position: int = await conn.fetchval(
        """
        SELECT greatest((SELECT max(position) FROM feed WHERE workspace_id = $1),
                        (SELECT until FROM feed_removed WHERE workspace_id = $1), 0)
        """,
        workspace_id,
    )
    return position


async def last_positions(database: Database, workspace_ids: Collection[str]) -> dict[str, int]:
    """Workspace -> the position of its last event, of those that have one."""
    rows = await database.fetch(
        """
        SELECT asked.workspace_id, last.position
          FROM unnest($1::text[]) AS asked (workspace_id)
         CROSS JOIN LATERAL (SELECT f.position FROM feed f
                              WHERE f.workspace_id = asked.workspace_id
                              ORDER BY f.position DESC LIMIT 1) AS last
        """,
        list(workspace_ids),
    )
    return {row["workspace_id"]: row["position"] for row in rows}


async def last_known(conn: Conn, workspace_id: str, position: int) -> int:
    """Where to go on instead of a position that is not there: behind what is known before it."""
    known: int = await conn.fetchval(
        """
        SELECT greatest((SELECT position FROM feed WHERE workspace_id = $1 AND position <= $2
                          ORDER BY position DESC LIMIT 1),
                        (SELECT until FROM feed_removed WHERE workspace_id = $1), 0)
        """,
        workspace_id,
        position,
    )
    return known


async def ends(conn: Conn, workspace_id: str) -> tuple[int, int]:
    """The position up to which events of a workspace have been removed, and its last."""
    removed: int = await conn.fetchval(
        """
        SELECT coalesce((SELECT until FROM feed_removed WHERE workspace_id = $1), 0)
        """,
        workspace_id,
    )
    return removed, await last_position(conn, workspace_id)


async def position_at(conn: Conn, workspace_id: str, since: datetime) -> tuple[int, bool]:
    """The position before the first event that was placed after a time.

    And whether all that came after it is still there. Events are placed in the order of their
    positions, so the place is found by halving.
    """
    low, high = await ends(conn, workspace_id)
    removed, is_whole = low, low == 0
    while low < high:
        middle = (low + high) // 2
        row = await conn.fetchrow(
            """
            SELECT position, placed_at <= $3 AS is_before FROM feed
             WHERE workspace_id = $1 AND position > $2
             ORDER BY position LIMIT 1
            """,
            workspace_id,
            middle,
            since,
        )
        if row is not None and row["is_before"]:
            low, is_whole = row["position"], True
        else:
            high = middle
    return (low, is_whole) if is_whole else (removed, False)


async def last_changes(conn: Conn, after: str, limit: int) -> list[tuple[str, datetime | None]]:
    """Workspaces behind this one, each with the time of the last event that it still has."""
    rows = await conn.fetch(
        """
        SELECT m.workspace_id, greatest(placed.at, staged.at) AS at
          FROM models m
          LEFT JOIN LATERAL (SELECT f.placed_at AS at FROM feed f
                              WHERE f.workspace_id = m.workspace_id
                              ORDER BY f.position DESC LIMIT 1) AS placed ON true
          LEFT JOIN LATERAL (SELECT max(o.staged_at) AS at FROM outbox o
                              WHERE o.workspace_id = m.workspace_id) AS staged ON true
         WHERE m.workspace_id > $1
         ORDER BY m.workspace_id
         LIMIT $2
        """,
        after,
        limit,
    )
    return [(row["workspace_id"], row["at"]) for row in rows]
