"""SIGKILL of a worker in the middle of a run: it starts anew, and no half file is ever visible."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from records_service.exports import store
from tests.kit.eventually import eventually
from tests.kit.file_servers import SftpServer, sshd_or_skip
from tests.kit.processes import Process
from tests.service.exports.conftest import LOCAL, Exports
from workflow_service.export_runs import commands, exporting, running

MANY = 12_000
HELD_AFTER = MANY * 3 // 4 // store.ROWS_AT_ONCE
"""Parts of the records, which are more than the bytes of a file that are sent together."""


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[SftpServer]:
    server = SftpServer(tmp_path, sshd_or_skip())
    yield server
    server.close()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Process]]:
    """Two worker processes of workflow_service, not started yet."""
    both = [
        Process(f"worker-{n}", tmp_path, module="workflow_service", role="worker") for n in (1, 2)
    ]
    yield both
    for one in both:
        one.kill()


async def start(worker: Process, exports: Exports) -> None:
    config = exports.workflow.config
    worker.configure(
        {
            "SIGMA_DATABASE_URL": config.database_url.get_secret_value(),
            "SIGMA_AMQP_URL": config.amqp_url.get_secret_value(),
            "SIGMA_IDENTITY_KEYS": config.identity_keys,
            "SIGMA_IDENTITY_SIGNING_KEY": config.identity_signing_key.get_secret_value(),
            "SIGMA_SECRET_KEYS": config.secret_keys.get_secret_value(),
            "SIGMA_AUTH_URL": str(config.auth_url),
            "SIGMA_RECORDS_URL": str(config.records_url),
            "SIGMA_OUTBOUND_ALLOW": LOCAL,
            "SIGMA_DRAIN_SECONDS": "0",
        }
    )
    worker.start()


async def fill(exports: Exports) -> None:
    """Many more records, copies of the first one."""
    await exports.direct.running["records_service"].database.execute(
        """INSERT INTO records (workspace_id, id, schema_id, state_id, version, values,
                                created_at, updated_at, created_by, updated_by)
           SELECT workspace_id, 'ent-many-' || n, schema_id, state_id, version, values,
                  created_at + n * interval '1 ms', updated_at, created_by, updated_by
             FROM records, generate_series(1, $1::bigint) AS n
            WHERE id = 'ent-0'""",
        MANY,
    )


@pytest.fixture
def goes_on(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Until it is set, the records behind the first parts are not read."""
    goes_on, read, parts = asyncio.Event(), store.read_part, itertools.count(1)

    async def read_or_wait(*args: Any, **more: Any) -> Any:
        if next(parts) > HELD_AFTER:
            await goes_on.wait()
        return await read(*args, **more)

    monkeypatch.setattr(store, "read_part", read_or_wait)
    return goes_on


async def test_a_killed_run_starts_anew_and_shows_no_half_file(
    exports: Exports, workers: list[Process], sftp: SftpServer, goes_on: asyncio.Event
):
    await fill(exports)
    target = sftp.files / "all.jsonl"
    job = await exports.job(destinationType="sftp", destinationConfig=sftp.config(path=str(target)))
    begun = (await exports.admin.post(f"/export-jobs/{job['id']}/runs")).ok()
    await start(workers[0], exports)
    parts = f".sigma-{begun['id']}*.part"
    await eventually(
        lambda: any(part.stat().st_size for part in sftp.files.glob(parts)), within_s=60
    )
    workers[0].kill()
    goes_on.set()
    assert not target.exists(), "the file was visible before the run had ended"
    (run,) = await exports.runs(job["id"])
    assert run["status"] == "running"
    # As if the lease had ended, which nobody renews any more.
    await exports.database.execute("UPDATE export_runs SET leased_until = now()")
    await start(workers[1], exports)

    async def is_ended() -> bool:
        (run,) = await exports.runs(job["id"])
        return run["status"] != "running"

    await eventually(is_ended, within_s=90)
    (run,) = await exports.runs(job["id"])
    assert (run["id"], run["status"], run["recordCount"]) == (begun["id"], "success", MANY + 3)
    lines = await asyncio.to_thread(target.read_text)
    ids = [json.loads(line)["id"] for line in lines.splitlines()]
    assert len(ids) == len({*ids}) == MANY + 3
    assert [each.name for each in sftp.files.iterdir()] == ["all.jsonl"]


async def test_a_worker_that_stops_gives_its_run_back_at_once(
    exports: Exports, workers: list[Process]
):
    exports.receiver.held = asyncio.Event()
    job = await exports.job()
    (await exports.admin.post(f"/export-jobs/{job['id']}/runs")).ok()
    await start(workers[0], exports)
    async with asyncio.timeout(60):
        await exports.receiver.asked.wait()
    await asyncio.to_thread(workers[0].stop)
    exports.receiver.held.set()
    row = await exports.database.fetchrow(
        "SELECT status, worker, attempt, leased_until <= now() AS waits FROM export_runs"
    )
    assert row is not None
    assert tuple(row) == ("running", None, 0, True)


async def test_a_deleted_job_ends_its_run(exports: Exports, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "RENEW_S", 0.05)
    exports.receiver.held = asyncio.Event()
    await exports.worker()
    job = await exports.job()
    (await exports.admin.post(f"/export-jobs/{job['id']}/runs")).ok()
    async with asyncio.timeout(60):
        await exports.receiver.asked.wait()
    lost = commands.ENDED.labels("lost")
    before = lost._value.get()
    assert (await exports.admin.delete(f"/export-jobs/{job['id']}")).status == 204
    await eventually(lambda: lost._value.get() == before + 1)
    exports.receiver.held.set()


async def test_a_run_has_a_longest_duration(exports: Exports, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporting, "RUN_S_MAX", 1.8)
    exports.receiver.held = asyncio.Event()
    await exports.worker()
    run = await exports.run((await exports.job())["id"])
    assert (run["status"], run["error"]) == ("failed", "The run took longer than 0.0005 hours")
    exports.receiver.held.set()
