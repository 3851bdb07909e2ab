"""Searches the records of some schemas, and their variants, for a value that forbids a change.

The search index tells it of filterable attributes (`value_index`). One over all values would be
paid for by every write of a record. So where no index tells, the records are read, but only those
of the schemas that may hold it, a few thousand at a time and for a limited time.

The model lock would keep all writers of the workspace waiting meanwhile. Therefore all records are
searched before it is taken, and under it only those that have changed since (docs/adr/0028).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from records_service.model_objects import search_store as store
from records_service.model_objects.search_store import Hit, Search, ValueTable
from records_service.model_objects.value_index import ValueIndex
from shared.database import Conn
from shared.database.listing import Position
from shared.errors import UpstreamTimeout

SEARCHED_AT_ONCE: Final = 5_000
SEARCHING_S_MAX: Final = 20
"""Less than a request may take."""
CLOCKS_DIFFER: Final = timedelta(minutes=10)
"""How far apart the clocks of two processes are at most."""
WRITTEN_MAX: Final = 2_000
"""If more was written since an attribute was created, the records of its schemas are searched."""
CHANGED_MAX: Final = 10_000
"""If more has changed since, all records are searched again."""


Places: TypeAlias = Sequence[tuple[ValueTable, str]]
"""Tables, and the schemas of which their rows are searched."""


@dataclass(frozen=True, slots=True)
class _Searched:
    places: Places
    search: Search
    last_change: int


class Searcher:
    """Asks the same question twice: before the model lock is taken, and under it."""

    def __init__(self, index: ValueIndex | None = None) -> None:
        """`index` answers what need not be searched for."""
        self.index = index
        self._searched: _Searched | None = None

    async def first_found(
        self,
        conn: Conn,
        workspace_id: str,
        places: Places,
        search: Search,
        *,
        since: datetime | None = None,
    ) -> str | None:
        """Return what the search finds first, or None if no record has it.

        `since` is a time before which nothing was written that it could find.

        Outside a transaction this is the question before the lock, inside it is the one under it.
        Raises `UpstreamTimeout` if there are too many records.
        """
        hit = await self.first_hit(conn, workspace_id, places, search, since=since)
        return None if hit is None else hit.found

    async def first_hit(
        self,
        conn: Conn,
        workspace_id: str,
        places: Places,
        search: Search,
        *,
        since: datetime | None = None,
    ) -> Hit | None:
        """As `first_found`, with the record or variant that has it."""
        if not places:
            return None
        if not conn.is_in_transaction():
            last_change = await store.last_change(conn, workspace_id)
            found = await _search_all(conn, workspace_id, places, search, since)
            self._searched = _Searched(places, search, last_change)
            return found
        before = self._searched
        # The model may have changed in between, and with it what there is to search for and where.
        if before is not None and (before.places, before.search) == (places, search):
            changed = await store.changed_since(
                conn, workspace_id, before.last_change, rows_max=CHANGED_MAX
            )
            if changed is not None:
                for table, ids in changed.items():
                    hit = await store.search_these(conn, workspace_id, table, ids, search)
                    if hit is not None:
                        return hit
                return None
        return await _search_all(conn, workspace_id, places, search, since)


async def _search_all(
    conn: Conn, workspace_id: str, places: Places, search: Search, since: datetime | None
) -> Hit | None:
    deadline = time.monotonic() + SEARCHING_S_MAX
    if since is not None:
        schema_ids = [schema_id for table, schema_id in places if table == "records"]
        written = await store.written_since(
            conn, workspace_id, schema_ids, since - CLOCKS_DIFFER, rows_max=WRITTEN_MAX
        )
        if written is not None:
            hit = await store.search_these(conn, workspace_id, "records", written, search)
            if hit is not None:
                return hit
            places = [(table, schema_id) for table, schema_id in places if table != "records"]
    for table, schema_id in places:
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
