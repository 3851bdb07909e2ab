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


class Kept:
    """A connection that plans each statement when it is first sent, and keeps that plan for ever.

    It counts the rows that the parts of the plans look at, those that they leave out included.
    """

    def __init__(self, conn: Conn) -> None:
        self._conn = conn
        self._names: dict[str, str] = {}
        self.rows = 0

    async def fetch(self, query: str, *arguments: Any) -> Any:
        return await self._conn.fetch(await self._counted(query, *arguments))

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        return await self._conn.fetchrow(await self._counted(query, *arguments))

    async def execute(self, query: str, *arguments: Any) -> Any:
        return await self._conn.execute(await self._counted(query, *arguments))

    async def _counted(self, query: str, *arguments: Any) -> str:
        if query not in self._names:
            self._names[query] = f"kept_{len(self._names)}"
            await self._conn.execute("SET plan_cache_mode = force_generic_plan")
            await self._conn.execute(f"PREPARE {self._names[query]} AS {query}")
        sent = ", ".join(_literal(argument) for argument in arguments)
        statement = f"EXECUTE {self._names[query]} ({sent})"
        trial = self._conn.transaction()
        await trial.start()
        told = await self._conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        await trial.rollback()
        self.rows += _rows((json.loads(told) if isinstance(told, str) else told)[0]["Plan"])
        return statement


def _literal(argument: Any) -> str:
    if isinstance(argument, list):
        return "'{" + ",".join(map(str, argument)) + "}'"
    return f"'{argument}'"


def _rows(node: dict[str, Any]) -> int:
    left_out = sum(rows for name, rows in node.items() if name.startswith("Rows Removed"))
    here = (node["Actual Rows"] + left_out) * node["Actual Loops"]
    return int(here) + sum(map(_rows, node.get("Plans", ())))
