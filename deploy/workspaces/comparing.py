"""Compares what two databases have of a workspace: rows and a checksum of each table."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from deploy.workspaces.databases import Failed, quoted
from shared.database.connection import Conn


@dataclass(frozen=True, slots=True)
class Content:
    """What a table has: how many rows, and the sum of their hashes."""

    rows: int
    checksum: str


async def contents(conn: Conn, tables: Iterable[str], workspace_id: str) -> dict[str, Content]:
    """Table -> what it has of this workspace."""
    found = {}
    for table in tables:
        row = await conn.fetchrow(
            f"""
            SELECT count(*) AS rows, coalesce(sum(hashtextextended(each::text, 0)), 0)::text AS sum
              FROM {table} AS each WHERE workspace_id = {quoted(workspace_id)}
            """
        )
        assert row is not None
        found[table] = Content(row["rows"], row["sum"])
    return found


async def compare(
    service: str, source: Conn, target: Conn, tables: list[str], workspace_id: str
) -> int:
    """How many rows both have. Raises `Failed`, with the tables that differ."""
    ours, theirs = await asyncio.gather(
        contents(source, tables, workspace_id), contents(target, tables, workspace_id)
    )
    different = [
        f"{table} ({ours[table].rows} and {theirs[table].rows} rows)"
        for table in tables
        if ours[table] != theirs[table]
    ]
    if different:
        raise Failed(f"{service}: source and target differ in {', '.join(different)}")
    return sum(content.rows for content in ours.values())
