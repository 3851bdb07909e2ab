"""Gives background jobs their turns while a service runs (`shared.messaging.jobs`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import Gauge

from shared.database import DATABASE, Database
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.events import Event
from shared.messaging import inbox, jobs
from shared.messaging.connection import BUS, cancel_all
from shared.messaging.consuming import Consumer
from shared.messaging.jobs import Slice, TakeSlice
from shared.messaging.topology import Queue

log = structlog.get_logger(__name__)

WORKERS: Final = 2
PREFETCH: Final = WORKERS + 1
"""One more than can be worked on, to see that it waits; no others, so that processes share them."""
HOUSEKEEPING_S: Final = 5.0

JOBS: Final = Gauge("sigma_jobs", "Background jobs that have work left", ["kind"])
JOB_AGE: Final = Gauge(
    "sigma_job_oldest_age_seconds", "Time since the oldest unfinished job was requested", ["kind"]
)


def job_turns(
    queue: Queue, event_type: str, source: str, kinds: Mapping[str, Slice]
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Give the jobs of this queue their turns while the service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        database = app[DATABASE]
        take_turn = turns(
            queue, jobs.slices(event_type, source, kinds), lambda: consumer.nobody_waits
        )
        consumer = Consumer(
            database, app[BUS], queue, None, first=take_turn, prefetch=PREFETCH, workers=WORKERS
        )
        consumer.start()
        keeping = asyncio.create_task(
            _keep_house(database, event_type, source, kinds), name=f"housekeeping {queue.name}"
        )
        yield
        await consumer.stop()
        await cancel_all(keeping)

    return opened


def turns(
    queue: Queue, take_slice: TakeSlice, nobody_waits: Callable[[], bool]
) -> Callable[[Database, Event], Awaitable[None]]:
    """What is done with a message of this queue: slices of a job, as many as a turn has."""

    async def take_turn(database: Database, event: Event) -> None:
        until = time.monotonic() + jobs.TURN_S

        def goes_on() -> bool:
            return time.monotonic() < until and nobody_waits()

        while await take_next(database, event, goes_on):
            pass

    async def take_next(database: Database, event: Event, goes_on: Callable[[], bool]) -> bool:
        # Until the end of its transaction, a second delivery of the message waits for the row of
        # the inbox. The row stays when the turn has ended: until then, the message stands for it.
        async with database.transaction() as conn:
            if not await inbox.first_time(conn, queue.name, event.id):
                return False
            is_going_on = await take_slice(conn, event, goes_on)
            if is_going_on:
                await inbox.forget(conn, queue.name, event.id)
        return is_going_on

    return take_turn


async def _keep_house(
    database: Database, event_type: str, source: str, kinds: Mapping[str, Slice]
) -> None:
    while True:
        await database.migrated.wait()
        try:
            await jobs.resume_lost(database, event_type, source)
            await _measure(database, kinds)
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("jobs_not_kept")
        await asyncio.sleep(HOUSEKEEPING_S)


async def _measure(database: Database, kinds: Mapping[str, Slice]) -> None:
    rows = await database.fetch(
        """
        SELECT kind, count(*) AS jobs,
               extract(epoch FROM clock_timestamp() - min(requested_at))::float8 AS age_s
          FROM jobs
         GROUP BY kind
        """
    )
    by_kind = {row["kind"]: row for row in rows}
    for kind in kinds:
        JOBS.labels(kind).set(by_kind[kind]["jobs"] if kind in by_kind else 0)
        JOB_AGE.labels(kind).set(by_kind[kind]["age_s"] if kind in by_kind else 0)
