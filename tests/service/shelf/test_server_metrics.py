"""What PostgreSQL tells of a database: seen by a second session while others hold and wait."""

from __future__ import annotations

import asyncio

import asyncpg
from prometheus_client.registry import CollectorRegistry

from shared.database import Database
from shared.database.server_metrics import DatabaseMeasures, look
from tests.kit.eventually import eventually
from tests.kit.servers import Servers


async def test_an_open_transaction_and_who_waits_for_it_are_seen(servers: Servers):
    url = await servers.postgres.new_database("auth_service")
    database = Database(url, connections_max=1)
    holding, waiting = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        before = await look(database)
        assert (before.database["oldest_s"], before.database["waiting"]) == (0, 0)
        transaction = holding.transaction()
        await transaction.start()
        await holding.execute("ANALYZE outbox; LOCK TABLE outbox")
        blocked = asyncio.create_task(waiting.execute("BEGIN; LOCK TABLE outbox"))

        async def somebody_waits() -> bool:
            return (await look(database)).database["waiting"] == 1

        await eventually(somebody_waits)
        measures = DatabaseMeasures()
        registry = CollectorRegistry()
        registry.register(measures)
        assert list(registry.collect()) == []
        measures.last = await look(database)
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in registry.collect()
            for sample in family.samples
        }
        assert samples["sigma_postgres_oldest_transaction_seconds",] > 0
        assert samples["sigma_postgres_lock_waits",] == 1
        assert samples["sigma_postgres_transactions_total", "committed"] > 0
        assert samples["sigma_postgres_table_bytes", "outbox"] > 0
        assert ("sigma_postgres_table_rows", "outbox", "dead") in samples
        assert ("sigma_postgres_table_rows_walked_total", "outbox") in samples
        assert len([name for name in samples if name[0] == "sigma_postgres_table_bytes"]) <= 20
        await transaction.rollback()
        blocked.cancel()
    finally:
        for conn in (holding, waiting):
            conn.terminate()
        await database.close()
