"""How large slices of background work are, by how long the ones before them took."""

from __future__ import annotations

import pytest

from shared.database.slice_size import ROWS_MIN, SliceSize


class Machine:
    """Takes so long for a row; its clock stands still otherwise."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.row_s = 0.0001
        self.size = SliceSize(held_s=0.1, clock=lambda: self.time_s)

    async def slice(self, rows_max: int = 1_000) -> int:
        async with self.size.of(rows_max) as rows:
            self.time_s += rows * self.row_s
        return rows


async def test_a_slice_is_as_large_as_it_may_be_where_rows_are_quick():
    machine = Machine()
    assert [await machine.slice() for _ in range(3)] == [1_000, 1_000, 1_000]


async def test_the_next_slice_is_smaller_when_rows_take_longer():
    machine = Machine()
    machine.row_s = 0.001
    assert [await machine.slice(), await machine.slice()] == [1_000, 100]
    assert await machine.slice(40) == 40


async def test_a_slow_moment_is_forgotten_slice_by_slice():
    machine = Machine()
    machine.row_s = 0.001
    await machine.slice()
    machine.row_s = 0.0001
    sizes = [await machine.slice() for _ in range(8)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[1] < 200, sizes[-1]) == (100, True, 1_000)


async def test_a_slice_has_some_rows_however_long_they_take():
    machine = Machine()
    machine.row_s = 1.0
    await machine.slice()
    assert await machine.slice() == ROWS_MIN


async def test_a_slice_that_fails_makes_the_next_one_smaller():
    machine = Machine()
    with pytest.raises(TimeoutError):
        async with machine.size.of(1_000):
            machine.time_s += 5.0
            raise TimeoutError
    assert await machine.slice() == ROWS_MIN
