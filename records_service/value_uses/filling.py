"""Sets the marks of records that were written before there were any, as a background job.

Code of the version before sets none. So in a database that is in use, the job begins at the time
that the migration set (`models.uses_from`), when all code that writes sets marks: what is written
from then on has them, and the job reads what is older. Until it has ended, records are searched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from records_service.model_objects.commands import SOURCE, lock_model, trust_marks
from records_service.schema_walks.store import next_ids
from records_service.value_uses import store
from shared.database import DATABASE, Conn, Database
from shared.database.pieces import Room
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.events import EventType
from shared.messaging import jobs, outbox
from shared.messaging.connection import cancel_all

log = structlog.get_logger(__name__)

JOB: Final = "mark_values"
EVERY_S: Final = 60.0
MARKED_AT_ONCE: Final = 1_000
"""Records of one slice."""


async def filling(app: web.Application) -> AsyncIterator[None]:
    """Begin the job of each workspace as soon as it is time."""
    task = asyncio.create_task(_begin(app), name="value uses")
    yield
    await cancel_all(task)


async def begin_all(database: Database) -> int:
    """Begin the job of each workspace that is to have one now; how many there were."""
    begun = 0
    while found := await store.workspaces_unknown(database):
        for workspace_id in found:
            async with database.transaction() as conn:
                if await store.begin_walk(conn, workspace_id):
                    await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB)
                    begun += 1
    return begun


async def mark_some(conn: Conn, workspace_id: str, _key: str) -> bool:
    """One slice of the job of a workspace; whether more is left."""
    walk = await store.find_walk(conn, workspace_id)
    if walk is None:
        return False
    if walk.is_over:
        # A slice of its own, because its lock must be the first of the transaction.
        await lock_model(conn, workspace_id)
        await trust_marks(conn, workspace_id)
        await store.end_walk(conn, workspace_id)
        return False
    table = walk.table
    ids, walk = await next_ids(conn, workspace_id, walk, room=Room(MARKED_AT_ONCE))
    await store.mark_stored(conn, workspace_id, table, ids)
    await store.keep_walk(conn, workspace_id, walk)
    return True


async def _begin(app: web.Application) -> None:
    database = app[DATABASE]
    while True:
        await database.migrated.wait()
        try:
            begun = await begin_all(database)
            if begun:
                outbox.wake(app)
                log.info("marking_of_values_begun", workspaces=begun)
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("marking_of_values_not_begun")
        await asyncio.sleep(EVERY_S)
