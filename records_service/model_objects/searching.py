"""Searches the records of some schemas, and their variants, for a value that forbids a change.

No index answers whether any record holds some value: one over all values would be paid for by every
write of a record. So the records are read, but only those of the schemas that may hold it, a few
thousand at a time and for a limited time.

The model lock would keep all writers of the workspace waiting meanwhile. Therefore all records are
searched before it is taken, and under it only those that have changed since (docs/adr/0028).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from records_service.model_objects import search_store as store
from records_service.model_objects.search_store import VALUE_TABLES, Search
from shared.database import Conn
from shared.database.listing import Position
from shared.errors import UpstreamTimeout

SEARCHED_AT_ONCE: Final = 5_000
SEARCHING_S_MAX: Final = 20
"""Less than a request may take."""
CHANGED_MAX: Final = 10_000
"""If more has changed since, all records are searched again."""


@dataclass(frozen=True, slots=True)
class _Searched:
    schema_ids: Sequence[str]
    search: Search
    last_change: int


class Searcher:
    """Asks the same question twice: before the model lock is taken, and under it."""

    def __init__(self) -> None:
        self._searched: _Searched | None = None

    async def first_found(
        self, conn: Conn, workspace_id: str, schema_ids: Sequence[str], search: Search
    ) -> str | None:
        """Return what the search finds first, or None if no record has it.

        Outside a transaction this is the question before the lock, inside it is the one under it.
        Raises `UpstreamTimeout` if there are too many records.
        """
        if not schema_ids:
            return None
        if not conn.is_in_transaction():
            last_change = await store.last_change(conn, workspace_id)
            found = await _search_all(conn, workspace_id, schema_ids, search)
            self._searched = _Searched(schema_ids, search, last_change)
            return found
        before = self._searched
        # The model may have changed in between, and with it what there is to search for and where.
        if before is not None and (before.schema_ids, before.search) == (schema_ids, search):
            changed = await store.changed_since(
                conn, workspace_id, before.last_change, rows_max=CHANGED_MAX
            )
            if changed is not None:
                for table, ids in changed.items():
                    hit = await store.search_these(conn, workspace_id, table, ids, search)
                    if hit is not None:
                        return hit
                return None
        return await _search_all(conn, workspace_id, schema_ids, search)


async def _search_all(
    conn: Conn, workspace_id: str, schema_ids: Sequence[str], search: Search
) -> str | None:
    deadline = time.monotonic() + SEARCHING_S_MAX
    for table, schema_id in product(VALUE_TABLES, schema_ids):
        after: Position | None = None
        while True:
            if time.monotonic() > deadline:
                raise UpstreamTimeout(
                    "There are too many records to find out within"
                    f" {SEARCHING_S_MAX} seconds whether one of them stands against this change,"
                    " so nothing was changed; retrying does not help"
                )
            found, after = await store.search_some(
                conn, workspace_id, table, schema_id, search, after, rows_max=SEARCHED_AT_ONCE
            )
            if found is not None:
                return found
            if after is None:
                break
    return None
