"""Chooses how long the history is kept, and removes what is older, as a background job.

What happened longer ago than the workspace keeps it is removed once a day, the oldest first: so
what is left of a record is always its last versions, without a gap. Neither the record nor its
version changes, and events have been staged with the change. A record that was deleted so long ago
leaves nothing but the number of its last version, from which one of the same id counts on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Counter

from records_service.context import BaseContext
from records_service.history.retention import store
from records_service.history.retention.model import Retention
from records_service.model_objects.commands import SOURCE
from records_service.writes import history_partitions, old_history
from records_service.writes.effects import now
from shared.database import Conn, Database
from shared.events import EventType
from shared.messaging import jobs
from shared.messaging.jobs import Slice

JOB: Final = "remove_history"
AGAIN_AFTER: Final = timedelta(days=1)
REQUESTED_AT_ONCE: Final = 100
FEED_MARGIN: Final = timedelta(days=1)
"""Entries that the change feed reads may be so much older than what it has before them: it is in
the order of commits."""

REMOVED: Final = Counter(
    "sigma_history_entries_removed_total", "Entries of the history that were removed for their age"
)

Clock = Callable[[], datetime]


async def find(context: BaseContext) -> Retention:
    """What the workspace has chosen."""
    async with context.database.acquire() as conn:
        return await store.find(conn, context.workspace_id)


async def choose(context: BaseContext, days: int | None) -> Retention:
    """Keep what happens for so many days, or for ever.

    What was removed before does not come back. If a slice of the removal is under way, or a
    partition is being dropped, this waits for it: nothing that is to be kept from now on is removed
    afterwards.
    """
    chosen = Retention(days, now(), context.identity.id)
    async with context.database.transaction() as conn:
        await history_partitions.use(conn, context.workspace_id)
        await store.save(conn, context.workspace_id, chosen)
    return chosen


def remover(clock: Clock) -> Slice:
    """The job of a workspace: what is older than it keeps, at the time of this clock."""

    async def remove_some(conn: Conn, workspace_id: str, _key: str) -> bool:
        days = await store.lock_days(conn, workspace_id)
        if days is None:
            return False
        time = clock()
        before = time - timedelta(days=days)
        read_since = await store.feed_reads_since(conn, workspace_id)
        step = await old_history.remove(
            conn,
            workspace_id,
            before=before if read_since is None else min(before, read_since - FEED_MARGIN),
            until=await store.last_removable(conn, workspace_id),
        )
        REMOVED.inc(step.removed)
        if not step.is_last:
            return True
        await store.postpone(conn, workspace_id, time + AGAIN_AFTER)
        return False

    return remove_some


remove_some: Final = remover(now)


async def request_due(database: Database, time: datetime) -> int:
    """Request the job of each workspace where it is due; how many there were."""
    requested = 0
    while found := await store.due(database, JOB, now=time, rows_max=REQUESTED_AT_ONCE):
        for workspace_id in found:
            async with database.transaction() as conn:
                await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB)
        requested += len(found)
    return requested
