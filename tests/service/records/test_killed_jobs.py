"""A background job whose process is killed in a slice: real processes, a real broker."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from records_service.app import create_app
from records_service.config import Config
from records_service.search_texts.waking import wake
from shared.database import Database
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.processes import Process
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller
from tests.kit.workspace import schema_body, workflow_body
from tests.service.records.job_turns import job_path
from workflow_service.app import create_app as create_workflow_app
from workflow_service.clients import RECORDS
from workflow_service.config import Config as WorkflowConfig

SKU = {"id": "attr-sku", "alias": "sku", "name": "SKU", "type": "text"}
MANY = 20_000
OTHER_JOBS = ["build_search_index", "index_texts"]
"""What follows every change of the records, and ends some time later."""


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


async def fill(db: Database, sku: str = "'S'::text") -> None:
    """Many records of `schema-x`, without a state; `sku` is SQL of the number `n`."""
    await db.execute(
        f"""
        INSERT INTO records (workspace_id, id, schema_id, state_id, version, values,
                             created_at, updated_at, created_by, updated_by)
        SELECT (SELECT workspace_id FROM schemas), 'ent-' || n, 'schema-x', null, 1,
               jsonb_set($1::text::jsonb, '{{attr-sku,0,value}}', to_jsonb({sku})),
               now() - interval '1 hour' + n / 7 * interval '1 ms', now(), 'user-x', 'user-x'
          FROM generate_series(1, $2::bigint) AS n
        """,
        json.dumps({"attr-sku": [{"scope": {}, "value": "S"}], "attr-kept": []}),
        MANY,
    )


async def filled(services: Services, sku: str = "'S'::text") -> tuple[RunningService, Caller]:
    """A service with many records of `schema-x`, and somebody who may change its model."""
    records = await services.start(create_app, Config, amqp_url=await services.broker())
    modeller = records.as_(identities.admin())
    (await modeller.post("/attributes", SKU)).ok()
    (await modeller.post("/schemas", schema_body("x", ["sku"]))).ok()
    await fill(records.database, sku)
    return records, modeller


async def kill_in_a_slice(
    workers: list[Process],
    records: RunningService,
    block: str = "SELECT FROM records WHERE id = 'ent-15000' FOR UPDATE",
    others: Sequence[str] = OTHER_JOBS,
) -> None:
    """Kill the process that is at a slice, and wait until another one has finished the job."""
    db: Database = records.database
    jobs = "SELECT count(*) FROM jobs WHERE kind <> ALL($1)"
    blocker = await asyncpg.connect(db.url)
    try:
        async with blocker.transaction():
            await blocker.execute(block)
            await start(workers[0], records)
            await eventually(records.waits_for_a_lock, within_s=180)
            await start(workers[1], records)
            workers[0].kill()
            # Nobody can have ended it, for it waits for this transaction.
            assert await db.fetchval(jobs, others) == 1
    finally:
        await blocker.close()

    async def is_finished() -> bool:
        return not await db.fetchval(jobs, others)

    await eventually(is_finished, within_s=180)


async def test_another_process_goes_on_when_one_is_killed_in_a_slice(
    services: Services, workers: list[Process]
):
    records, modeller = await filled(services)
    db: Database = records.database
    (await modeller.put("/schemas/schema-x", schema_body("x", []))).ok()
    (await modeller.delete("/attributes/attr-sku")).ok()
    left = "SELECT count(*) FROM records WHERE values ? 'attr-sku'"
    assert await db.fetchval(left) == MANY

    await kill_in_a_slice(workers, records)
    assert await db.fetchval(left) == 0
    assert await db.fetchval("SELECT count(*) FROM records WHERE values ? 'attr-kept'") == MANY
    assert await db.fetchval("SELECT count(*) FROM attribute_removals") == 0
    (await modeller.post("/attributes", SKU)).ok()

    def has_measured() -> bool:
        with urllib.request.urlopen(f"{workers[1].internal_url}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        slices = next(line for line in lines if line.startswith("sigma_job_slices_total{"))
        return 'sigma_jobs{kind="remove_values"} 0.0' in lines and not slices.endswith(" 0.0")

    await eventually(lambda: asyncio.to_thread(has_measured), within_s=60)


async def test_another_process_moves_the_records_to_their_states_when_one_is_killed(
    services: Services, workers: list[Process]
):
    workflows = await services.start(create_workflow_app, WorkflowConfig)
    records = await services.start(
        create_app, Config, amqp_url=await services.broker(), workflow_url=workflows.url
    )
    workflows.app[RECORDS]._base_url = records.url
    db: Database = records.database
    modeller = records.as_(identities.admin())
    life = workflow_body("life", ("draft", "done"), [("draft", "done")])
    (await workflows.as_(identities.admin()).post("/workflows", life)).ok()
    (await modeller.post("/attributes", SKU)).ok()
    (await modeller.post("/schemas", schema_body("x", ["sku"]))).ok()
    await fill(db)
    bound = schema_body("x", ["sku"], workflowId="wf-life")
    (await modeller.put("/schemas/schema-x", bound)).ok()
    await kill_in_a_slice(workers, records)

    assert await db.fetchval("SELECT count(*) FROM state_moves") == 0
    rows = await db.fetch("SELECT state_id, version, count(*) FROM records GROUP BY 1, 2")
    assert [tuple(row) for row in rows] == [("state-draft", 2, MANY)]
    told = "SELECT count(*), count(DISTINCT record_id) FROM audit WHERE action = 'transition'"
    assert tuple(await db.fetchrow(told) or ()) == (MANY, MANY)


async def test_another_process_goes_on_making_an_attribute_unique_when_one_is_killed(
    services: Services, workers: list[Process]
):
    records, modeller = await filled(services, "'S' || n")
    db: Database = records.database
    answer = await modeller.put("/attributes/attr-sku", SKU | {"validation": {"unique": True}})
    assert answer.ok()["uniqueSince"] is None
    # As a writer that takes the value of a record, and then does not.
    await kill_in_a_slice(
        workers,
        records,
        """INSERT INTO unique_values
        SELECT workspace_id, 'attr-sku', '{}', sha256('"S15000"'), 'ent-none' FROM schemas""",
    )
    assert (await modeller.get("/attributes/attr-sku")).ok()["uniqueSince"] is not None
    assert await db.fetchval("SELECT count(*) FROM unique_values") == MANY
    assert await db.fetchval("SELECT count(*) FROM unique_checks") == 0

    job = (await modeller.get(job_path(answer))).ok()
    told = {name: job[name] for name in ("status", "total", "processed", "unchanged", "failed")}
    assert told == {
        "status": "succeeded",
        "total": MANY,
        "processed": MANY,
        "unchanged": MANY,
        "failed": 0,
    }


async def test_another_process_goes_on_removing_old_history_when_one_is_killed(
    services: Services, workers: list[Process]
):
    records = await services.start(create_app, Config, amqp_url=await services.broker())
    db: Database = records.database
    for workspace in ("ws-test", "ws-other"):
        await db.execute(
            """
            INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                               changes)
            SELECT $1, 'ent-' || n % 100, n, 'schema-x', 'update', 'user-x',
                   now() - interval '400 days' + n * interval '1 minute', '[]'
              FROM generate_series(1, $2::bigint) AS n
            """,
            workspace,
            MANY,
        )
    admin = records.as_(identities.admin())
    (await admin.post("/attributes", SKU)).ok()
    (await admin.post("/schemas", schema_body("x", ["sku"]))).ok()
    draft = {"id": "ent-new", "schemaId": "schema-x", "values": {}}
    record = (await admin.post("/records", draft)).ok()
    (await admin.put("/audit/retention", {"days": 365})).ok()
    # No statement requests the job: the processes look for what is due when they start.
    await kill_in_a_slice(
        workers,
        records,
        "SELECT FROM audit WHERE version = 15000 AND workspace_id = 'ws-test' FOR UPDATE",
    )
    counted = "SELECT count(*) FROM audit WHERE workspace_id = $1"
    assert await db.fetchval(counted, "ws-test") == 1
    assert await db.fetchval(counted, "ws-other") == MANY
    assert (await admin.get("/records/ent-new")).ok() == record
    assert (await admin.get("/audit")).ok()["total"] == 1


async def followed(modeller: Caller, kind: str) -> dict[str, Any]:
    """What is told of the only job of this kind that has not been cancelled."""
    listed = (await modeller.get(f"/jobs?kind={kind}")).ok()["items"]
    [job] = [one for one in listed if one["status"] != "cancelled"]
    told = ("status", "total", "processed", "attributeId", "schemaId", "createdBy")
    return {name: job[name] for name in told}


DONE = {
    "status": "succeeded",
    "total": MANY,
    "processed": MANY,
    "attributeId": None,
    "schemaId": None,
    "createdBy": None,
}


async def test_another_process_goes_on_building_the_index_when_one_is_killed(
    services: Services, workers: list[Process]
):
    records, modeller = await filled(services, "'S' || n")
    db: Database = records.database
    changed = await modeller.put("/attributes/attr-sku", SKU | {"filterable": True})
    assert changed.ok()["filterableSince"] is None
    await kill_in_a_slice(workers, records, others=["index_texts"])
    assert (await modeller.get("/attributes/attr-sku")).ok()["filterableSince"] is not None
    assert await followed(modeller, "build-index") == DONE
    rows = "SELECT count(*), count(DISTINCT record_id) FROM search_records WHERE terms <> '{}'"
    assert tuple(await db.fetchrow(rows) or ()) == (MANY, MANY)


async def test_another_process_goes_on_indexing_texts_when_one_is_killed(
    services: Services, workers: list[Process]
):
    records, modeller = await filled(services, "'S' || n")
    db: Database = records.database
    await wake(db, looks_at_models=True)
    # As another one that indexes the record at this moment.
    await kill_in_a_slice(
        workers,
        records,
        """INSERT INTO search_texts
        SELECT workspace_id, created_at, id, schema_id, 0, '', '{}', '{}', '{}', '{}', '{}', '{}'
          FROM records WHERE id = 'ent-15000'""",
        others=["build_search_index"],
    )
    assert await followed(modeller, "index-texts") == DONE
    rows = "SELECT count(*), count(DISTINCT record_id) FROM search_texts WHERE words <> '{}'"
    assert tuple(await db.fetchrow(rows) or ()) == (MANY, MANY)


async def test_another_process_goes_on_converting_values_when_one_is_killed(
    services: Services, workers: list[Process]
):
    records, modeller = await filled(services, "n::text")
    db: Database = records.database
    answer = await modeller.post("/attributes/attr-sku/convert", {"type": "number"})
    await kill_in_a_slice(workers, records)
    job = (await modeller.get(answer.headers["Location"].removeprefix("/api/v1"))).ok()
    told = [job[name] for name in ("status", "total", "processed", "updated")]
    assert told == ["succeeded", MANY, MANY, MANY]
    rows = await db.fetch(
        """SELECT version, jsonb_typeof(values #> '{attr-sku,0,value}') AS type, count(*)
             FROM records WHERE converted IS NULL GROUP BY 1, 2"""
    )
    assert [tuple(row) for row in rows] == [(2, "number", MANY)]
    told_of = "SELECT count(*), count(DISTINCT record_id) FROM audit WHERE action = 'update'"
    assert tuple(await db.fetchrow(told_of) or ()) == (MANY, MANY)
    assert await db.fetchval("SELECT count(*) FROM conversions") == 0
