"""Imports with a real broker: a workspace with many files does not hold up another."""

from __future__ import annotations

from datetime import datetime

import pytest

from records_service.app import create_app
from records_service.config import Config
from shared.messaging import job_turns
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.service import Services
from tests.service.records.import_files import send

MANY = 20


async def test_an_import_does_not_wait_for_all_files_of_another_workspace(
    services: Services, monkeypatch: pytest.MonkeyPatch
):
    # Of two, one might be kept waiting by the machine while the other goes on.
    monkeypatch.setattr(job_turns, "WORKERS", 1)
    records = await services.start(create_app, Config, amqp_url=await services.broker())
    first, other = (RecordsWorkspace(records, records, f"ws-{name}") for name in ("many", "one"))
    for workspace, files in ((first, MANY), (other, 1)):
        await workspace.attribute("name")
        await workspace.schema("x", ["name"])
        for number in range(files):
            (await send(workspace.admin, f"name\n{number}\n", "x.csv", schemaId="x")).ok()
    # All are sent; now there is a process that runs them.
    await services.start(
        create_app,
        Config,
        "worker",
        amqp_url=records.config.amqp_url,
        database_url=records.config.database_url,
    )

    async def are_finished() -> bool:
        shown = [
            job
            for workspace in (first, other)
            for job in (await workspace.admin.get("/imports?limit=100")).ok()["items"]
        ]
        return {job["status"] for job in shown} == {"succeeded"}

    await eventually(are_finished, within_s=60)
    (small,) = await started(other)
    earlier = [each for each in await started(first) if each < small]
    # Two have turns before it.
    assert len(earlier) <= 2


async def started(workspace: RecordsWorkspace) -> list[datetime]:
    """When the imports of the workspace had their first turn."""
    jobs = (await workspace.admin.get("/imports?limit=100")).ok()["items"]
    return [datetime.fromisoformat(job["startedAt"]) for job in jobs]
