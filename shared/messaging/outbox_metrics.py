"""How many events wait in the outbox, and for how long: measured by every process with a relay."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

import structlog
from prometheus_client import REGISTRY, Gauge

from shared.database import Database
from shared.errors import ServiceUnavailable, UpstreamTimeout

log = structlog.get_logger(__name__)

MEASURE_EVERY_S: Final = 5.0
PAUSE_S_MAX: Final = 60.0
REST: Final = 20
"""How much longer than measuring the pause after it is, at least: deleted rows that an old snapshot
keeps are passed each time."""
COUNTED_MAX: Final = 10_000

# Exported only by processes that measure it: others would report a meaningless 0.
OUTBOX_AGE: Final = Gauge(
    "sigma_outbox_oldest_age_seconds", "Age of the oldest unsent event", registry=None
)
OUTBOX_ROWS: Final = Gauge(
    "sigma_outbox_rows", f"Unsent events, counted up to {COUNTED_MAX}", registry=None
)


async def measure_outbox(database: Database) -> None:
    """Measure how far behind the outbox is, even if no relay can lead."""
    while True:
        await database.migrated.wait()
        began_s = time.monotonic()
        try:
            row = await database.fetchrow(
                """SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT $1) AS few) AS rows,
                          coalesce(extract(epoch FROM clock_timestamp() - (
                              SELECT staged_at FROM outbox ORDER BY id LIMIT 1)), 0)::float8
                          AS age_s""",
                COUNTED_MAX,
            )
            if row is not None:
                OUTBOX_ROWS.set(row["rows"])
                OUTBOX_AGE.set(row["age_s"])
                _export()
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("outbox_not_measured")
        took_s = time.monotonic() - began_s
        await asyncio.sleep(min(max(MEASURE_EVERY_S, REST * took_s), PAUSE_S_MAX))


def _export() -> None:
    """Show the gauges from their first measurement on."""
    for gauge in (OUTBOX_AGE, OUTBOX_ROWS):
        # The registry raises this error for a metric that is already registered.
        with suppress(ValueError):
            REGISTRY.register(gauge)
