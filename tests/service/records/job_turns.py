"""Background jobs of a workspace, one slice after the other, and what clients see of them."""

from __future__ import annotations

from typing import Any

from records_service.app import JOBS
from records_service.model_objects.commands import SOURCE
from shared.events import Event, EventType
from shared.messaging import jobs
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer

AN_HOUR_OF_TURNS = 1_000


async def turn(workspace: RecordsWorkspace) -> bool:
    """Deliver the messages of this workspace's jobs; False if there are none."""
    rows = await workspace.database.fetch(
        """DELETE FROM outbox WHERE workspace_id = $1 AND type = $2
        RETURNING document::text AS document""",
        workspace.id,
        EventType.RECORDS_JOB,
    )
    for row in rows:
        async with workspace.database.transaction() as conn:
            event = Event.from_json(row["document"].encode())
            await jobs.slices(EventType.RECORDS_JOB, SOURCE, JOBS)(conn, event, lambda: False)
    return bool(rows)


async def finish(workspace: RecordsWorkspace) -> None:
    """Give turns until no job of the workspace has work left."""
    for _ in range(AN_HOUR_OF_TURNS):
        if not await turn(workspace):
            break
    assert await workspace.fetch("SELECT kind, key FROM jobs WHERE workspace_id = $1") == []


def job_path(answer: Answer) -> str:
    """Where the job is that finishes a change, by the `Link` of its answer."""
    link = answer.headers["Link"]
    assert link.startswith("</api/v1/jobs/job-"), link
    assert link.endswith('>; rel="status"'), link
    return link.removeprefix("</api/v1").removesuffix('>; rel="status"')


async def job_of(workspace: RecordsWorkspace, answer: Answer) -> dict[str, Any]:
    """The job that finishes a change, as an administrator sees it."""
    job: dict[str, Any] = (await workspace.admin.get(job_path(answer))).ok()
    return job
