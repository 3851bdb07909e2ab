"""Removes events that the feed need not keep any longer, in slices that no writer waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import Counter

from records_service.feed import store
from records_service.writes.effects import now
from shared.database import DATABASE, Database
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.messaging.connection import cancel_all

log = structlog.get_logger(__name__)

EVERY_S: Final = 60.0
WORKSPACES_AT_ONCE: Final = 100

REMOVED: Final = Counter(
    "sigma_feed_events_removed_total", "Events that were removed from the feed for their age"
)


def removing(days_kept: float) -> Callable[[web.Application], AsyncIterator[None]]:
    """Look every minute for events that are older, while the service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_remove(app[DATABASE], days_kept), name="old feed")
        yield
        await cancel_all(task)

    return opened


async def remove_old(database: Database, before: datetime) -> int:
    """Remove what was placed before this time; how many events that were."""
    removed, workspace_id = 0, ""
    while found := await store.with_old_events(
        database, before, after=workspace_id, rows_max=WORKSPACES_AT_ONCE
    ):
        for workspace_id in found:
            while True:
                async with database.acquire() as conn:
                    gone = await store.remove_some(conn, workspace_id, before)
                removed += gone
                if gone < store.REMOVED_AT_ONCE:
                    break
    return removed


async def _remove(database: Database, days_kept: float) -> None:
    while True:
        await database.migrated.wait()
        try:
            REMOVED.inc(await remove_old(database, now() - timedelta(days=days_kept)))
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("old_feed_not_removed")
        await asyncio.sleep(EVERY_S)
