"""Lets PostgreSQL know of a workspace that grows (docs/adr/0092)."""

from __future__ import annotations

from typing import Final

from shared.database import Database

KNOWN_FROM: Final = 1_024
"""A workspace with fewer records is read as fast with any plan."""
_COUNTED: Final = {
    "records": "workspace_id, id, schema_id, state_id, created_at, updated_at, external_key",
    "record_lives": "workspace_id, record_id",
    "unique_values": "workspace_id, attribute_id, scope, value_hash, record_id",
    "search_records": "workspace_id, created_at, record_id, schema_id, state_id, bucket",
    "search_numbers": "workspace_id, created_at, record_id, attribute_key, number",
}
"""The columns by which rows are found. PostgreSQL looks at the values and the terms by itself."""


async def analyze_grown(database: Database, workspace_id: str, created: int) -> None:
    """Analyse what a bulk write has filled, if the workspace has grown fourfold by it.

    `created` is how many records it has just created. PostgreSQL does it by itself, but a minute
    later or more: until then it may expect one record of the workspace where there are 50,000, and
    read them all to find a thousand. Of a table that is not ours, it only warns.
    """
    async with database.acquire() as conn:
        records: int = await conn.fetchval(
            "SELECT coalesce(sum(records), 0)::bigint FROM usage WHERE workspace_id = $1",
            workspace_id,
        )
        if records < KNOWN_FROM or _magnitude(records - created) == _magnitude(records):
            return
        # What somebody else analyses or vacuums at this moment is known soon.
        tables = ", ".join(f"{table} ({columns})" for table, columns in _COUNTED.items())
        await conn.execute(f"ANALYZE (SKIP_LOCKED) {tables}")


def _magnitude(records: int) -> int:
    """How often that is four times something."""
    return (records.bit_length() + 1) // 2
