"""What a slice looks up beside many rows, in a workspace of which PostgreSQL knows nothing yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from records_service.search_index import store
from records_service.search_index.parts import Held
from records_service.search_scores.store import VIEW_TABLES, remove_others
from shared.database import Database
from tests.kit.records_workspace import RecordsWorkspace
from tests.service.records.costed import Costed

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGE, MANY, FEW = 10_000, 4_000, 8
PAGES_EACH = 8
"""Three levels of an index and a row, and some of what an index has grown by."""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = {
    "search_records": ("terms", "'{}'"),
    "search_numbers": ("attribute_key, entry, number", "1, 0, n"),
    "search_scores": ("view, score", "v, 50"),
    "search_sorts": ("view, number, text", "v, n, ''"),
}


@pytest.fixture(scope="module")
def moments() -> list[datetime]:
    return [BEGAN + timedelta(seconds=n) for n in range(0, MANY, MANY // FEW)]


async def fill(database: Database, workspace_id: str, records: int) -> None:
    """So many records in each table, where there are views in two of them."""
    for table, (names, values) in ROWS.items():
        views = ", generate_series(1, 2) AS v" if table in VIEW_TABLES else ""
        await database.execute(
            f"""
            INSERT INTO {table} (workspace_id, created_at, record_id, schema_id, bucket, {names})
            SELECT $1, $2::timestamptz + n * interval '1 s', 'ent-' || n, 'schema-x', n % 64,
                   {values}
              FROM generate_series(0, $3::bigint - 1) AS n{views}
            """,
            workspace_id,
            BEGAN,
            records,
        )


async def test_it_looks_at_the_rows_of_its_records_alone(
    workspace: RecordsWorkspace, moments: list[datetime]
):
    database = workspace.database
    for table in ROWS:
        await database.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    await fill(database, "ws-large", LARGE)
    await database.execute(f"ANALYZE {', '.join(ROWS)}")
    await fill(database, workspace.id, MANY)

    async with database.transaction() as conn:
        costed: Any = Costed(conn)
        records = [
            (f"ent-{n}", at) for n, at in zip(range(0, MANY, MANY // FEW), moments, strict=True)
        ]
        held = [Held(at, record_id, "schema-x", None) for record_id, at in records]
        known = await store.entered(costed, workspace.id, held)
        assert [each.numbers[0][2] for each in known.values()] == list(range(0, MANY, MANY // FEW))
        for table in VIEW_TABLES:
            await remove_others(costed, workspace.id, records, [1, 2], table=table)
        assert costed.pages < 4 * FEW * PAGES_EACH

        for table in VIEW_TABLES:
            await remove_others(costed, workspace.id, records, [2], table=table)
            assert await views_left(conn, workspace.id, table) == {1: MANY - FEW, 2: MANY}


async def views_left(conn: Any, workspace_id: str, table: str) -> dict[int, int]:
    """How many rows of each view there are."""
    rows = await conn.fetch(
        f"SELECT view, count(*) AS rows FROM {table} WHERE workspace_id = $1 GROUP BY view",
        workspace_id,
    )
    return {row["view"]: row["rows"] for row in rows}
