"""Tells followers of this process that there are new events, and others that something committed.

One connection for each process hears what has been placed, for all its followers: nobody polls.
What could have been missed while it was away is read after it is there again. `wake` of the outbox
comes here, so that a commit in any process is placed at once, wherever the placing runs.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import asyncpg
import structlog
from aiohttp import web

from records_service.feed import store
from records_service.feed.placing import pause_s
from shared.database import DATABASE, Database
from shared.errors import ServiceUnavailable
from shared.http import DRAINING
from shared.messaging.connection import cancel_all
from shared.messaging.outbox import COMMITTED
from shared.messaging.relay import RELAY

log = structlog.get_logger(__name__)

CHECK_EVERY_S: Final = 5.0
"""A connection that died without a word is noticed after this, and the time limit of a check."""
CHECK_S_MAX: Final = 5.0
AGAIN_AFTER_S: Final = 0.5
APPLICATION_NAME: Final = "records_service feed news"


class News:
    """What this process hears of the feed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._followers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._lost = asyncio.Event()
        self._placed_together = 0
        self.relay_wake: asyncio.Event | None = None
        """The relay of this process, if it runs one, waits for it."""
        self.committed: Final = asyncio.Event()
        """Set it to have what is committed placed in the feed now."""
        self.is_closing = False
        """Whether followers are to leave, because the process stops."""

    @contextmanager
    def following(
        self, workspace_id: str, wake: asyncio.Event | None = None
    ) -> Iterator[asyncio.Event]:
        """An event that is set when there may be more to read; whoever waits clears it before.

        Who follows several workspaces passes one event for all.
        """
        wake = wake or asyncio.Event()
        self._followers[workspace_id].add(wake)
        try:
            yield wake
        finally:
            self._followers[workspace_id].discard(wake)
            if not self._followers[workspace_id]:
                del self._followers[workspace_id]

    def close(self) -> None:
        """Send all followers away."""
        self.is_closing = True
        self._wake_all()

    async def run(self) -> None:
        """Hear and tell, until cancelled."""
        while True:
            await self._database.migrated.wait()
            try:
                await self._hear()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("feed_news_interrupted", error=repr(error))
            except ServiceUnavailable:
                pass
            except Exception:
                log.exception("feed_news_failed")
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _hear(self) -> None:
        conn = await self._database.connect(application_name=APPLICATION_NAME)
        self._lost.clear()
        try:
            conn.add_termination_listener(self._end)
            await conn.add_listener(store.PLACED_CHANNEL, self._placed)
            # What has been placed before was told to nobody here.
            self._wake_all()
            while not conn.is_closed():
                try:
                    async with asyncio.timeout(CHECK_EVERY_S):
                        await self.committed.wait()
                except TimeoutError:
                    await conn.fetchval("SELECT 1", timeout=CHECK_S_MAX)
                    continue
                if self._lost.is_set():
                    return
                self.committed.clear()
                await store.tell_of_commits(conn)
                # In the rhythm in which events are placed.
                await asyncio.sleep(pause_s(self._placed_together))
        finally:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await conn.close(timeout=1)

    def _end(self, _conn: Any) -> None:
        self._lost.set()
        # Told again by the next connection.
        self.committed.set()

    def _placed(self, _conn: Any, _pid: int, _channel: str, payload: object) -> None:
        events, _, workspace_id = str(payload).partition(" ")
        self._placed_together = int(events)
        if self.relay_wake is not None:
            self.relay_wake.set()
        for wake in self._followers.get(workspace_id, ()):
            wake.set()

    def _wake_all(self) -> None:
        for wakes in self._followers.values():
            for wake in wakes:
                wake.set()


NEWS: Final = web.AppKey("feed_news", News)


async def hearing(app: web.Application) -> AsyncIterator[None]:
    """Hear of the feed while the process runs. Opened before the relay, which it wakes."""
    news = News(app[DATABASE])
    app[NEWS] = news
    app[COMMITTED] = news.committed
    tasks = [
        asyncio.create_task(news.run(), name="feed news"),
        asyncio.create_task(_close_when_draining(app, news), name="feed news draining"),
    ]
    yield
    news.close()
    await cancel_all(*tasks)


async def waking_relay(app: web.Application) -> AsyncIterator[None]:
    """Wake the relay of this process when events are placed. Opened after it."""
    app[NEWS].relay_wake = app[RELAY].committed
    yield
    app[NEWS].relay_wake = None


async def _close_when_draining(app: web.Application, news: News) -> None:
    await app[DRAINING].wait()
    news.close()
