"""What a slice of a job reads of reserved values does not depend on how many there are.

PostgreSQL has no statistics of rows that a job has just written, and took them for few.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import pytest

from records_service.attributes.unique_keys import UniqueKey
from records_service.writes import stored_claims
from tests.kit.records_workspace import RecordsWorkspace
from tests.service.records.test_model_growth import Costed

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 20_000
SOME = 50
PAGES_MAX = 2_000
"""A look-up of one value takes some five pages."""

OWN = [f"ent-{n}" for n in range(0, MANY, MANY // SOME)]
KEYS = [
    ((one, None), UniqueKey("attr-sku", "{}", sha256(one.encode()).digest(), one)) for one in OWN
]

SLICES: dict[str, Callable[[Any, str], Awaitable[object]]] = {
    "reserve what is reserved": lambda conn, ws: stored_claims.claim(conn, ws, "attr-sku", KEYS),
    "release what is not held": lambda conn, ws: stored_claims.release_others(
        conn, ws, "attr-sku", KEYS, OWN, []
    ),
    "release some": lambda conn, ws: stored_claims.release_some(
        conn, ws, "attr-sku", rows_max=SOME
    ),
}


@pytest.mark.parametrize("of", SLICES)
async def test_a_slice_looks_at_its_own_values_only(workspace: RecordsWorkspace, of: str):
    await workspace.attribute("sku")
    async with workspace.database.transaction() as conn:
        await conn.execute(
            """
            INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id)
            SELECT $1, 'attr-sku', '{}', sha256(convert_to('ent-' || n, 'UTF8')), 'ent-' || n
              FROM generate_series(0, $2::bigint - 1) AS n
            """,
            workspace.id,
            MANY,
        )
        costed = Costed(conn)
        await SLICES[of](costed, workspace.id)
        left = await conn.fetchval(
            "SELECT count(*) FROM unique_values WHERE workspace_id = $1", workspace.id
        )
    assert costed.pages < PAGES_MAX
    assert MANY - 2 * SOME <= left <= MANY
