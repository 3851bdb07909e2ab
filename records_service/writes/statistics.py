"""Lets PostgreSQL know of a workspace that grows (docs/adr/0092)."""

from __future__ import annotations

from typing import Final

from shared.database import Database

KNOWN_FROM: Final = 1_024
"""A workspace with fewer records is read as fast with any plan."""
_COUNTED: Final = (
    "records",
    "record_lives",
    "unique_values",
    "search_records",
    "search_numbers",
)


async def analyze_grown(database: Database, workspace_id: str, created: int) -> None:
    """Analyse what a bulk write has filled, if the workspace has twice as many records by it.

    `created` is how many records it has just created. PostgreSQL does it by itself, but a minute
    later or more: until then it may expect one record of the workspace where there are 50,000, and
    read them all to find a thousand. Of a table that is not ours, it only warns.
    """
    async with database.acquire() as conn:
        records: int = await conn.fetchval(
            "SELECT coalesce(sum(records), 0)::bigint FROM usage WHERE workspace_id = $1",
            workspace_id,
        )
        if records < KNOWN_FROM or (records - created).bit_length() == records.bit_length():
            return
        # What somebody else analyses or vacuums at this moment is known soon.
        await conn.execute(f"ANALYZE (SKIP_LOCKED) {', '.join(_COUNTED)}")
