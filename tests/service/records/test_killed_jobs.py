"""A background job whose process is killed in a slice: real processes, a real broker."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from records_service.app import create_app
from records_service.config import Config
from records_service.value_removal import commands as value_removal
from shared.database import Database
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.processes import Process
from tests.kit.service import RunningService, Services
from tests.kit.workspace import schema_body

SKU = {"id": "attr-sku", "alias": "sku", "name": "SKU", "type": "text"}
MANY = 20_000


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Process]]:
    """Two processes of records_service that do what is in the background, not started yet."""
    both = [
        Process(f"worker-{n}", tmp_path, module="records_service", role="worker") for n in (1, 2)
    ]
    yield both
    for one in both:
        one.kill()


async def start(worker: Process, service: RunningService) -> None:
    config = service.config
    worker.configure(
        {
            "SIGMA_DATABASE_URL": config.database_url.get_secret_value(),
            "SIGMA_AMQP_URL": config.amqp_url.get_secret_value(),
            "SIGMA_IDENTITY_KEYS": config.identity_keys,
            "SIGMA_AUTH_URL": str(config.auth_url),
            "SIGMA_WORKFLOW_URL": str(config.workflow_url),
        }
    )
    worker.start()
    await asyncio.to_thread(worker.wait_ready)


async def test_another_process_goes_on_when_one_is_killed_in_a_slice(
    services: Services, workers: list[Process]
):
    records = await services.start(create_app, Config, amqp_url=await services.broker())
    modeller = records.as_(identities.admin())
    db: Database = records.database
    (await modeller.post("/attributes", SKU)).ok()
    (await modeller.post("/schemas", schema_body("x", ["sku"]))).ok()
    workspace = await db.fetchval("SELECT workspace_id FROM schemas")
    await db.execute(
        """
        INSERT INTO records (workspace_id, id, schema_id, state_id, version, values,
                             created_at, updated_at, created_by, updated_by)
        SELECT $1, 'ent-' || n, 'schema-x', null, 1, $2::text::jsonb,
               now() - interval '1 hour' + n / 7 * interval '1 ms', now(), 'user-x', 'user-x'
          FROM generate_series(1, $3::bigint) AS n
        """,
        workspace,
        json.dumps({"attr-sku": [{"scope": {}, "value": "S"}], "attr-kept": []}),
        MANY,
    )
    (await modeller.put("/schemas/schema-x", schema_body("x", []))).ok()
    (await modeller.delete("/attributes/attr-sku")).ok()
    left = "SELECT count(*) FROM records WHERE values ? 'attr-sku'"
    assert await db.fetchval(left) == MANY - value_removal.REMOVED_IN_REQUEST

    blocker = await asyncpg.connect(db.url)
    try:
        async with blocker.transaction():
            await blocker.execute("SELECT FROM records WHERE id = 'ent-15000' FOR UPDATE")
            await start(workers[0], records)
            await eventually(records.waits_for_a_lock, within_s=30)
            await start(workers[1], records)
            workers[0].kill()
        assert await db.fetchval(left) > 0
    finally:
        await blocker.close()

    async def is_finished() -> bool:
        return not await db.fetchval("SELECT count(*) FROM jobs")

    await eventually(is_finished, within_s=30)
    assert await db.fetchval(left) == 0
    assert await db.fetchval("SELECT count(*) FROM records WHERE values ? 'attr-kept'") == MANY
    assert await db.fetchval("SELECT count(*) FROM attribute_removals") == 0
    (await modeller.post("/attributes", SKU)).ok()

    def has_measured() -> bool:
        with urllib.request.urlopen(f"{workers[1].internal_url}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        slices = next(line for line in lines if line.startswith("sigma_job_slices_total{"))
        return 'sigma_jobs{kind="remove_values"} 0.0' in lines and not slices.endswith(" 0.0")

    await eventually(lambda: asyncio.to_thread(has_measured), within_s=30)
