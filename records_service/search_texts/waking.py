"""Requests the job that indexes texts, where there is work for it, while the service runs.

Writes do not request it themselves: all writes of a workspace would wait for the row of the job.

To index a record takes about as long as to write it. So while more is written in a second than one
slice has, such as by a bulk call, the job waits for the end of that, as long as searches can read
the values of what is behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from records_service.model_objects.commands import SOURCE
from records_service.search_texts import waking_store as store
from records_service.search_texts.indexing import AT_ONCE as SLICE
from records_service.search_texts.indexing import JOB, awaited_max
from shared.database import DATABASE, Database
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.events import EventType
from shared.messaging import jobs
from shared.messaging.connection import cancel_all

log = structlog.get_logger(__name__)

EVERY_S: Final = 1.0
MODELS_EVERY: Final = 5
"""In so many rounds the models are looked at once."""
AT_ONCE: Final = 100


async def waking(app: web.Application) -> AsyncIterator[None]:
    """Request the job of each workspace that needs it."""
    task = asyncio.create_task(_wake(app[DATABASE]), name="texts to index")
    yield
    await cancel_all(task)


async def wake(
    database: Database, *, looks_at_models: bool, seen: dict[str, int] | None = None
) -> int:
    """Request the jobs that are missing; how many there were.

    `seen` is what this process has seen in the round before; it becomes what it sees now. Without
    it, no job waits for the end of a load.
    """
    behind = await store.workspaces_behind(database, JOB, seen or {}, rows_max=AT_ONCE)
    found = [each.workspace_id for each in behind if seen is None or not _awaits(each)]
    if seen is not None:
        seen.clear()
        seen.update({each.workspace_id: each.newest for each in behind})
    if looks_at_models:
        found += await store.workspaces_changed(database, JOB, rows_max=AT_ONCE)
    missing = sorted(set(found))
    for workspace_id in missing:
        async with database.transaction() as conn:
            await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB)
    return len(missing)


def _awaits(waiting: store.Waiting) -> bool:
    """Whether a load of writes goes on, and its end can be awaited."""
    awaited = awaited_max(has_languages=waiting.has_languages)
    return waiting.new_records > SLICE and waiting.records <= awaited


async def _wake(database: Database) -> None:
    rounds = 0
    seen: dict[str, int] = {}
    while True:
        await database.migrated.wait()
        try:
            await wake(database, looks_at_models=rounds % MODELS_EVERY == 0, seen=seen)
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("texts_not_indexed")
        rounds += 1
        await asyncio.sleep(EVERY_S)
