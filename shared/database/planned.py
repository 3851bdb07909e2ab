"""SELECTs that are planned with their arguments each time.

PostgreSQL plans a prepared statement with its arguments five times. Then it takes a generic plan,
if that seems no worse: it does not know then whether a million rows or three meet a condition. So a
statement is prepared anew before that. A text that comes for the first time is not kept: many come
once, and to forget a statement costs a round trip.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

if TYPE_CHECKING:
    from shared.database.connection import Conn

    Statement: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"

TIMES_PLANNED: Final = 5
"""How often PostgreSQL plans a statement with its arguments."""
KEPT_MAX: Final = 16
"""Statements of a connection: each takes memory of the server."""
SEEN_MAX: Final = 256
"""Texts of which is known that they came before."""
OUTDATED: Final = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)


class PlannedStatements:
    """Those of one connection."""

    __slots__ = ("_kept", "_seen")

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Statement, int]] = OrderedDict()
        """Text -> the statement, and how often it may still be executed."""
        self._seen: OrderedDict[int, None] = OrderedDict()

    async def fetch(self, conn: Conn, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        """The rows of a SELECT."""
        statement, times = self._kept.pop(query, (None, 0))
        if statement is None and self._is_seen(query):
            statement, times = await conn.prepare(query), TIMES_PLANNED
        if statement is not None:
            try:
                rows: list[Any] = await statement.fetch(*arguments)
            except OUTDATED:
                # Columns have other types since a migration.
                self._kept.clear()
                if conn.is_in_transaction():
                    raise
            else:
                if times > 1:
                    self._kept[query] = statement, times - 1
                    if len(self._kept) > KEPT_MAX:
                        self._kept.popitem(last=False)
                return rows
        statement = await conn.prepare(query, name="")
        return await statement.fetch(*arguments)

    def _is_seen(self, query: str) -> bool:
        key = hash(query)
        is_seen = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return is_seen
