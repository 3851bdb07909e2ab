"""The floor for lists: what asyncpg alone reads of the same fifty rows.

python -m benchmarks.rows <database url> <workspace> <clients> <seconds>

One process with one connection and one prepared statement for each client. It prints how many times
a second it read the rows, and the median and the 99th percentile in milliseconds.
"""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

import asyncpg
import uvloop

STATEMENT = """
    SELECT id, schema_id, state_id, version, values, created_at, updated_at, created_by, updated_by
      FROM records
     WHERE workspace_id = $1 AND schema_id = $2
     ORDER BY created_at, id
     LIMIT 50
"""
SCHEMA = "schema-bench"


async def main(url: str, workspace: str, clients: int, seconds: float) -> None:
    """Read for so many seconds."""
    took: list[float] = []
    connections = [await asyncpg.connect(url) for _ in range(clients)]
    end = perf_counter() + seconds

    async def read(conn: asyncpg.Connection) -> None:
        statement = await conn.prepare(STATEMENT)
        begun = perf_counter()
        while begun < end:
            assert await statement.fetch(workspace, SCHEMA)
            now = perf_counter()
            took.append(now - begun)
            begun = now

    await asyncio.gather(*map(read, connections))
    took.sort()
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(f"{len(took) / seconds} {1000 * p50} {1000 * p99}")


if __name__ == "__main__":
    url, workspace, clients, seconds = sys.argv[1:]
    uvloop.run(main(url, workspace, int(clients), float(seconds)))
