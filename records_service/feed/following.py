"""Reads the feed for one caller, and bounds how many follow it at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from records_service.context import Context
from records_service.feed import positions, store
from records_service.feed.judging import shown
from shared.database import Database
from shared.errors import Gone, RateLimited
from shared.identity import Identity

READS_MAX: Final = 5
"""Pages that are looked through for events that the caller may see, for one answer."""
RETRY_AFTER_S: Final = 5


@dataclass(frozen=True, slots=True)
class Page:
    """Events as the caller sees them, each with its position, and where the next page begins."""

    events: Sequence[tuple[int, bytes]]
    position: int
    more: bool


async def now(context: Context) -> int:
    """The position of the last event of the workspace."""
    async with context.database.acquire() as conn:
        return await positions.last_position(conn, context.workspace_id)


async def read(context: Context, position: int, limit: int) -> Page:
    """The events behind a position. Raises `Gone` if some of them have been removed."""
    found: list[tuple[int, bytes]] = []
    more = True
    for _ in range(READS_MAX):
        part = await context.app[READS].page(
            context.database, context.workspace_id, position, limit - len(found)
        )
        if position < part.removed:
            raise Gone(
                "The change feed no longer has what came after this token: take a new snapshot"
            )
        if not part.is_there:
            raise Gone(
                "The database was restored to a moment before this token, so what was told up to it"
                " may not have happened: take a new snapshot, and delete what it does not have"
            )
        for row, document in zip(part.rows, await shown(context, part.rows), strict=True):
            if document is not None:
                found.append((row["position"], document))
        more = part.more
        if part.rows:
            position = part.rows[-1]["position"]
        # An answer is as large as one page that is read, and not as several.
        is_large = sum(len(document) for _, document in found) >= store.PAGE_BYTES_MAX
        if not more or len(found) == limit or is_large:
            break
    return Page(found, position, more)


class Reads:
    """Reads the same page once for all that ask for it at the same moment: a news wakes many."""

    def __init__(self) -> None:
        self._reading: dict[tuple[str, int, int], asyncio.Task[store.Events]] = {}

    async def page(
        self, database: Database, workspace_id: str, position: int, limit: int
    ) -> store.Events:
        """The events behind a position."""
        key = (workspace_id, position, limit)
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(self._read(database, key))
            self._reading[key] = task
        # Who goes away does not stop it for the others.
        return await asyncio.shield(task)

    async def _read(self, database: Database, key: tuple[str, int, int]) -> store.Events:
        try:
            async with database.acquire() as conn:
                # What is committed from now on, somebody else reads.
                del self._reading[key]
                return await store.page(conn, *key)
        except BaseException:
            self._reading.pop(key, None)
            raise


class Followers:
    """Counts who waits for events in this process: half of the places for one caller at most."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._of_workspace: Counter[str] = Counter()
        self._of_caller: Counter[tuple[str, str, str]] = Counter()

    @contextmanager
    def place(self, identity: Identity) -> Iterator[None]:
        """Hold a place. Raises `RateLimited` if the caller, its workspace or all have too many."""
        workspace, caller = (
            identity.workspace_id,
            (identity.workspace_id, identity.kind, identity.id),
        )
        if (
            self._of_caller[caller] >= max(1, self._places // 2)
            or self._of_workspace[workspace] >= max(1, self._places * 3 // 4)
            or self._of_workspace.total() >= self._places
        ):
            raise RateLimited.after(RETRY_AFTER_S)
        self._of_caller[caller] += 1
        self._of_workspace[workspace] += 1
        try:
            yield
        finally:
            self._of_caller[caller] -= 1
            self._of_workspace[workspace] -= 1
            # Neither counts those who have gone.
            self._of_caller += Counter()
            self._of_workspace += Counter()


READS: Final = web.AppKey("feed_reads", Reads)
FOLLOWERS: Final = web.AppKey("feed_followers", Followers)
