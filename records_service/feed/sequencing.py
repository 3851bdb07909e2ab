"""Places the events of the outbox in the feed: one process does it, the others stand by.

The feed does not depend on the broker, and the bus is told nothing before the feed: the relay
publishes what is placed (`store.PUBLISHABLE`). Each event is placed in one statement, by a session
that holds the leadership; what has been placed is found by its id in the outbox, so whoever leads
next places nothing twice and leaves nothing out. The leadership is a lease, as the relay's is
(docs/adr/0011).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final

import asyncpg
import structlog
from aiohttp import web
from prometheus_client import REGISTRY, Counter, Gauge

from records_service.feed import store
from records_service.feed.placing import Window, pause_s
from shared.database import DATABASE, Conn, Database
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.messaging.connection import cancel_all
from shared.messaging.leadership import end_stale_leader
from shared.messaging.outbox_floor import last_drawn

log = structlog.get_logger(__name__)

LOCK_KEY: Final = 0x5167_4D61_6665_6564
LEAD_RETRY_S: Final = 0.5
POLL_S: Final = 0.1
"""A commit that nobody has told of is found after this."""
SWEEP_EVERY_S: Final = 10.0
MEASURE_EVERY_S: Final = 5.0
AGAIN_AFTER_S: Final = 0.5

PLACED: Final = Counter("sigma_feed_events_total", "Events placed in the feed")
# Exported only by processes that measure it.
OLDEST: Final = Gauge(
    "sigma_feed_oldest_age_seconds",
    "Age of the oldest event that is not in the feed yet",
    registry=None,
)


class Sequencer:
    """Places the events of one database."""

    def __init__(self, database: Database, *, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s
        self._committed = asyncio.Event()
        self._stopping = False
        self.leads = False
        """Whether this process is the one that places."""

    async def run(self) -> None:
        """Lead when nobody else does, until `stop`."""
        while not self._stopping:
            await self._database.migrated.wait()
            try:
                await self._session()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("feed_placing_interrupted", error=repr(error))
            except ServiceUnavailable:
                pass
            except Exception:
                # After any other error, too: a feed that stops for ever would be worse.
                log.exception("feed_placing_failed")
            self.leads = False
            if not self._stopping:
                await asyncio.sleep(AGAIN_AFTER_S)

    def stop(self) -> None:
        """Place what is committed now, then end."""
        self._stopping = True
        self._committed.set()

    async def _session(self) -> None:
        conn = await self._database.connect(**store.SESSION)
        try:
            while not await conn.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
                if self._stopping:
                    return
                if await end_stale_leader(conn, LOCK_KEY, self._lease_s):
                    log.warning("feed_placing_taken_over", silent_for_s=self._lease_s)
                await asyncio.sleep(LEAD_RETRY_S)
            await conn.add_listener(store.COMMITTED_CHANNEL, self._told)
            log.info("feed_placing_leads")
            self.leads = True
            await self._lead(conn)
        finally:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await conn.close(timeout=1)

    async def _lead(self, conn: Conn) -> None:
        await store.begin_anew(conn)
        # Before the first snapshot: who has drawn an id by now is seen to run in that.
        window = Window(await last_drawn(conn))
        swept_at = time.monotonic()
        while True:
            stopping = self._stopping
            self._committed.clear()
            events, more = await place_some(conn, window)
            if more:
                continue
            if stopping:
                return
            if time.monotonic() - swept_at > SWEEP_EVERY_S:
                swept_at = time.monotonic()
                window.sweep()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._committed.wait()
                await asyncio.sleep(pause_s(events))

    def _told(self, _conn: Any, _pid: int, _channel: str, _payload: object) -> None:
        self._committed.set()


async def place_some(conn: Conn, window: Window) -> tuple[int, bool]:
    """Place what is there, up to `store.PLACED_AT_ONCE` events.

    Returns how many were placed, and whether there may be more.
    """
    placed = await store.place(
        conn, after=window.after, gaps=window.gaps, swept_until=window.swept_until
    )
    was_waiting = window.is_waiting
    window.note(
        placed.found,
        oldest_running=placed.oldest_running,
        next_number=placed.next_number,
        is_swept=placed.is_swept,
    )
    PLACED.inc(placed.events)
    return placed.events, was_waiting or len(placed.found) >= store.PLACED_AT_ONCE


def sequencing(*, lease_s: float) -> Callable[[web.Application], AsyncIterator[None]]:
    """Place events while the service runs. Closed after the relay, which waits for it."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        sequencer = Sequencer(app[DATABASE], lease_s=lease_s)
        app[SEQUENCER] = sequencer
        running = asyncio.create_task(sequencer.run(), name="feed placing")
        measuring = asyncio.create_task(_measure(app[DATABASE]), name="feed metrics")
        yield
        sequencer.stop()
        await asyncio.wait({running}, timeout=1.0)
        await cancel_all(running, measuring)

    return opened


SEQUENCER: Final = web.AppKey("feed_sequencer", Sequencer)


async def _measure(database: Database) -> None:
    """Measure how far behind the feed is, even if no process can place anything."""
    while True:
        await database.migrated.wait()
        try:
            OLDEST.set(await store.oldest_waiting(database))
            # The registry raises this error for a metric that is already registered.
            with suppress(ValueError):
                REGISTRY.register(OLDEST)
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("feed_not_measured")
        await asyncio.sleep(MEASURE_EVERY_S)
