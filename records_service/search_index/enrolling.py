"""Gives workspaces that have no search index one, while the service runs.

Those are the workspaces of a database that was in use before there was an index, from the time on
that its migration set (`models.indexed_from`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from records_service.search_index import building, store
from shared.database import DATABASE, Database
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.messaging import outbox
from shared.messaging.connection import cancel_all

log = structlog.get_logger(__name__)

EVERY_S: Final = 60.0


async def enrolling(app: web.Application) -> AsyncIterator[None]:
    """Begin their index as soon as it is time."""
    task = asyncio.create_task(_enroll(app), name="search index")
    yield
    await cancel_all(task)


async def enroll_all(database: Database) -> int:
    """Begin the index of each workspace that is to have one now; how many there were."""
    enrolled = 0
    while found := await store.without_index(database):
        for workspace_id in found:
            async with database.transaction() as conn:
                enrolled += await building.enroll(conn, workspace_id)
    return enrolled


async def _enroll(app: web.Application) -> None:
    database = app[DATABASE]
    while True:
        await database.migrated.wait()
        try:
            enrolled = await enroll_all(database)
            if enrolled:
                outbox.wake(app)
                log.info("search_index_begun", workspaces=enrolled)
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("search_index_not_begun")
        await asyncio.sleep(EVERY_S)
