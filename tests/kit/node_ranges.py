"""Sequences as the nodes of a distributed PostgreSQL draw from them: each in its own range."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from shared.database import Database

RANGE_BITS: Final = 48
"""Citus gives a node the numbers from its group's id shifted by this many bits."""


class NodeRanges:
    """`await ranges.draw_on(2)`: the next ids of these tables come from the range of node 2."""

    def __init__(self, database: Database, *tables: str) -> None:
        self._database = database
        self._tables = tables
        self._node = 0
        self._last: dict[tuple[str, int], int] = defaultdict(int)

    async def draw_on(self, node: int) -> None:
        """Go on where this node has stopped."""
        for table in self._tables:
            sequence = f"{table}_id_seq"
            self._last[table, self._node] = await self._database.fetchval(
                f"SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
                f" FROM {sequence}"
            )
            after = self._last[table, node] or node << RANGE_BITS
            await self._database.execute(f"ALTER SEQUENCE {sequence} RESTART WITH {after + 1}")
        self._node = node
