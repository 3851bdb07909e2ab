"""Makes the partitions of the history ahead of time, and drops those that nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import structlog
from prometheus_client import Gauge

from records_service.writes import history_partitions as store
from records_service.writes.history_partitions import Busy, Partition
from shared.database import Conn, Database

log = structlog.get_logger(__name__)

YEARS_AHEAD: Final = 1
"""So long no process needs to run. Each partition more is one more for each query to look into."""
USED_AFTER: Final = timedelta(days=31)
"""Partitions of a time that ended less long ago stay: the clocks of processes differ."""

OUT_OF_PLACE: Final = Gauge(
    "sigma_history_out_of_place", "1 if entries of the history belong to none of its years, else 0"
)


async def keep(database: Database, now: datetime) -> bool:
    """Bring the partitions up to date; whether all is dropped that nobody needs.

    Processes may do it at once: one does, and the others leave it to that one.
    """
    async with database.acquire() as conn:
        there = await store.partitions(conn)
        if not there:
            return True
        is_out_of_place = await _is_out_of_place(conn, there)
    OUT_OF_PLACE.set(is_out_of_place)
    if is_out_of_place:
        log.error("history_out_of_place", see="docs/operations.md, History")
    try:
        await _add(database, now)
        return await _drop(database, now)
    except Busy:
        log.warning("history_is_busy", again="in a minute")
        return False


async def _add(database: Database, now: datetime) -> None:
    """Make the partitions of the years to come."""
    while True:
        async with database.transaction() as conn:
            if not await store.take_turn(conn):
                return
            year = (await store.partitions(conn))[-1].until.year
            if year > now.year + YEARS_AHEAD:
                return
            if await store.has_entries(conn, datetime(year, 1, 1, tzinfo=now.tzinfo), None):
                # They are out of place, and the partition cannot be made around them.
                return
            await store.add(conn, year)
        log.info("history_partition_added", year=year)


async def _drop(database: Database, now: datetime) -> bool:
    """Drop what nobody needs; False if another process is at it."""
    async with database.acquire() as conn:
        unneeded = [one for one in await store.partitions(conn) if await _may_go(conn, one, now)]
    for one in unneeded:
        async with database.transaction() as conn:
            if not await store.take_turn(conn):
                return False
            await store.lock(conn)
            # A workspace may have chosen otherwise before the history was locked.
            if one not in await store.partitions(conn) or not await _may_go(conn, one, now):
                continue
            await store.drop(conn, one)
        log.info("history_partition_dropped", partition=one.name)
    return True


async def _may_go(conn: Conn, partition: Partition, now: datetime) -> bool:
    if partition.until > now - USED_AFTER:
        return False
    return not await store.is_needed(conn, partition, now)


async def _is_out_of_place(conn: Conn, there: Sequence[Partition]) -> bool:
    """Whether there are entries before, between or after the partitions."""
    gaps = [(before.until, after.since) for before, after in pairwise(there)]
    gaps = [(since, until) for since, until in gaps if until is not None and since < until]
    ends = [(there[-1].until, None), (None, there[0].since)]
    for since, until in [*gaps, *(ends if there[0].since is not None else ends[:1])]:
        if await store.has_entries(conn, since, until):
            return True
    return False
