"""How many records of a schema there are, counted once as long as none comes or goes.

Each create and each delete changes a row of the counter of the record limit in its own statement
(docs/adr/0003). So two snapshots of the database in which all rows of that counter were written by
the same transactions have the same records, and as a record never changes its schema, the same
number of records of each. The statement that reads a page compares, and counts only if it must.

What somebody changes with SQL of their own is noticed too, after `KEPT_S`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from aiohttp import web

KEPT_S: Final = 2.0
KEPT_MAX: Final = 10_000

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted when the counter had this state, and PostgreSQL's estimate beyond that."""

    state: int
    counted: int
    estimate: int = 0


class Counts:
    """The counts that this process has by workspace and schema; the oldest are dropped first."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, tuple[float, Count]] = OrderedDict()

    def find(self, workspace_id: str, schema_id: str) -> Count | None:
        """The count that may still hold."""
        until, count = self._known.get((workspace_id, schema_id), (0.0, None))
        return count if asyncio.get_running_loop().time() < until else None

    def keep(self, workspace_id: str, schema_id: str, count: Count) -> None:
        """Remember a count that was just made."""
        key = (workspace_id, schema_id)
        self._known.pop(key, None)
        self._known[key] = (asyncio.get_running_loop().time() + KEPT_S, count)
        if len(self._known) > KEPT_MAX:
            self._known.popitem(last=False)


COUNTS: Final = web.AppKey("record_counts", Counts)
