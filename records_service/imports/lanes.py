"""Which imports of a workspace have turns: the two oldest; others wait as `queued`.

Jobs share the turns evenly (`shared.messaging.jobs`), so a workspace with a hundred unfinished jobs
would have a hundred slices for one of another workspace. Therefore an import has a job only while
it has one of the `LANES` of its workspace.

Whatever may leave a lane free, or an import without one, calls `fill` in its own transaction: the
upload, `resume`, `cancel`, and the slice that ends an import. A lock of the workspace puts these in
an order. It is the last lock that they wait for, but for rows of `jobs`, and it is held until the
commit: the next one sees what the one before it has done. So no import is left waiting beside a
free lane.
"""

from __future__ import annotations

from typing import Final

from records_service.imports import store
from records_service.model_objects.commands import SOURCE
from shared.database import Conn, Database
from shared.events import EventType
from shared.messaging import jobs

JOB: Final = "import"
LANES: Final = 2
"""With one, a file that fails again and again would hold up all others of its workspace."""
WORKSPACES_AT_ONCE: Final = 100


async def fill(conn: Conn, workspace_id: str, *, ending: str | None = None) -> None:
    """Request the jobs of the oldest imports that wait, as far as lanes are free.

    `ending` is the import that leaves its lane: the row of its job goes after this.
    """
    await store.lock_lanes(conn, workspace_id)
    taken = await store.count_jobs(conn, workspace_id, JOB, other_than=ending)
    if taken >= LANES:
        return
    for each in await store.waiting(conn, workspace_id, JOB, imports_max=LANES - taken):
        await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB, each)


async def leave(conn: Conn, workspace_id: str, import_id: str) -> None:
    """Let the next import have the lane of one that was cancelled, also if that is stuck.

    The caller has locked the import: none of its slices runs. A message of its job that is still in
    a queue, or in the dead letters, has no effect any more.
    """
    await store.lock_lanes(conn, workspace_id)
    await jobs.withdraw(conn, workspace_id, JOB, import_id)
    await fill(conn, workspace_id)


async def fill_forgotten(db: Database) -> int:
    """Fill the lanes that are free beside imports that wait; of how many workspaces.

    There are such after a process of an earlier version has ended an import: it fills none.
    """
    async with db.acquire() as conn:
        found = await store.waiting_beside_free_lanes(
            conn, JOB, lanes=LANES, workspaces_max=WORKSPACES_AT_ONCE
        )
    for workspace_id in found:
        async with db.transaction() as conn:
            await fill(conn, workspace_id)
    return len(found)
