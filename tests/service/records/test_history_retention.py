"""How long a workspace keeps its history: the choice, and the removal of what is older."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from records_service.history.retention import commands
from records_service.writes import history_partitions, old_history
from tests.kit.eventually import eventually
from tests.kit.identities import user
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries
from tests.service.records.job_turns import finish

pytestmark = pytest.mark.asyncio(loop_scope="module")

RETENTION = "/audit/retention"
NOW = datetime(2031, 5, 1, tzinfo=UTC)
"""Of the clock of the removal."""
DAY = timedelta(days=1)


async def choose(workspace: RecordsWorkspace, days: int | None) -> None:
    assert (await workspace.admin.put(RETENTION, {"days": days})).ok()["days"] == days


async def remove(workspace: RecordsWorkspace, now: datetime = NOW) -> int:
    """Run the job to its end; how many slices it took."""
    remove_some = commands.remover(lambda: now)
    for number in range(1, 100):
        async with workspace.database.transaction() as conn:
            if not await remove_some(conn, workspace.id, ""):
                return number
    raise AssertionError("no end")


async def record_of_days(workspace: RecordsWorkspace, record_id: str, *days: int) -> None:
    """A record whose versions were written so many days before `NOW`; each has its own price."""
    await workspace.record("schema-x", {"price": 1}, id=record_id)
    for price in range(2, len(days) + 1):
        body = {"values": entries({"price": price})}
        (await workspace.admin.put(f"/records/{record_id}", body)).ok()
    for version, ago in enumerate(days, start=1):
        await set_time(workspace, record_id, version, ago)
    await workspace.database.execute(
        "UPDATE records SET created_at = $3, updated_at = $4 WHERE workspace_id = $1 AND id = $2",
        workspace.id,
        record_id,
        NOW - days[0] * DAY,
        NOW - days[-1] * DAY,
    )


async def set_time(workspace: RecordsWorkspace, record_id: str, version: int, ago: int) -> None:
    await workspace.database.execute(
        "UPDATE audit SET at = $4 WHERE workspace_id = $1 AND record_id = $2 AND version = $3",
        workspace.id,
        record_id,
        version,
        NOW - ago * DAY,
    )


async def model(workspace: RecordsWorkspace) -> None:
    await workspace.attribute("price", "number")
    await workspace.schema("x", ["price"], variantEnabled=True)


async def left(workspace: RecordsWorkspace) -> list[tuple[str, int]]:
    rows = await workspace.fetch(
        "SELECT record_id, version FROM audit WHERE workspace_id = $1 ORDER BY record_id, version"
    )
    return [(row["record_id"], row["version"]) for row in rows]


async def price(caller: Caller, query: str, record_id: str = "ent-a") -> Any:
    answer = (await caller.get(f"/records/{record_id}?{query}")).ok()
    return answer["values"]["price"][0]["value"]


async def test_history_is_kept_for_ever_until_somebody_chooses_otherwise(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    admin = workspace.admin
    nothing = {"days": None, "updatedAt": None, "updatedBy": None}
    assert (await admin.get(RETENTION)).ok() == nothing
    chosen = (await admin.put(RETENTION, {"days": 30})).ok()
    assert chosen["days"] == 30
    assert chosen["updatedBy"] == "user-admin"
    assert (await admin.get(RETENTION)).ok() == chosen
    assert (await other_workspace.admin.get(RETENTION)).ok() == nothing
    key = workspace.api_key("delete-data", "read")
    again = (await key.put(RETENTION, {"days": None})).ok()
    assert (again["days"], again["updatedBy"]) == (None, "apikey-test")
    assert (await key.get(RETENTION)).ok() == again
    tried = {"days": 7}
    answer = await admin.put(RETENTION, tried, headers={"Prefer": "dry-run"})
    assert answer.ok()["days"] == 7
    assert (await admin.get(RETENTION)).ok() == again


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Field 'days' is required"),
        ({"days": 0}, "Field 'days' must be at least 1, got 0"),
        ({"days": 36_501}, "Field 'days' must be at most 36500, got 36501"),
        ({"days": "30"}, "Field 'days' expects type 'number', got 'string'"),
        ({"days": 1.5}, "Field 'days' expects a whole number, got 1.5"),
        ({"days": True}, "Field 'days' expects type 'number', got 'boolean'"),
    ],
)
async def test_a_number_of_days_is_asked_for(
    workspace: RecordsWorkspace, body: dict[str, Any], message: str
):
    answer = await workspace.admin.put(RETENTION, body)
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)
    assert (await workspace.admin.get(RETENTION)).ok()["days"] is None


async def test_only_administrators_choose(workspace: RecordsWorkspace):
    editor = workspace.as_(user(workspace.id))
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    assert (await editor.get(RETENTION)).outcome == denied
    assert (await editor.put(RETENTION, {"days": 1})).outcome == denied
    key = workspace.api_key("read", "update-data", "update-model", "delete-model")
    assert (await key.put(RETENTION, {"days": 1})).outcome == denied


async def test_what_is_older_is_removed_and_the_rest_is_left(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    for one in (workspace, other_workspace):
        await model(one)
        await record_of_days(one, "ent-a", 400, 300, 200, 100, 9, 8)
        await record_of_days(one, "ent-b", 400)
        await record_of_days(one, "ent-c", 300, 200)
        (await one.admin.delete("/records/ent-c")).ok()
        await set_time(one, "ent-c", 3, 150)
    await choose(workspace, 150)
    before = await left(other_workspace)
    current = (await workspace.admin.get("/records/ent-a")).ok()
    staged = len(await workspace.staged())
    await remove(workspace)
    # What happened exactly so many days ago is kept.
    assert await left(workspace) == [("ent-a", 4), ("ent-a", 5), ("ent-a", 6), ("ent-c", 3)]
    assert await left(other_workspace) == before
    assert (await workspace.admin.get("/records/ent-a")).ok() == current
    assert await price(workspace.admin, "version=1", "ent-b") == 1
    assert len(await workspace.staged()) == staged
    await remove(workspace, NOW + DAY)
    assert ("ent-c", 3) not in await left(workspace)
    # A record of the same id goes on counting.
    await workspace.record("schema-x", {"price": 1}, id="ent-c")
    assert (await workspace.admin.get("/records/ent-c")).ok()["version"] == 4
    await choose(other_workspace, None)
    await remove(other_workspace)
    assert await left(other_workspace) == before


async def test_versions_that_are_kept_are_rebuilt_without_those_that_are_not(
    workspace: RecordsWorkspace,
):
    """Backwards, although they are nearer to the first version."""
    await model(workspace)
    await record_of_days(workspace, "ent-a", 400, 300, 200, 100, 9, 8, 7, 6)
    await choose(workspace, 250)
    await remove(workspace)
    admin = workspace.admin
    assert [await price(admin, f"version={version}") for version in (3, 4, 8)] == [3, 4, 8]
    third = (await admin.get("/records/ent-a?version=3")).ok()
    assert third["updatedAt"] == "2030-10-13T00:00:00.000Z"
    assert await price(admin, f"asOf={(NOW - 150 * DAY).date()}T00:00:00Z") == 3
    kept = "versions 3 to 8 are kept"
    for days in (250, 1, None):
        await choose(workspace, days)
        told = {250: "; the history is kept for 250 days", 1: "; the history is kept for 1 day"}
        for version in (1, 2):
            message = f"Entity 'ent-a' has no version {version}: {kept}{told.get(days or 0, '')}"
            expected = error(404, "NOT_FOUND", message)
            assert (await admin.get(f"/records/ent-a?version={version}")).outcome == expected
            body = {"version": version}
            assert (await admin.post("/records/ent-a/restore", body)).outcome == expected
        time = (NOW - 350 * DAY).strftime("%Y-%m-%dT%H:%M:%S")
        message = f"Entity 'ent-a' has no version of {time}.000Z: {kept}{told.get(days or 0, '')}"
        if days is not None:
            message += ", and what was current then had been written before these"
        answer = await admin.get(f"/records/ent-a?asOf={time}Z")
        assert answer.outcome == error(404, "NOT_FOUND", message)
        answer = await admin.get("/records/ent-a?version=9")
        assert answer.body["message"] == f"Entity 'ent-a' has no version 9: {kept}"
    assert (await admin.post("/records/ent-a/restore", {"version": 3})).ok()["version"] == 9


async def test_the_first_version_is_there_until_the_next_is_removed(workspace: RecordsWorkspace):
    """The record itself tells when it was written, and by whom."""
    await model(workspace)
    await record_of_days(workspace, "ent-a", 400, 100, 50)
    admin = workspace.admin
    first = (await admin.get("/records/ent-a?version=1")).ok()
    assert first["updatedAt"] == first["createdAt"]
    await choose(workspace, 200)
    await remove(workspace)
    assert await left(workspace) == [("ent-a", 2), ("ent-a", 3)]
    for query in ("version=1", f"asOf={(NOW - 199 * DAY).date()}T00:00:00Z"):
        assert (await admin.get(f"/records/ent-a?{query}")).ok() == first
    assert (await admin.post("/records/ent-a/restore", {"version": 1})).ok()["version"] == 4
    await remove(workspace, NOW + 110 * DAY)
    answer = await admin.get("/records/ent-a?version=1")
    assert answer.body["message"].startswith("Entity 'ent-a' has no version 1: versions 3 to 4")


async def test_entries_of_variants_are_removed_with_those_of_their_record(
    workspace: RecordsWorkspace,
):
    await model(workspace)
    await record_of_days(workspace, "ent-a", 400)
    admin = workspace.admin
    variant = {"id": "var-a", "values": entries({"price": 5})}
    (await admin.post("/records/ent-a/variants", variant)).ok()
    path = "/records/ent-a/variants/var-a"
    (await admin.put(path, {"values": entries({"price": 6})})).ok()
    await workspace.database.execute(
        """
        UPDATE audit SET at = CASE action WHEN 'create' THEN $2::timestamptz ELSE $3 END
         WHERE workspace_id = $1
        """,
        workspace.id,
        NOW - 400 * DAY,
        NOW,
    )
    await choose(workspace, 365)
    await remove(workspace)
    history = (await admin.get("/audit?entityId=var-a")).ok()
    assert [(one["action"], one["variantId"]) for one in history["items"]] == [("update", "var-a")]
    assert (await admin.get(path)).ok()["values"] == entries({"price": 6})
    # A write under a version whose history is gone is refused, one under a later one is merged.
    stale = await admin.put(path, {"values": {}}, headers={"If-Match": '"0"'})
    assert stale.status == 412


async def fill(workspace: RecordsWorkspace, count: int, changes: str = "'[]'") -> None:
    """So many entries, one for each of the days before `NOW`, oldest first; `changes` is SQL."""
    await workspace.database.execute(
        f"""
        INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                           changes)
        SELECT $1, 'ent-x', $2::bigint + 1 - n, 'schema-x', 'update', 'user-x',
               $3::timestamptz - n * interval '1 day', ({changes})::json
          FROM generate_series($2::bigint, 1, -1) AS n
        """,
        workspace.id,
        count,
        NOW,
    )


async def test_a_slice_is_bounded_by_rows_and_by_bytes(workspace: RecordsWorkspace):
    await fill(workspace, 10)
    large = "SELECT to_json(string_agg(md5((n * k)::text), '')) FROM generate_series(1, 3000) AS k"
    await fill(workspace, 3, large)

    async def step(rows_max: int, before: datetime = NOW) -> tuple[int, bool]:
        async with workspace.database.transaction() as conn:
            done = await old_history.remove(
                conn,
                workspace.id,
                before=before,
                until=None,
                rows_max=rows_max,
                stored_bytes_max=1_000,
            )
        return done.removed, done.is_last

    assert await step(5) == (5, False)
    assert [
        row["version"]
        for row in await workspace.fetch(
            "SELECT version FROM audit WHERE workspace_id = $1 ORDER BY at LIMIT 1"
        )
    ] == [6]
    assert await step(100, NOW - 3 * DAY) == (2, True)
    # An entry that is too large is removed alone.
    steps = [await step(100) for _ in range(6)]
    assert sum(removed for removed, _ in steps) == 6
    assert [is_last for _, is_last in steps].index(True) >= 3
    assert await step(100) == (0, True)


async def test_the_job_ends_when_nothing_is_left(workspace: RecordsWorkspace):
    await fill(workspace, old_history.ROWS_MAX + 1)
    await choose(workspace, 1)
    assert await remove(workspace) == 2
    assert len(await left(workspace)) == 1


async def test_the_job_is_requested_once_a_day(workspace: RecordsWorkspace, other_workspace):
    database = workspace.database
    await choose(other_workspace, None)
    await choose(workspace, 3)
    await fill(workspace, 5)
    now = datetime.now(UTC)
    assert await commands.request_due(database, now) >= 1
    assert await commands.request_due(database, now) == 0
    kinds = await workspace.fetch("SELECT kind FROM jobs WHERE workspace_id = $1")
    assert [row["kind"] for row in kinds] == [commands.JOB]
    assert await other_workspace.fetch("SELECT 1 FROM jobs WHERE workspace_id = $1") == []
    await finish(workspace)
    assert await commands.request_due(database, now + timedelta(hours=23)) == 0
    await remove(workspace)
    assert len(await left(workspace)) == 3
    assert await commands.request_due(database, NOW + timedelta(hours=23)) == 0
    assert await commands.request_due(database, NOW + timedelta(hours=25)) >= 1
    # Whoever chooses again does not wait for a day.
    await choose(workspace, 1)
    await finish(workspace)
    await choose(workspace, 1)
    assert await commands.request_due(database, datetime.now(UTC)) >= 1


async def test_what_a_job_has_to_read_at_its_end_is_kept(workspace: RecordsWorkspace):
    await fill(workspace, 10)
    fifth = (await workspace.fetch("SELECT id FROM audit WHERE workspace_id = $1 AND version = 5"))[
        0
    ]["id"]
    await workspace.database.execute(
        """
        INSERT INTO attribute_removals (workspace_id, attribute_id, schema_ids, last_change)
        VALUES ($1, 'attr-gone', '{}', $2), ($1, 'attr-gone-too', '{}', $2 + 100)
        """,
        workspace.id,
        fifth,
    )
    await choose(workspace, 1)
    await remove(workspace)
    assert [version for _, version in await left(workspace)] == [6, 7, 8, 9, 10]
    await workspace.fetch("DELETE FROM attribute_removals WHERE workspace_id = $1 RETURNING 1")
    await remove(workspace)
    assert await left(workspace) == [("ent-x", 10)]


async def test_nothing_is_removed_after_a_longer_time_was_chosen(workspace: RecordsWorkspace):
    await fill(workspace, old_history.ROWS_MAX + 10)
    await choose(workspace, 5)
    remove_some = commands.remover(lambda: NOW)
    async with workspace.database.transaction() as conn:
        assert await remove_some(conn, workspace.id, "")
        choosing = asyncio.create_task(workspace.admin.put(RETENTION, {"days": None}))
        await eventually(workspace.records.waits_for_a_lock)
        assert not choosing.done()
    (await choosing).ok()
    assert len(await left(workspace)) == 10
    await remove(workspace, NOW + 100 * DAY)
    assert len(await left(workspace)) == 10


async def test_whoever_chooses_waits_for_a_drop(workspace: RecordsWorkspace):
    """What it drops was not to be kept yet; what is to be kept from now on is there afterwards."""
    async with workspace.database.transaction() as conn:
        await history_partitions.lock(conn)
        choosing = asyncio.create_task(workspace.admin.put(RETENTION, {"days": None}))
        await eventually(workspace.records.waits_for_a_lock)
        assert not choosing.done()
    assert (await choosing).ok()["days"] is None


async def test_a_slice_whose_transaction_fails_has_removed_nothing(workspace: RecordsWorkspace):
    await fill(workspace, 4)
    await choose(workspace, 2)
    remove_some = commands.remover(lambda: NOW)
    with pytest.raises(ZeroDivisionError):
        async with workspace.database.transaction() as conn:
            await remove_some(conn, workspace.id, "")
            raise ZeroDivisionError
    assert len(await left(workspace)) == 4
    assert await remove(workspace) == 1
    assert len(await left(workspace)) == 2
