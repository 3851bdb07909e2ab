"""The floor for reads: the least that aiohttp and asyncpg can do to answer a record by its key.

python -m benchmarks.floor <database url> <port>
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque

import asyncpg
import uvloop
from aiohttp import web

CONNECTIONS = 16


async def main(url: str, port: int) -> None:
    """Serve `/{workspace}/{id}` until killed; each connection keeps its prepared statement."""
    idle: deque[asyncpg.prepared_stmt.PreparedStatement] = deque()
    for _ in range(CONNECTIONS):
        conn = await asyncpg.connect(url)
        idle.append(
            await conn.prepare(
                "SELECT values::text FROM records WHERE workspace_id = $1 AND id = $2"
            )
        )
    free = asyncio.Semaphore(CONNECTIONS)

    async def read(request: web.Request) -> web.Response:
        async with free:
            statement = idle.pop()
            try:
                values = await statement.fetchval(
                    request.match_info["workspace"], request.match_info["id"]
                )
            finally:
                idle.append(statement)
        return web.Response(body=values.encode(), content_type="application/json")

    app = web.Application()
    app.router.add_get("/{workspace}/{id}", read)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
