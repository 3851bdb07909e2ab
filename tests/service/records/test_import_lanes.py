"""Two imports of a workspace have turns, the others wait: fairness, and nobody is forgotten.

Messages are taken from the outbox and delivered in their order by the tests themselves, so that
turns can be late or lost. With a broker and killed processes: `test_killed_imports.py`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from records_service.imports import jobs as import_jobs
from records_service.imports import lanes, store, unpacking
from records_service.imports.jobs import Imports
from records_service.imports.sweeping import sweeping
from records_service.imports.unpacking import Spreadsheets
from records_service.model_objects.commands import SOURCE
from shared.database import Conn
from shared.events import Event, EventType
from shared.identity import Flag
from shared.messaging import jobs
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller
from tests.service.records.import_files import build, form, inline, send, turn, workbook
from tests.service.records.test_model_growth import Costed

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 20
Slice = tuple[str, str]
"""Of this workspace, the import of this id."""


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice writes two rows; a file with one row ends in its first."""
    monkeypatch.setattr(import_jobs, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(import_jobs, "SLICE_S", 0)


async def begin(
    workspace: RecordsWorkspace, import_id: str, rows: int = 1, *, sender: Caller | None = None
) -> None:
    """Send a file with so many rows, as the administrator if nobody else is named."""
    lines = "".join(f"{import_id} {number}\n" for number in range(rows))
    data, headers = form(f"name\n{lines}".encode(), "x.csv", schemaId="x")
    answer = await (sender or workspace.admin).post(
        f"/imports?id={import_id}", data=data, headers=headers
    )
    assert (answer.status, answer.body["status"]) == (202, "queued"), answer.outcome


async def begin_all(workspace: RecordsWorkspace, names: str) -> None:
    """Send a file with one row for each letter, which is the end of the id of its import."""
    await build(workspace)
    for letter in names:
        await begin(workspace, f"imp-{letter}")


async def messages(*workspaces: RecordsWorkspace) -> list[Event]:
    """Take the turns of imports that are staged, in their order."""
    found = [
        row
        for workspace in workspaces
        for row in await workspace.fetch(
            """DELETE FROM outbox WHERE workspace_id = $1 AND subject LIKE 'import/%'
            RETURNING id, document::text AS document"""
        )
    ]
    return [
        Event.from_json(row["document"].encode()) for row in sorted(found, key=lambda r: r["id"])
    ]


async def take_turn(conn: Conn, workspace: RecordsWorkspace, event: Event) -> None:
    """What the consumer of this message does in its transaction."""
    imports = Imports()
    imports.app = workspace.records.app
    kinds = {lanes.JOB: imports.run_some}
    await jobs.slices(EventType.RECORDS_JOB, SOURCE, kinds)(conn, event, lambda: False)


async def deliver(workspace: RecordsWorkspace, event: Event) -> None:
    async with workspace.database.transaction() as conn:
        await take_turn(conn, workspace, event)


async def one_round(*workspaces: RecordsWorkspace) -> list[Slice]:
    """Deliver what is in the queue; the turns that this stages are of the next round."""
    queue = await messages(*workspaces)
    for event in queue:
        await deliver(workspaces[0], event)
    return [(event.workspace_id, event.data["key"]) for event in queue]


async def finish(*workspaces: RecordsWorkspace) -> list[Slice]:
    """Rounds until no turn is staged any more; the slices in their order."""
    done: list[Slice] = []
    while slices := await one_round(*workspaces):
        done += slices
    return done


async def jobs_of(workspace: RecordsWorkspace) -> list[str]:
    """The letters of the imports that have turns."""
    rows = await workspace.fetch(
        "SELECT key FROM jobs WHERE workspace_id = $1 AND kind = 'import' ORDER BY key"
    )
    return [row["key"].removeprefix("imp-") for row in rows]


async def statuses(workspace: RecordsWorkspace) -> dict[str, str]:
    """Letter -> status."""
    listed = (await workspace.admin.get("/imports?limit=100")).ok()["items"]
    return {one["id"].removeprefix("imp-"): one["status"] for one in listed}


async def change(workspace: RecordsWorkspace, letter: str, what: str) -> str:
    """The status after `cancel` or `resume`."""
    answer = await workspace.admin.post(f"/imports/imp-{letter}/{what}")
    assert answer.status == 202, answer.outcome
    return str(answer.body["status"])


async def all_wait_for_the_lock(workspace: RecordsWorkspace, count: int) -> None:
    async def so_many() -> bool:
        waiting = await workspace.database.fetchval(
            """SELECT count(*) FROM pg_locks
                WHERE locktype = 'advisory' AND NOT granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        )
        return bool(waiting == count)

    await eventually(so_many)


async def test_a_workspace_with_many_imports_holds_up_others_by_two_slices(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    await build(workspace)
    await build(other_workspace)
    for number in range(MANY):
        await begin(workspace, f"imp-{number:02}", rows=3)
    await begin(other_workspace, "imp-small", rows=20)
    small = (other_workspace.id, "imp-small")
    rounds = 0
    while small in (slices := await one_round(workspace, other_workspace)):
        rounds += 1
        assert slices.count(small) == 1
        assert len(slices) <= 1 + 2, slices
    assert rounds >= 10
    assert (await statuses(other_workspace)) == {"small": "succeeded"}
    # The first has had its two slices in each round, and has work left.
    left = [letter for letter, status in (await statuses(workspace)).items() if status == "queued"]
    assert 0 < len(left) < MANY
    await finish(workspace)
    assert set((await statuses(workspace)).values()) == {"succeeded"}
    assert await jobs_of(workspace) == []


async def test_imports_begin_in_the_order_in_which_they_were_sent(workspace: RecordsWorkspace):
    await begin_all(workspace, "dacb")
    assert await jobs_of(workspace) == ["a", "d"]
    assert await statuses(workspace) == dict.fromkeys("abcd", "queued")
    begun = [key.removeprefix("imp-") for _, key in await finish(workspace)]
    assert list(dict.fromkeys(begun)) == ["d", "a", "c", "b"]
    assert await statuses(workspace) == dict.fromkeys("abcd", "succeeded")


async def test_files_that_are_sent_at_once_do_not_take_one_lane_twice(workspace: RecordsWorkspace):
    await begin_all(workspace, "a")
    async with workspace.database.transaction() as conn:
        await store.lock_lanes(conn, workspace.id)
        sending = [asyncio.create_task(begin(workspace, f"imp-{letter}")) for letter in "bc"]
        await all_wait_for_the_lock(workspace, 2)
    await asyncio.gather(*sending)
    assert len(await jobs_of(workspace)) == 2
    await finish(workspace)
    assert await statuses(workspace) == dict.fromkeys("abc", "succeeded")


async def test_a_file_that_is_sent_while_an_import_ends_gets_its_lane(workspace: RecordsWorkspace):
    await begin_all(workspace, "ab")
    first, _ = await messages(workspace)
    async with workspace.database.transaction() as conn:
        await take_turn(conn, workspace, first)
        sending = asyncio.create_task(begin(workspace, "imp-c"))
        await all_wait_for_the_lock(workspace, 1)
    await sending
    assert await jobs_of(workspace) == ["b", "c"]


async def test_an_import_that_ends_sees_the_file_that_was_sent_meanwhile(
    workspace: RecordsWorkspace,
):
    await begin_all(workspace, "abc")
    await change(workspace, "c", "cancel")
    first, _ = await messages(workspace)
    async with workspace.database.transaction() as conn:
        # What `resume` does; an upload does the same.
        job = await store.find(conn, workspace.id, "imp-c", lock=True)
        assert job is not None
        await store.save(conn, replace(job, status="queued", completed_at=None))
        await lanes.fill(conn, workspace.id)
        ending = asyncio.create_task(deliver(workspace, first))
        await all_wait_for_the_lock(workspace, 1)
    await ending
    assert await jobs_of(workspace) == ["b", "c"]


async def test_an_import_that_waits_can_be_cancelled(workspace: RecordsWorkspace):
    await begin_all(workspace, "abcd")
    assert await change(workspace, "c", "cancel") == "cancelled"
    assert await jobs_of(workspace) == ["a", "b"]
    assert {key for _, key in await finish(workspace)} == {"imp-a", "imp-b", "imp-d"}
    assert await statuses(workspace) == {**dict.fromkeys("abd", "succeeded"), "c": "cancelled"}


async def test_an_import_that_is_resumed_waits_for_a_lane(workspace: RecordsWorkspace):
    await begin_all(workspace, "abcd")
    assert await change(workspace, "a", "cancel") == "cancelled"
    assert await jobs_of(workspace) == ["b", "c"]
    assert await change(workspace, "a", "resume") == "queued"
    assert await jobs_of(workspace) == ["b", "c"]
    await finish(workspace)
    assert await statuses(workspace) == dict.fromkeys("abcd", "succeeded")


async def test_an_import_that_fails_leaves_its_lane(workspace: RecordsWorkspace):
    await build(workspace)
    editor = await workspace.user_with_role({"schema-x": {"attr-name": "write"}}, Flag.IMPORT)
    await begin(workspace, "imp-a", sender=editor)
    for letter in "bc":
        await begin(workspace, f"imp-{letter}")
    await workspace.database.execute("DELETE FROM roles WHERE workspace_id = $1", workspace.id)
    first, _ = await messages(workspace)
    await deliver(workspace, first)
    assert await statuses(workspace) == {"a": "failed", **dict.fromkeys("bc", "queued")}
    assert await jobs_of(workspace) == ["b", "c"]


async def test_an_import_that_is_gone_leaves_its_lane(workspace: RecordsWorkspace):
    await begin_all(workspace, "abc")
    await workspace.database.execute(
        "DELETE FROM imports WHERE workspace_id = $1 AND id = 'imp-a'", workspace.id
    )
    first, _ = await messages(workspace)
    await deliver(workspace, first)
    assert await jobs_of(workspace) == ["b", "c"]


async def test_a_stuck_import_does_not_stop_its_workspace(workspace: RecordsWorkspace):
    await begin_all(workspace, "abcd")
    stuck, going_on = await messages(workspace)
    assert stuck.data["key"] == "imp-a"
    await deliver(workspace, going_on)
    await finish(workspace)
    assert await statuses(workspace) == {**dict.fromkeys("bcd", "succeeded"), "a": "queued"}
    assert await jobs_of(workspace) == ["a"]


async def test_cancelling_stuck_imports_frees_their_lanes(workspace: RecordsWorkspace):
    await begin_all(workspace, "abc")
    stuck = await messages(workspace)
    assert await change(workspace, "a", "cancel") == "cancelled"
    assert await jobs_of(workspace) == ["b", "c"]
    await finish(workspace)
    assert await statuses(workspace) == {"a": "cancelled", "b": "queued", "c": "succeeded"}
    # Somebody replays the dead letters, before and after the import is resumed.
    await deliver(workspace, stuck[0])
    assert (await statuses(workspace))["a"] == "cancelled"
    assert await change(workspace, "a", "resume") == "queued"
    for event in stuck:
        await deliver(workspace, event)
    await finish(workspace)
    assert await statuses(workspace) == dict.fromkeys("abc", "succeeded")
    listed = (await workspace.admin.get("/records")).ok()["items"]
    assert len(listed) == 3


async def test_imports_that_an_earlier_version_has_left_waiting_are_started(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await begin_all(workspace, "abcd")
    assert await lanes.fill_forgotten(workspace.database) == 0

    async def fill_none(*_: Any, **__: Any) -> None:
        """What processes of the earlier version do when an import has ended."""

    with monkeypatch.context() as earlier:
        earlier.setattr(lanes, "fill", fill_none)
        await finish(workspace)
    assert await jobs_of(workspace) == []

    async def are_started() -> bool:
        return await jobs_of(workspace) == ["c", "d"]

    async with asynccontextmanager(sweeping(7, Spreadsheets()))(workspace.records.app):
        await eventually(are_started)
    assert await lanes.fill_forgotten(workspace.database) == 0
    await finish(workspace)
    assert await statuses(workspace) == dict.fromkeys("abcd", "succeeded")


async def test_the_spreadsheet_of_a_cancelled_import_is_closed(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(unpacking, "SLICE_BYTES", 1)
    await build(workspace)
    rows = [inline(f"name {number}") for number in range(3)]
    begun = (
        await send(workspace.admin, workbook(inline("name"), *rows), "x.xlsx", schemaId="x")
    ).ok()
    imports = Imports()
    assert await turn(workspace, imports, begun["id"])
    opened = imports.spreadsheets.get(workspace.id, begun["id"])
    assert opened is not None
    assert (await workspace.admin.post(f"/imports/{begun['id']}/cancel")).status == 202
    sweep = asynccontextmanager(sweeping(7, imports.spreadsheets))
    async with sweep(workspace.records.app):
        await asyncio.sleep(0)
        assert imports.spreadsheets.get(workspace.id, begun["id"]) is opened
    opened.used_at -= unpacking.ABANDONED_AFTER_S + 1
    async with sweep(workspace.records.app):
        await asyncio.sleep(0)
        assert imports.spreadsheets.get(workspace.id, begun["id"]) is None


async def test_the_next_import_is_found_however_many_there_are(workspace: RecordsWorkspace):
    await workspace.database.execute(
        """
        INSERT INTO imports (workspace_id, id, status, format, created_by, created_at)
        SELECT $1, 'imp-' || n, CASE WHEN n <= 5000 THEN 'succeeded' ELSE 'queued' END, 'csv',
               'user-admin', now() - interval '1 day' + n * interval '1 second'
          FROM generate_series(1, 10000) AS n
        """,
        workspace.id,
    )
    await workspace.database.execute("VACUUM ANALYZE imports")
    async with workspace.database.transaction() as conn:
        costed = Costed(conn)
        found = await store.waiting(cast(Conn, costed), workspace.id, lanes.JOB, imports_max=2)
    assert found == ["imp-5001", "imp-5002"]
    assert costed.pages < 20
    await workspace.database.execute("DELETE FROM imports WHERE workspace_id = $1", workspace.id)
