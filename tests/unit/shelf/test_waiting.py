"""Lines: short in time, fair to every workspace, and honest about how long they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shared.database.migrations import LOCK_TIMEOUT
from shared.errors import ServiceUnavailable
from shared.process.config import ServiceConfig
from shared.process.waiting import ASKING, KeyedSemaphore, Line, waited_from

LONG_S = 60.0


class Request:
    """As much of one as a line looks at."""

    def __init__(self, workspace_id: str, waited_s: float = 0.0) -> None:
        self.workspace_id = workspace_id
        self.waited_s = waited_s


def nothing(_: object) -> None:
    """Nobody takes it."""


def line_of(wait_s: float = LONG_S, passed_on: Callable[[str], None] = nothing) -> Line[str]:
    return Line(wait_s, passed_on)


async def in_line(line: Line[str], *parties: str) -> list[asyncio.Task[str]]:
    tasks = []
    for party in parties:
        before = len(line)
        tasks.append(asyncio.create_task(line.wait(party)))
        await asyncio.sleep(0)
        assert len(line) == before + 1
    return tasks


async def test_who_came_first_is_called_first():
    line = line_of()
    first, second = await in_line(line, "a", "a")
    assert line.call("one")
    assert line.call("two")
    assert not line.call("three")
    assert (await first, await second) == ("one", "two")


async def test_a_long_lane_does_not_make_the_others_wait():
    line = line_of()
    a = await in_line(line, *["a"] * 5)
    [b] = await in_line(line, "b")
    line.call("1")
    line.call("2")
    assert (await a[0], await b) == ("1", "2")
    assert [task.done() for task in a] == [True, False, False, False, False]
    line.refuse_all()
    for task in a[1:]:
        with pytest.raises(ServiceUnavailable):
            await task


async def test_who_is_not_called_in_time_is_told_to_come_back():
    line = line_of(0.01)
    with pytest.raises(ServiceUnavailable) as told:
        await line.wait("a")
    assert told.value.headers == {"Retry-After": "1"}
    assert len(line) == 0


async def test_a_line_that_takes_too_long_refuses_at_once_and_says_how_long():
    line = line_of(30.0)
    line._pace.seconds = 10.0
    waiting = await in_line(line, "a", "a", "b")
    with pytest.raises(ServiceUnavailable) as told:
        await line.wait("a")  # Two of its own before it, and the one of b: 40 s.
    assert told.value.headers == {"Retry-After": "40"}
    waiting += await in_line(line, "c")
    line.refuse_all()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_first_of_a_lane_is_never_refused_for_what_is_only_expected():
    """A pace that was measured wrongly would otherwise never be measured again."""
    line = line_of(30.0)
    line._pace.seconds = 1_000.0
    [task] = await in_line(line, "a")
    line.call("place")
    assert await task == "place"


async def test_a_request_waits_so_long_in_all_its_lines_together():
    request = Request("a", waited_s=LONG_S - 0.01)
    ASKING.set(request)
    with pytest.raises(ServiceUnavailable):
        await line_of().wait()
    assert request.waited_s >= LONG_S
    with pytest.raises(ServiceUnavailable):
        await Line(LONG_S, nothing).wait()


async def test_who_leaves_in_the_moment_of_being_called_passes_it_on():
    passed_on: list[str] = []
    line = line_of(passed_on=passed_on.append)
    [task] = await in_line(line, "a")
    line.call("place")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert passed_on == ["place"]


async def test_who_leaves_a_line_is_not_called():
    line = line_of()
    [gone, stays] = await in_line(line, "a", "a")
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert len(line) == 1
    line.call("place")
    assert await stays == "place"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1500", 1.5),
        ("0", 0.0),
        ("", 0.0),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("9" * 7, 0.0),
        ("\u0661", 0.0),
    ],
)
def test_what_was_waited_elsewhere(header: str, seconds: float):
    assert waited_from(header) == seconds


async def test_turns_are_bounded_and_those_of_other_things_are_not_touched():
    turns = KeyedSemaphore(wait_s=0.01)
    async with turns.of("record"):
        with pytest.raises(ServiceUnavailable):
            async with turns.of("record"):
                raise AssertionError("not reached")
        async with turns.of("another"):
            pass
    async with turns.of("record"):
        pass


async def test_a_turn_passes_from_one_to_the_next():
    turns = KeyedSemaphore(2, wait_s=LONG_S)
    at_once, most = 0, 0

    async def work() -> None:
        nonlocal at_once, most
        async with turns.of("thing"):
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 2


def test_a_request_outlasts_the_wait_of_a_migration_for_a_lock():
    """All statements on the table queue behind it."""
    wait_s = ServiceConfig.model_fields["wait_seconds"].default
    assert float(LOCK_TIMEOUT.removesuffix("s")) < wait_s
