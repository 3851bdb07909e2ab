"""What PostgreSQL expects of a workspace that grows in one call, and the room that a call has."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio

from records_service.bulk.work import WAVE_ROWS, transaction
from records_service.writes import statistics
from tests.kit.records_workspace import RecordsWorkspace
from tests.service.records.bulk_calls import bulk, counts, model_apparel, row

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def apparel(workspace: RecordsWorkspace) -> RecordsWorkspace:
    return await model_apparel(workspace)


async def expected(workspace: RecordsWorkspace) -> int:
    """How many records PostgreSQL expects in the workspace."""
    told = await workspace.fetch(
        "EXPLAIN (FORMAT JSON) SELECT id FROM records WHERE workspace_id = $1"
    )
    plan = told[0]["QUERY PLAN"]
    return int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])


async def test_a_workspace_that_grows_in_one_call_is_known(
    apparel: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(statistics, "KNOWN_FROM", 100)
    db = apparel.database
    await db.execute("ALTER TABLE records SET (autovacuum_enabled = false)")
    await db.execute(
        """
        INSERT INTO records (workspace_id, id, schema_id, values, version, created_at, created_by,
                             updated_at, updated_by)
        SELECT 'ws-large', 'ent-' || n, 'schema-1', '{}', 1, now(), 'u', now(), 'u'
          FROM generate_series(1, 20000) AS n
        """
    )
    await db.execute("ANALYZE records")
    assert await expected(apparel) < 10

    rows = [row(f"ent-{n}", sku=f"sku-{n}") for n in range(400)]
    assert counts(await bulk(apparel.admin, *rows)) == {"created": len(rows)}

    assert len(rows) / 3 < await expected(apparel) < len(rows) * 3


async def test_the_records_of_a_wave_are_looked_up(apparel: RecordsWorkspace):
    context = cast(Any, SimpleNamespace(database=apparel.database))
    async with transaction(context) as conn:
        # However dear the planner takes that to be.
        await conn.execute("SET LOCAL random_page_cost = 1000000")
        told = await conn.fetchval(
            """EXPLAIN (FORMAT JSON)
               SELECT r.values || n.changed
                 FROM records r JOIN unnest($2::text[], $3::jsonb[]) AS n (id, changed) USING (id)
                WHERE r.workspace_id = $1""",
            apparel.id,
            ["ent-1"] * WAVE_ROWS,
            [b"{}"] * WAVE_ROWS,
        )

    assert "Seq Scan" not in json.dumps(told)


async def test_the_values_of_a_wave_have_room_in_memory(workspace: RecordsWorkspace):
    context = cast(Any, SimpleNamespace(database=workspace.database))
    async with transaction(context) as conn:
        told = await conn.fetchval(
            """EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
               SELECT n.value FROM unnest($1::text[]) AS n (value)""",
            ["x" * 5_000] * WAVE_ROWS,
        )

    plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
    assert (plan["Actual Rows"], plan["Temp Written Blocks"]) == (WAVE_ROWS, 0)
