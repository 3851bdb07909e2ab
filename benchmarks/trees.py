"""How long a large tree takes to be deleted, and how long others wait meanwhile.

    .venv/bin/python -m benchmarks.trees [categories] [assignments]

Clients change records, delete others that are in the tree, and make categories in another catalog,
each one after the other, until all is removed. Beside the deletion stands what they waited without
any.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from benchmarks.overload import percentile
from tests.kit.eventually import eventually
from tests.kit.servers import Servers
from tests.kit.sigma import Answer, Caller
from tests.kit.stack import Stack
from tests.kit.workspace import Workspace

CATEGORIES, ASSIGNMENTS = 10_000, 100_000
RECORDS = 50_000
CHILDREN = 3
PAUSE_S = 0.01
QUIET_S = 4.0
REMOVED_S = 120.0

Waits = dict[str, list[float]]


async def fill(
    workspace: Workspace, conn: asyncpg.Connection, categories: int, assignments: int
) -> None:
    """Records, and a catalog whose categories have three below them each, and so on."""
    await workspace.attribute("name")
    await workspace.schema("x", ["name"])
    await workspace.catalog("large")
    await workspace.catalog("other")
    await conn.execute(
        """
        INSERT INTO records (workspace_id, id, schema_id, version, values, created_at, updated_at,
                             created_by, updated_by)
        SELECT $1, 'ent-' || n, 'schema-x', 1, '{}',
               now() - interval '1 hour' + n * interval '1 ms', now(), 'user-x', 'user-x'
          FROM generate_series(0, $2::bigint - 1) AS n
        """,
        workspace.id,
        RECORDS,
        timeout=600,
    )
    await conn.execute(
        """
        WITH RECURSIVE placed (n, path) AS (
            SELECT 0::bigint, lpad('0', 5, '0')
             UNION ALL
            SELECT c.n, p.path || lpad(c.n::text, 5, '0')
              FROM placed p, LATERAL generate_series(p.n * $3 + 1, p.n * $3 + $3) AS c (n)
             WHERE c.n < $2
        )
        INSERT INTO categories (workspace_id, id, catalog_id, parent_id, path, body, sort_order,
                                bytes, version, assignments_version, created_at, updated_at)
        SELECT $1, 'ctg-' || n, 'cat-large',
               CASE WHEN n > 0 THEN 'ctg-' || (n - 1) / $3 END, path,
               jsonb_build_object('name', 'Category ' || n), 0, 100, 1, 1, now(), now()
          FROM placed
        """,
        workspace.id,
        categories,
        CHILDREN,
        timeout=600,
    )
    await conn.execute(
        """
        INSERT INTO category_assignments (workspace_id, record_id, category_id, catalog_id,
                                          record_created_at)
        SELECT $1, r.id, 'ctg-' || (n * 7919) % $2::bigint, 'cat-large', r.created_at
          FROM generate_series(0, $3::bigint - 1) AS n
          JOIN records r ON r.workspace_id = $1 AND r.id = 'ent-' || n % $4::bigint
            ON CONFLICT DO NOTHING
        """,
        workspace.id,
        categories,
        assignments,
        RECORDS,
        timeout=600,
    )
    await conn.execute("VACUUM ANALYZE", timeout=600)


async def is_removed(conn: asyncpg.Connection) -> bool:
    """Whether nothing of the tree is left."""
    left = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM category_assignments) OR EXISTS (SELECT FROM jobs)"
    )
    return not left


@asynccontextmanager
async def clients(key: Caller, first: int) -> AsyncIterator[Waits]:
    """Three clients at work; what each waited, in milliseconds.

    Records are deleted from the number `first` on.
    """
    waits: Waits = {}

    async def work(name: str, ask: Callable[[int], Awaitable[Answer]]) -> None:
        took = waits.setdefault(name, [])
        for number in range(10**9):
            began = time.perf_counter()
            (await ask(number)).ok()
            took.append((time.perf_counter() - began) * 1_000)
            await asyncio.sleep(PAUSE_S)

    def change(number: int) -> Awaitable[Answer]:
        path = f"/records/ent-{number * 7 % (RECORDS // 2)}/values/name"
        return key.patch(path, {"scope": {}, "value": f"n{number}"})

    def delete(number: int) -> Awaitable[Answer]:
        return key.delete(f"/records/ent-{first + number}")

    def make(number: int) -> Awaitable[Answer]:
        return key.post("/catalogs/cat-other/categories", {"name": f"Category {number}"})

    works = {"change a record": change, "delete one": delete, "make a category": make}
    tasks = [asyncio.create_task(work(*each)) for each in works.items()]
    try:
        yield waits
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def show(what: str, waits: Waits) -> None:
    parts = (
        f"{name} p50 {percentile(took, 0.5):.0f}, max {max(took):.0f} ms ({len(took)})"
        for name, took in waits.items()
    )
    print(f"{what:12} {'; '.join(parts)}", flush=True)


async def measure(categories: int, assignments: int) -> None:
    servers = Servers(own=True)
    stack = await asyncio.to_thread(Stack, servers, Path(tempfile.mkdtemp(prefix="bench-")))
    try:
        await asyncio.to_thread(stack.wait_ready)
        async with stack.lent():
            workspace = await stack.workspace(record_limit=10_000_000)
            conn = await asyncpg.connect(stack.databases["records_service"])
            await fill(workspace, conn, categories, assignments)
            key = await workspace.api_key()
            async with clients(key, RECORDS // 2) as waits:
                await asyncio.sleep(QUIET_S)
            show("(nothing)", waits)
            async with clients(key, RECORDS * 3 // 4) as waits:
                await asyncio.sleep(0.5)
                began = time.perf_counter()
                answer = await key.delete("/catalogs/cat-large")
                took = time.perf_counter() - began
                await eventually(lambda: is_removed(conn), within_s=REMOVED_S)
                removed = time.perf_counter() - began
                await asyncio.sleep(1.0)
            show("deletion", waits)
            print(f"answered {answer.status} after {took:.2f} s, all removed after {removed:.2f}")
            await conn.close()
    finally:
        await asyncio.to_thread(stack.close)
        await asyncio.to_thread(servers.close)


if __name__ == "__main__":
    asked = [int(each) for each in sys.argv[1:]]
    asyncio.run(measure(*(asked or (CATEGORIES, ASSIGNMENTS))))
