"""An import whose process is killed: real processes, a real broker; no row is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from records_service.app import create_app
from records_service.config import Config
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.processes import Process
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.service import Services
from tests.service.records.import_files import send
from tests.service.records.test_killed_jobs import start

ROWS = 20_000
KILLS = 4
FOLLOWING = 5


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Process]]:
    """Processes of records_service that do what is in the background, not started yet."""
    all_of_them = [
        Process(f"worker-{n}", tmp_path, module="records_service", role="worker")
        for n in range(KILLS + 1)
    ]
    yield all_of_them
    for one in all_of_them:
        one.kill()


async def test_a_killed_import_goes_on_and_writes_each_row_once(
    services: Services, workers: list[Process]
):
    records = await services.start(create_app, Config, amqp_url=await services.broker())
    workspace = RecordsWorkspace(records, records, "ws-test")
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.schema("x", ["sku"])
    lines = "".join(f"{number}\n" for number in range(ROWS))
    key = records.as_(identities.api_key("ws-test", record_limit=10 * ROWS))
    begun = (await send(key, f"sku\n{lines}0\n", "x.csv", schemaId="x")).ok()
    # Files that have the second place one after the other, in whatever process that is alive then.
    following = [
        (await send(key, f"sku\nfollowing {n}\n", "x.csv", schemaId="x")).ok()["id"]
        for n in range(FOLLOWING)
    ]
    other = RecordsWorkspace(records, records, "ws-other")
    await other.attribute("sku")
    await other.schema("x", ["sku"])
    small = (await send(other.admin, "sku\n1\n", "x.csv", schemaId="x")).ok()

    async def processed() -> int:
        job = (await workspace.admin.get(f"/imports/{begun['id']}")).ok()
        return int(job["processed"])

    for number in range(KILLS):
        await start(workers[number], records)
        before = await processed()

        async def has_gone_on(before: int = before) -> bool:
            return await processed() > before

        await eventually(has_gone_on, within_s=60)
        workers[number].kill()
        if await processed() > ROWS:
            # This process was held up for so long that there is nothing left to interrupt.
            assert number, "the test needs more rows"
            break
    await start(workers[KILLS], records)

    async def are_finished() -> bool:
        listed = (await workspace.admin.get("/imports")).ok()["items"]
        return not {job["status"] for job in listed} & {"queued", "running"}

    await eventually(are_finished, within_s=60)
    for each in following:
        one = (await workspace.admin.get(f"/imports/{each}")).ok()
        assert (one["status"], one["created"]) == ("succeeded", 1)
    job = (await workspace.admin.get(f"/imports/{begun['id']}")).ok()
    told = {name: job[name] for name in ("status", "created", "failed", "processed", "total")}
    assert told == {
        "status": "partial",
        "created": ROWS,
        "failed": 1,
        "processed": ROWS + 1,
        "total": ROWS + 1,
    }
    counts = await records.database.fetchrow(
        """
        SELECT (SELECT count(*) FROM records WHERE workspace_id = 'ws-test') AS records,
               (SELECT count(*) FROM audit WHERE workspace_id = 'ws-test') AS entries,
               (SELECT count(*) FROM import_errors WHERE workspace_id = 'ws-test') AS errors,
               (SELECT sum(records) FROM usage WHERE workspace_id = 'ws-test') AS counted
        """
    )
    written = ROWS + FOLLOWING
    assert tuple(counts or ()) == (written, written, 1, written)
    # The other workspace's job did not wait for the end of this one.
    done = (await other.admin.get(f"/imports/{small['id']}")).ok()
    assert done["completedAt"] < job["completedAt"]
