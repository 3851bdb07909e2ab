"""Reads of one turn share a statement, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from records_service.records.loading import BATCH_SIZE_MAX, DataLoader
from tests.kit.eventually import eventually

Key = tuple[str, str]


class Table:
    """What `load` would ask; remembers the batches it was asked for."""

    def __init__(self, rows: dict[Key, str]) -> None:
        self.rows = rows
        self.batches: list[list[Key]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def load(self, workspace_id: str, ids: Sequence[str]) -> dict[str, str]:
        keys = [(workspace_id, one) for one in ids]
        self.batches.append(keys)
        found = {key[1]: self.rows[key] for key in keys if key in self.rows}
        await self.may_answer.wait()
        return found


async def test_reads_that_begin_together_are_one_statement():
    table = Table({("ws-1", f"{n}"): f"row {n}" for n in range(10)})
    reads = DataLoader(table.load)
    answers = await asyncio.gather(*(reads.get("ws-1", f"{n}") for n in range(12)))
    assert answers == [*(f"row {n}" for n in range(10)), None, None]
    assert len(table.batches) == 1


async def test_one_id_in_two_workspaces_is_two_keys():
    table = Table({("ws-1", "a"): "mine", ("ws-2", "a"): "theirs"})
    reads = DataLoader(table.load)
    keys = [("ws-1", "a"), ("ws-2", "a"), ("ws-3", "a"), ("ws-1", "a")]
    answers = await asyncio.gather(*(reads.get(*key) for key in keys))
    assert answers == ["mine", "theirs", None, "mine"]


async def test_reads_of_two_workspaces_are_two_statements():
    table = Table({})
    reads = DataLoader(table.load)
    await asyncio.gather(*(reads.get(f"ws-{n % 2}", f"{n}") for n in range(4)))
    assert table.batches == [[("ws-0", "0"), ("ws-0", "2")], [("ws-1", "1"), ("ws-1", "3")]]


async def test_nothing_is_kept_for_the_next_turn():
    table = Table({("ws-1", "a"): "before"})
    reads = DataLoader(table.load)
    assert await reads.get("ws-1", "a") == "before"
    table.rows["ws-1", "a"] = "after"
    assert await reads.get("ws-1", "a") == "after"


async def test_a_read_that_begins_while_another_runs_does_not_get_its_answer():
    table = Table({("ws-1", "a"): "before"})
    table.may_answer.clear()
    reads = DataLoader(table.load)
    first = asyncio.create_task(reads.get("ws-1", "a"))
    await eventually(lambda: table.batches)
    table.rows["ws-1", "a"] = "after"
    second = asyncio.create_task(reads.get("ws-1", "a"))
    table.may_answer.set()
    assert [await first, await second] == ["before", "after"]


async def test_a_batch_has_a_bound():
    table = Table({})
    reads = DataLoader(table.load)
    await asyncio.gather(*(reads.get("ws-1", f"{n}") for n in range(2 * BATCH_SIZE_MAX + 1)))
    assert list(map(len, table.batches)) == [BATCH_SIZE_MAX, BATCH_SIZE_MAX, 1]


async def test_whoever_is_cancelled_takes_nobody_along():
    table = Table({("ws-1", "a"): "row"})
    reads = DataLoader(table.load)
    gone, stays = (asyncio.create_task(reads.get("ws-1", "a")) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == "row"
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_failure_reaches_all_who_asked_and_none_who_come_later():
    fails = True

    async def load(workspace_id: str, ids: Sequence[str]) -> dict[str, str]:
        if fails:
            raise ConnectionError("away")
        return dict.fromkeys(ids, "row")

    reads = DataLoader(load)
    told = await asyncio.gather(
        *(reads.get("ws-1", f"{n}") for n in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in told] == [ConnectionError] * 3
    fails = False
    assert await reads.get("ws-1", "0") == "row"
