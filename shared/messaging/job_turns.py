"""Gives background jobs their turns while a service runs (`shared.messaging.jobs`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import Gauge

from shared.database import DATABASE, Database
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.messaging import jobs
from shared.messaging.connection import BUS, cancel_all
from shared.messaging.consuming import Consumer
from shared.messaging.jobs import Slice
from shared.messaging.topology import Queue

log = structlog.get_logger(__name__)

WORKERS: Final = 2
PREFETCH: Final = 2
"""As few as there are workers, so that jobs are shared among processes."""
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
        handler = jobs.turns(event_type, source, kinds)
        consumer = Consumer(database, app[BUS], queue, handler, prefetch=PREFETCH, workers=WORKERS)
        consumer.start()
        keeping = asyncio.create_task(
            _keep_house(database, event_type, source, kinds), name=f"housekeeping {queue.name}"
        )
        yield
        await consumer.stop()
        await cancel_all(keeping)

    return opened


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
