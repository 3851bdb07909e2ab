"""What statements cost: the pages that they look at."""

from __future__ import annotations

import json
from typing import Any

from shared.database import Conn


class Costed:
    """A connection that counts the pages that its statements look at."""

    def __init__(self, conn: Conn) -> None:
        self._conn = conn
        self.pages = 0

    def is_in_transaction(self) -> bool:
        return True

    async def _cost(self, query: str, *arguments: Any) -> None:
        told = await self._conn.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments
        )
        plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
        self.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    async def fetch(self, query: str, *arguments: Any) -> Any:
        await self._cost(query, *arguments)
        return await self._conn.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        await self._cost(query, *arguments)
        return await self._conn.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        await self._cost(query, *arguments)
        return await self._conn.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> Any:
        await self._cost(query, *arguments)
