"""Whether a value is stored: by the marks, and by a search only where they do not tell.

Without a mark there is no value. With one, the record or variant that the mark names is looked at
first: where it has the value still, that is the answer. Otherwise the values may all be gone, and
records are searched, no more than were written since the mark was set if these are few.
"""

from __future__ import annotations

from datetime import datetime

from records_service.model_objects import search_store
from records_service.model_objects.search_store import Hit, Search
from records_service.model_objects.searching import Places, Searcher
from records_service.value_uses import store
from records_service.value_uses.model import Marks, Use
from shared.database import Conn


async def still_held(conn: Conn, workspace_id: str, marks: Marks, search: Search) -> Hit | None:
    """What the search finds in the records and variants that the marks name."""
    for table, ids in marks.witnesses.items():
        hit = await search_store.search_these(conn, workspace_id, table, ids, search)
        if hit is not None:
            return hit
    return None


async def first_used(
    conn: Conn,
    workspace_id: str,
    searcher: Searcher,
    places: Places,
    search: Search,
    marks: Marks | None,
    *,
    dimension_id: str | None = None,
    since: datetime | None = None,
) -> Hit | None:
    """As `Searcher.first_hit`, for a question that these marks are about.

    What is found is a segment of `dimension_id`, or an attribute. Whoever has it is asked first the
    next time.
    """
    if marks is not None and marks.since is not None:
        since = marks.since if since is None else max(since, marks.since)
    hit = await searcher.first_hit(conn, workspace_id, places, search, since=since)
    if hit is None:
        return None
    if marks is not None and not conn.is_in_transaction():
        # Under the lock, what is found ends the transaction.
        use = (
            Use(hit.table, hit.found)
            if dimension_id is None
            else Use(hit.table, "", dimension_id, hit.found)
        )
        among = marks.attribute_ids[hit.table]
        await store.tell_holder(conn, workspace_id, use, among, hit.id)
    return hit
