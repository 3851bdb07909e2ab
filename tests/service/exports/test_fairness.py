"""One workspace's destination, or one broken job, holds up nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit.eventually import eventually
from tests.kit.sigma import error
from tests.service.exports.conftest import Exports
from workflow_service.export_runs import commands, running, turns

MINUTE = "UPDATE export_jobs SET next_run_at = clock_timestamp() - interval '1 minute'"


async def begin(exports: Exports, caller: Any, path: str, job_id: str) -> None:
    config = {"url": exports.receiver.url + path}
    (await caller.post("/export-jobs", exports.body(id=job_id, destinationConfig=config))).ok()
    (await caller.post(f"/export-jobs/{job_id}/runs")).ok()


async def test_slow_destinations_give_their_places_to_other_workspaces(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(turns, "PLACES", 2)
    monkeypatch.setattr(turns, "LASTING", 1)
    monkeypatch.setattr(turns, "TURN_S", 0.1)
    monkeypatch.setattr(running, "RENEW_S", 0.05)
    monkeypatch.setattr(running, "GRACE_S", 0.0)
    # What gave way does not come again before the end of this test.
    monkeypatch.setattr(running, "AGAIN_AFTER_S", (600.0,) * 3)
    exports.receiver.held = asyncio.Event()
    first, second, third = exports.admin, await exports.neighbour(), await exports.neighbour()
    await begin(exports, first, "/slow", "job-oldest")
    await exports.worker()
    await begin(exports, second, "/slow", "job-slow")

    async def both_are_under_way() -> bool:
        found = await exports.database.fetchval(
            "SELECT count(*) FROM export_runs WHERE worker IS NOT NULL"
        )
        return bool(found == 2)

    await eventually(both_are_under_way)
    await begin(exports, third, "/quick", "job-quick")

    async def ended() -> Any:
        (run,) = (await third.get("/export-jobs/job-quick/runs")).ok()
        return None if run["status"] == "running" else run

    run = await eventually(ended)
    assert run is not None
    assert run["status"] == "success"
    rows = await exports.database.fetch(
        """SELECT job_id, worker IS NOT NULL AS goes_on, attempt FROM export_runs
            WHERE status = 'running' ORDER BY job_id"""
    )
    assert [tuple(row) for row in rows] == [("job-oldest", True, 1), ("job-slow", False, 1)]
    exports.receiver.held.set()


UNREADABLE = "The schedule cannot be read: {}. It is tried again in an hour"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (
            "timezone",
            "Europe/Atlantis",
            UNREADABLE.format("time zone 'Europe/Atlantis' is not known"),
        ),
        ("schedule", "61 * * * *", UNREADABLE.format("cron line '61 * * * *': bad minute")),
        ("schedule", None, "Internal error"),
    ],
)
async def test_a_job_that_cannot_begin_says_so_and_holds_up_no_other(
    exports: Exports, field: str, value: str | None, reason: str
):
    """As after an upgrade: what was accepted once is not understood any more."""
    await exports.job(id="job-good")
    await exports.job(id="job-bad")
    await exports.database.execute(MINUTE)
    await exports.database.execute(
        """UPDATE export_jobs
              SET body = body || jsonb_build_object($1::text, $2::text),
                  next_run_at = next_run_at - interval '1 hour'
            WHERE id = 'job-bad'""",
        field,
        value,
    )
    assert await commands.start_due(exports.database) == 2
    (good,) = await exports.runs("job-good")
    (bad,) = await exports.runs("job-bad")
    assert (good["status"], bad["status"], bad["error"]) == ("running", "failed", reason)
    # It is not due again at once, and runs when it is understood again.
    assert await commands.start_due(exports.database) == 0
    await exports.database.execute(
        'UPDATE export_jobs SET body = body || \'{"timezone": "UTC", "schedule": "0 0 1 1 *"}\''
    )
    await exports.database.execute(MINUTE)
    await commands.start_due(exports.database)
    assert [run["status"] for run in await exports.runs("job-bad")] == ["running", "failed"]


async def test_a_schedule_that_cannot_be_read_is_not_resumed(exports: Exports):
    await exports.job(id="job-bad")
    (await exports.admin.post("/export-jobs/job-bad/pause")).ok()
    await exports.database.execute(
        'UPDATE export_jobs SET body = body || \'{"timezone": "Europe/Atlantis"}\''
    )
    refused = await exports.admin.post("/export-jobs/job-bad/resume")
    assert refused.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'timezone' expects the IANA name of a time zone, such as 'Europe/Copenhagen', got"
        " 'Europe/Atlantis'",
    )
    (await exports.admin.put("/export-jobs/job-bad", {"timezone": "UTC"})).ok()
    assert (await exports.admin.post("/export-jobs/job-bad/resume")).ok()["status"] == "active"
