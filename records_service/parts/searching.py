"""Searches the records of some schemas, a few thousand at a time and for a limited time.

No index answers whether any record holds some value: one over all values would be paid for by every
write of a record. So the records are read, but only those of the schemas that may hold it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from records_service.parts.store import RecordPosition, Search, search_some
from shared.errors import UpstreamTimeout
from shared.postgres import Conn

__all__ = ["Search", "first_found"]

SEARCHED_AT_ONCE: Final = 5_000
SEARCHING_S_MAX: Final = 20
"""Less than a request may take: meanwhile nothing is written in the workspace."""


async def first_found(
    conn: Conn, workspace_id: str, schema_ids: Iterable[str], search: Search
) -> str | None:
    """Return what the search finds first, or None if no record has it.

    Raises `UpstreamTimeout` if there are too many records.
    """
    deadline = time.monotonic() + SEARCHING_S_MAX
    for schema_id in schema_ids:
        after: RecordPosition | None = None
        while True:
            if time.monotonic() > deadline:
                raise UpstreamTimeout(
                    "There are too many records to find out within"
                    f" {SEARCHING_S_MAX} seconds whether one of them stands against this change,"
                    " so nothing was changed; retrying does not help"
                )
            found, after = await search_some(
                conn, workspace_id, schema_id, search, after, rows_max=SEARCHED_AT_ONCE
            )
            if found is not None:
                return found
            if after is None:
                break
    return None
