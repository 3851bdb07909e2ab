"""Runs of export jobs, done by workers against a real receiver."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.sigma import error
from tests.service.exports.conftest import Exports
from workflow_service.export_runs import commands, running

ACTIVE = "active"


async def make_due(exports: Exports, ago: str = "1 second") -> None:
    """As if the time of the schedule had come a while ago."""
    await exports.database.execute(
        "UPDATE export_jobs SET next_run_at = clock_timestamp() - $1::text::interval", ago
    )


def ids(file: bytes) -> list[str]:
    return [json.loads(line)["id"] for line in file.decode().splitlines()]


async def test_a_run_by_hand_brings_every_record_to_the_destination(exports: Exports):
    await exports.worker()
    job = await exports.job()
    begun = await exports.admin.post(f"/export-jobs/{job['id']}/runs")
    assert begun.status == 201
    assert begun.body == {
        "id": begun.body["id"],
        "jobId": job["id"],
        "status": "running",
        "startedAt": begun.body["startedAt"],
        "completedAt": None,
        "recordCount": None,
        "fileSize": None,
        "replacedCharacters": None,
        "destinationPath": None,
        "error": None,
    }
    run = await exports.ended(job["id"])
    (file,) = exports.receiver.files
    assert ids(file) == ["ent-0", "ent-1", "ent-2"]
    assert run["id"] == begun.body["id"]
    assert (run["status"], run["recordCount"], run["fileSize"], run["error"]) == (
        "success",
        3,
        len(file),
        None,
    )
    assert run["destinationPath"] == exports.receiver.url + "/in"
    stored = (await exports.admin.get(f"/export-jobs/{job['id']}")).ok()
    assert stored["lastRunAt"] == run["startedAt"]


async def test_the_filters_of_the_job_hold(exports: Exports):
    await exports.workspace.schema("y", ["sku"])
    await exports.worker()
    job = await exports.job(schemaId="schema-y", format="json")
    run = await exports.run(job["id"])
    assert (run["recordCount"], json.loads(exports.receiver.files[0])) == (0, [])


async def test_a_second_run_is_refused_while_one_is_under_way(exports: Exports):
    job = await exports.job()
    path = f"/export-jobs/{job['id']}/runs"
    answers = await asyncio.gather(*(exports.admin.post(path) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409]
    taken = next(answer for answer in answers if answer.status == 409)
    assert taken.outcome == error(409, "CONFLICT", f"Export job '{job['id']}' is running already")


async def test_a_schedule_fires_once_however_many_workers_there_are(exports: Exports):
    job = await exports.job()
    await make_due(exports, "3 days")
    await asyncio.gather(*(commands.start_due(exports.database) for _ in range(6)))
    assert len(await exports.runs(job["id"])) == 1
    stored = (await exports.admin.get(f"/export-jobs/{job['id']}")).ok()
    assert stored["nextRunAt"] == job["nextRunAt"]
    # What was due while the run is under way is left out.
    await make_due(exports)
    await commands.start_due(exports.database)
    assert len(await exports.runs(job["id"])) == 1


async def test_workers_begin_what_is_due_and_sleep_until_the_next_time(exports: Exports):
    for _ in range(2):
        await exports.worker()
    job = await exports.job()
    await make_due(exports, "400 days")
    async with exports.database.acquire() as conn:
        await conn.execute("SELECT pg_notify('export_jobs', '')")
    run = await exports.ended(job["id"])
    assert run["status"] == "success"
    assert len(exports.receiver.files) == 1


async def test_a_paused_job_is_not_due_but_runs_by_hand(exports: Exports):
    await exports.worker()
    job = await exports.job()
    paused = (await exports.admin.post(f"/export-jobs/{job['id']}/pause")).ok()
    assert (paused["status"], paused["nextRunAt"]) == ("paused", None)
    assert (await exports.admin.post(f"/export-jobs/{job['id']}/pause")).ok() == paused
    assert (await exports.run(job["id"]))["status"] == "success"
    resumed = (await exports.admin.post(f"/export-jobs/{job['id']}/resume")).ok()
    assert (resumed["status"], resumed["nextRunAt"]) == (ACTIVE, job["nextRunAt"])
    assert (await exports.admin.post(f"/export-jobs/{job['id']}/resume")).ok() == resumed


async def test_a_run_has_the_rights_that_its_creator_has_now(exports: Exports):
    hidden = {"schema-x": {"attr-sku": "read", "attr-cost": "hidden"}}
    await exports.workspace.role("role-editor", hidden, canExport=True)
    editor = await exports.editor()
    await exports.worker()
    job = await exports.job(editor)
    assert (job["createdBy"], job["runsAs"]) == ("user-editor", "user-editor")
    await exports.run(job["id"])
    assert b"cost" not in exports.receiver.files[0]
    shown = [
        {"schemaId": "schema-x", "attributePermissions": {"attr-sku": "read", "attr-cost": "read"}}
    ]
    role = {"name": "Editor", "schemaPermissions": shown}
    (await exports.admin.put("/roles/role-editor", role | {"canExport": True})).ok()
    await exports.run(job["id"])
    assert b"cost" in exports.receiver.files[1]
    (await exports.admin.put("/roles/role-editor", role | {"canExport": False})).ok()
    run = await exports.run(job["id"])
    assert (run["status"], run["error"]) == (
        "failed",
        "'user-editor', with whose rights the job runs, may not export records",
    )
    assert len(exports.receiver.files) == 2


async def test_a_job_whose_creator_is_gone_says_so_until_somebody_takes_it_over(exports: Exports):
    await exports.workspace.role("role-editor", {"schema-x": {"*": "read"}}, canExport=True)
    job = await exports.job(await exports.editor())
    await exports.worker()
    await exports.auth.execute("UPDATE users SET active = false WHERE id = 'user-editor'")
    run = await exports.run(job["id"])
    assert run["error"] == "The user 'user-editor', for whom this runs, is disabled"
    await exports.auth.execute("DELETE FROM users WHERE id = 'user-editor'")
    run = await exports.run(job["id"])
    assert run["error"] == "The user 'user-editor', for whom this runs, was deleted"
    taken = (await exports.admin.put(f"/export-jobs/{job['id']}", {"name": "Mine"})).ok()
    assert (taken["createdBy"], taken["runsAs"]) == ("user-editor", "user-admin")
    assert (await exports.run(job["id"]))["status"] == "success"


async def test_nobody_gets_more_rights_by_changing_the_job_of_another(exports: Exports):
    await exports.workspace.role("role-editor", {"schema-x": {"attr-sku": "read"}}, canExport=True)
    editor = await exports.editor()
    job = await exports.job()
    changed = (await editor.put(f"/export-jobs/{job['id']}", {"description": "now mine"})).ok()
    assert changed["runsAs"] == "user-editor"
    # An administrator gives the destination of the editor no more than the editor sees.
    changed = (await exports.admin.put(f"/export-jobs/{job['id']}", {"name": "Spring"})).ok()
    assert changed["runsAs"] == "user-editor"


async def test_a_key_that_may_not_read_gets_no_file_by_changing_the_job_of_another(
    exports: Exports,
):
    permissions = ["update-model", "update-data"]
    await exports.auth.execute(
        """INSERT INTO api_keys (workspace_id, id, name, permissions, key_hash, active, version,
                                 created_by, created_at)
           VALUES ($1, 'apikey-blind', 'Blind', $2, 'none', true, 1, 'user-admin', now())""",
        exports.workspace.id,
        permissions,
    )
    blind = exports.direct.caller(
        identities.api_key(exports.workspace.id, permissions, key_id="apikey-blind")
    )
    await exports.worker()
    job = await exports.job()
    url = exports.receiver.url + "/theirs"
    (await blind.put(f"/export-jobs/{job['id']}", {"destinationConfig": {"url": url}})).ok()
    changed = (await exports.admin.get(f"/export-jobs/{job['id']}")).ok()
    run = await exports.run(job["id"])
    assert (changed["runsAs"], run["status"]) == ("apikey-blind", "failed")
    assert exports.receiver.files == []


async def test_a_destination_that_refuses_fails_the_run_with_its_answer(exports: Exports):
    await exports.worker()
    exports.receiver.status = 507
    job = await exports.job()
    run = await exports.run(job["id"])
    assert (run["status"], run["destinationPath"], run["recordCount"]) == ("failed", None, None)
    assert "507" in run["error"]


async def test_a_run_that_is_interrupted_is_started_anew_later(exports: Exports):
    worker = await exports.worker(records_url="http://127.0.0.1:9")
    job = await exports.job()
    (await exports.admin.post(f"/export-jobs/{job['id']}/runs")).ok()

    async def given_back() -> bool:
        row = await exports.database.fetchrow(
            """SELECT worker, attempt, leased_until > clock_timestamp() + interval '5 seconds'
                 FROM export_runs"""
        )
        assert row is not None
        return tuple(row) == (None, 1, True)

    await eventually(given_back)
    await exports.database.execute(
        "UPDATE export_runs SET attempt = $1, leased_until = clock_timestamp()",
        running.ATTEMPTS_MAX - 1,
    )
    async with exports.database.acquire() as conn:
        await conn.execute("SELECT pg_notify('export_jobs', '')")
    run = await exports.ended(job["id"])
    assert run["error"].startswith("After 4 attempts: ")
    assert worker is not None


async def test_a_workspace_has_two_runs_at_a_time_and_the_longest_waits_least(exports: Exports):
    for number in range(4):
        job = await exports.job(id=f"job-{number}")
        (await exports.admin.post(f"/export-jobs/{job['id']}/runs")).ok()
    claims = [await commands.claim(exports.database, f"w{n}", 30.0, 2) for n in range(3)]
    assert [None if claim is None else claim.job_id for claim in claims] == ["job-0", "job-1", None]


async def test_a_run_made_elsewhere_is_recorded(exports: Exports):
    job = await exports.job()
    path = f"/export-jobs/{job['id']}/runs"
    sent: dict[str, Any] = {
        "status": "failed",
        "startedAt": "2026-02-04T17:30:00.000Z",
        "completedAt": "2026-02-04T17:31:00.000Z",
        "recordCount": 12,
        "fileSize": 4_096,
        "destinationPath": "s3://bucket/file.csv",
        "error": "disk full",
    }
    made = await exports.admin.post(path, sent)
    assert made.status == 201
    assert made.body == sent | {
        "id": made.body["id"],
        "jobId": job["id"],
        "replacedCharacters": None,
    }
    assert await exports.runs(job["id"]) == [made.body]
    refused = await exports.admin.post(path, sent | {"completedAt": "2026-02-04T17:29:00Z"})
    assert refused.outcome == error(
        400, "VALIDATION_ERROR", "Field 'completedAt' must not be before 'startedAt'"
    )
    for field in ("startedAt", "completedAt"):
        refused = await exports.admin.post(
            path, {"status": "success", field: "9999-01-01T00:00:00Z"}
        )
        assert refused.outcome == error(
            400, "VALIDATION_ERROR", f"Field '{field}' must not be in the future"
        )
    assert (await exports.admin.post(path, {"recordCount": 1})).status == 400
    assert (await exports.admin.post(path, {"status": "running"})).status == 400


async def test_the_last_200_runs_are_kept(exports: Exports):
    job = await exports.job()
    await exports.database.execute(
        """INSERT INTO export_runs (workspace_id, job_id, id, status, started_at)
           SELECT workspace_id, id, 'run-' || n, 'success', now() - n * interval '1 hour'
             FROM export_jobs, generate_series(1, 250) AS n"""
    )
    (await exports.admin.post(f"/export-jobs/{job['id']}/runs", {"status": "success"})).ok()
    runs = await exports.runs(job["id"])
    assert (len(runs), runs[-1]["id"]) == (200, "run-199")
    assert await exports.database.fetchval("SELECT count(*) FROM export_runs") == 200
