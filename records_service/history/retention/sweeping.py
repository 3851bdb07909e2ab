"""Looks after the partitions of the history and its removal, while the service runs.

Partitions are dropped first: what they hold need not be removed entry by entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from records_service.history.retention import commands, partitions
from records_service.writes.effects import now
from shared.database import DATABASE
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.messaging import outbox
from shared.messaging.connection import cancel_all

log = structlog.get_logger(__name__)

EVERY_S: Final = 60.0


async def sweeping_history(app: web.Application) -> AsyncIterator[None]:
    """Look every minute."""
    task = asyncio.create_task(_sweep(app), name="old history")
    yield
    await cancel_all(task)


async def _sweep(app: web.Application) -> None:
    database = app[DATABASE]
    while True:
        await database.migrated.wait()
        try:
            time = now()
            if await partitions.keep(database, time) and await commands.request_due(database, time):
                outbox.wake(app)
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("old_history_not_removed")
        await asyncio.sleep(EVERY_S)
