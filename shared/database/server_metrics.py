"""What PostgreSQL tells of a service's database: transactions, waits, its largest tables, standbys.

Measured by the processes that work in the background; of one database, all measure the same. What
belongs to other roles, and how far standbys are, is shown only to members of `pg_monitor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.database.connection import Record
from shared.database.pool import Database
from shared.database.pool_of_process import DATABASE
from shared.errors import ServiceUnavailable, UpstreamTimeout

MEASURE_EVERY_S: Final = 30.0
TABLES_MAX: Final = 20
STANDBYS_MAX: Final = 10

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Measured:
    """One look at a database."""

    database: Record
    tables: Sequence[Record]
    standbys: Sequence[Record]


class DatabaseMeasures(Collector):
    """The last look; nothing before the first."""

    def __init__(self) -> None:
        self.last: Measured | None = None

    def collect(self) -> Iterator[Metric]:
        """Export what was measured."""
        if self.last is None:
            return
        row = self.last.database
        transactions = CounterMetricFamily(
            "sigma_postgres_transactions",
            "Transactions of the database, by outcome",
            labels=("outcome",),
        )
        transactions.add_metric(("committed",), row["committed"])
        transactions.add_metric(("rolled_back",), row["rolled_back"])
        yield transactions
        yield CounterMetricFamily(
            "sigma_postgres_deadlocks", "Deadlocks of the database", row["deadlocks"]
        )
        yield GaugeMetricFamily(
            "sigma_postgres_oldest_transaction_seconds",
            "Age of the oldest open transaction",
            row["oldest_s"],
        )
        yield GaugeMetricFamily(
            "sigma_postgres_lock_waits", "Sessions that wait for a lock", row["waiting"]
        )
        yield from self._of_tables(self.last.tables)
        lags = GaugeMetricFamily(
            "sigma_postgres_replication_lag_seconds",
            "How far a standby is behind",
            labels=("standby",),
        )
        for row in self.last.standbys:
            lags.add_metric((row["standby"],), row["lag_s"])
        yield lags

    def _of_tables(self, tables: Sequence[Record]) -> Iterator[Metric]:
        size = GaugeMetricFamily(
            "sigma_postgres_table_bytes",
            "Size of the largest tables with their indexes, as of the last VACUUM",
            labels=("table",),
        )
        rows = GaugeMetricFamily(
            "sigma_postgres_table_rows",
            "Their rows, as PostgreSQL estimates: live, and dead ones that are still there",
            labels=("table", "state"),
        )
        walked = CounterMetricFamily(
            "sigma_postgres_table_rows_walked",
            "Rows that were read because a statement walked through the whole table",
            labels=("table",),
        )
        for row in tables:
            size.add_metric((row["table"],), row["bytes"])
            rows.add_metric((row["table"], "live"), row["live"])
            rows.add_metric((row["table"], "dead"), row["dead"])
            walked.add_metric((row["table"],), row["walked"])
        yield from (size, rows, walked)

    def describe(self) -> Iterator[Metric]:
        """Names only, so that registering does not collect."""
        return iter(())


MEASURES: Final = DatabaseMeasures()
REGISTRY.register(MEASURES)


async def measuring(app: web.Application) -> AsyncIterator[None]:
    """Look at the database every `MEASURE_EVERY_S` seconds while the service runs."""
    task = asyncio.create_task(_measure(app[DATABASE]), name="database metrics")
    yield
    task.cancel()


async def look(database: Database) -> Measured:
    """Ask PostgreSQL once."""
    of_database = await database.fetchrow(
        """
        SELECT d.xact_commit AS committed, d.xact_rollback AS rolled_back, d.deadlocks,
               a.oldest_s, a.waiting
          FROM pg_stat_database d
         CROSS JOIN (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)
                            ::float8 AS oldest_s,
                            count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting
                       FROM pg_stat_activity
                      WHERE datname = current_database() AND backend_type = 'client backend'
                        AND pid <> pg_backend_pid()) AS a
         WHERE d.datname = current_database()
        """
    )
    assert of_database is not None
    tables = await database.fetch(
        """
        SELECT s.relname AS table, s.n_live_tup AS live, s.n_dead_tup AS dead,
               s.seq_tup_read AS walked,
               -- As of the last VACUUM: a look at the files would wait for migrations.
               current_setting('block_size')::bigint * (t.relpages + coalesce(large.relpages, 0)
                   + coalesce((SELECT sum(i.relpages)
                                 FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
                                WHERE x.indrelid = s.relid), 0))::bigint AS bytes
          FROM pg_stat_user_tables s
          JOIN pg_class t ON t.oid = s.relid
          LEFT JOIN pg_class large ON large.oid = t.reltoastrelid
         WHERE s.schemaname = current_schema()
         ORDER BY bytes DESC, s.relname LIMIT $1
        """,
        TABLES_MAX,
    )
    standbys = await database.fetch(
        """
        SELECT application_name AS standby,
               coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 AS lag_s
          FROM pg_stat_replication
         WHERE state = 'streaming'
         GROUP BY application_name ORDER BY application_name LIMIT $1
        """,
        STANDBYS_MAX,
    )
    return Measured(of_database, tables, standbys)


async def _measure(database: Database) -> None:
    while True:
        await database.migrated.wait()
        try:
            MEASURES.last = await look(database)
        except (ServiceUnavailable, UpstreamTimeout):
            # What it was is not what it is.
            MEASURES.last = None
        except Exception:
            MEASURES.last = None
            log.exception("database_not_measured")
        await asyncio.sleep(MEASURE_EVERY_S)
