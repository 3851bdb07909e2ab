"""A walk looks at each record once, in slices of bounded bytes, and then at what was written."""

from __future__ import annotations

import pytest

from records_service.model_objects.commands import lock_model
from records_service.schema_walks import looking_back, store
from records_service.schema_walks.model import Meanwhile, Walk
from shared.database import pieces
from shared.database.pieces import Room
from shared.database.slice_size import SliceSize
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOW: float = 60
"""Seconds: so long that no slice ends for it."""


async def fill(workspace: RecordsWorkspace) -> None:
    """Records of `x` with four large values, of which one has a variant, and one of `y`."""
    await workspace.attribute("sku")
    await workspace.attribute("name")
    for alias in ("x", "y"):
        await workspace.schema(alias, ["sku", "name"], variantEnabled=True)
    for n in range(4):
        await workspace.record("schema-x", {"sku": f"{n}" * 1_000}, id=f"ent-{n}")
    variant = {"id": "var-0", "values": entries({"sku": "own"})}
    (await workspace.admin.post("/records/ent-0/variants", variant)).ok()
    await workspace.record("schema-y", {"name": "none"}, id="ent-y")


async def walked(workspace: RecordsWorkspace, room: Room) -> list[list[tuple[str, str | None]]]:
    """Who was looked at in each slice; with a `+` those that have a value."""
    walk, slices = Walk(["schema-x", "schema-y"]), []
    async with workspace.database.transaction() as conn:
        while not walk.is_over:
            rows, walk = await store.next_entries(conn, workspace.id, walk, "attr-sku", room=room)
            slices.append(
                [
                    (row["variant_id"] or row["record_id"]) + "+" * (row["entries"] is not None)
                    for row in rows
                ]
            )
    return slices


async def test_a_slice_ends_with_the_row_that_fills_it(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await fill(workspace)
    monkeypatch.setattr(pieces, "FIRST_FETCHED", 1)
    by_bytes = await walked(workspace, Room(10, bytes=1_500, seconds=SLOW))
    assert by_bytes == [["ent-0+", "ent-1+"], ["ent-2+", "ent-3+"], [], ["ent-y"], ["var-0+"], []]
    by_rows = await walked(workspace, Room(3, seconds=SLOW))
    assert by_rows == [["ent-0+", "ent-1+", "ent-2+"], ["ent-3+"], ["ent-y"], ["var-0+"], []]
    by_time = await walked(workspace, Room(10, seconds=0))
    assert by_time[:2] == [["ent-0+"], ["ent-1+"]]
    async with workspace.database.transaction() as conn:
        walk, ids = Walk(["schema-x"], tables=("records",)), []
        while not walk.is_over:
            some, walk = await store.next_ids(conn, workspace.id, walk, room=Room(3, seconds=SLOW))
            ids.append(some)
    assert ids == [["ent-0", "ent-1", "ent-2"], ["ent-3"]]


async def test_no_more_rows_are_fetched_than_are_likely_to_fit(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await fill(workspace)
    monkeypatch.setattr(pieces, "FIRST_FETCHED", 1)
    measured: list[int] = []

    def size_of(row: pieces.Record) -> int:
        measured.append(row["n"])
        return 1_000

    numbers = "SELECT n FROM generate_series(1, 10000) AS n"
    async with workspace.database.transaction() as conn:
        found = [
            (len(rows), is_full)
            async for rows, is_full in pieces.pieces(
                conn, numbers, size_of=size_of, room=Room(20_000, bytes=4_000_000, seconds=SLOW)
            )
        ]
        assert found == [(4_000, True), (4_000, True), (2_000, False)]
        measured.clear()
        room = Room(20_000, bytes=10_000, seconds=SLOW)
        rows, is_full = await pieces.first_piece(conn, numbers, size_of=size_of, room=room)
    assert (len(rows), is_full, len(measured)) == (10, True, 10)


async def test_what_was_written_is_looked_at_while_others_write_but_for_the_last(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(looking_back, "AT_ONCE", 2)
    monkeypatch.setattr(looking_back, "AT_THE_END", 1)
    await fill(workspace)
    async with workspace.database.acquire() as conn:
        meanwhile = Meanwhile(await store.last_change(conn, workspace.id))

    async def write(*numbers: int) -> None:
        for n in numbers:
            (await workspace.admin.patch(f"/records/ent-{n}/values/name", {"value": "N"})).ok()

    await write(0, 1, 2)
    seen, locks, is_last = [], [], False
    while not is_last:
        async with workspace.database.transaction() as conn:
            await looking_back.lock(meanwhile)(conn, workspace.id)
            locks.append(looking_back.lock(meanwhile) is lock_model)
            if not locks[-1]:
                # A record that is not among those of the slice.
                await write(3) if len(locks) == 2 else None
            async with looking_back.look_back(conn, workspace.id, meanwhile, SliceSize()) as look:
                pass
        seen.append(list(look.written.records))
        meanwhile, is_last = look.left, look.is_last
    assert seen == [[], ["ent-0", "ent-1"], ["ent-2"], ["ent-3"]]
    assert locks == [True, False, False, True]


async def test_what_is_looked_at_is_not_written_meanwhile(workspace: RecordsWorkspace):
    await fill(workspace)
    (await workspace.admin.patch("/records/ent-0/variants/var-0/values/name", {"value": "N"})).ok()
    async with workspace.database.transaction() as conn:
        until = await store.last_change(conn, workspace.id)
        async with looking_back.look_back(conn, workspace.id, Meanwhile(0, until), SliceSize()):
            other = await workspace.database.fetch(
                """SELECT id FROM records WHERE workspace_id = $1 AND id <> 'ent-y'
                    FOR SHARE SKIP LOCKED""",
                workspace.id,
            )
    assert other == []
