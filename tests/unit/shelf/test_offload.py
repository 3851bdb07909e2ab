"""Work that would hold the event loop is done in a few threads, shared out by workspace."""

from __future__ import annotations

import asyncio
import threading

import pytest

from shared.errors import ServiceUnavailable
from shared.process.offload import WAITING_MAX, Offload
from tests.kit.eventually import eventually


async def test_it_is_done_in_another_thread_and_the_loop_goes_on():
    offload = Offload()
    may_end = threading.Event()

    def work(name: str) -> str:
        assert may_end.wait(10)
        return f"{name} in {threading.current_thread().name}"

    task = asyncio.create_task(offload.run("ws", work, "done"))
    await asyncio.sleep(0)
    may_end.set()
    assert (await task).startswith("done in offload")


async def test_what_it_raises_is_raised_here():
    offload = Offload()
    with pytest.raises(ValueError, match="seven"):
        await offload.run("ws", int, "seven")


async def test_a_workspace_has_one_thread_and_leaves_the_other_to_the_rest():
    offload = Offload()
    began: list[str] = []
    may_end = threading.Event()

    def work(name: str) -> None:
        began.append(name)
        assert may_end.wait(10)

    first = [asyncio.create_task(offload.run("ws-a", work, "a")) for _ in range(5)]
    await eventually(lambda: began == ["a"])
    other = asyncio.create_task(offload.run("ws-b", began.append, "b"))
    await other
    assert began == ["a", "b"]
    may_end.set()
    await asyncio.gather(*first)
    assert began == ["a", "b", "a", "a", "a", "a"]


async def test_too_much_that_waits_is_refused_and_what_was_given_up_never_begins():
    offload = Offload()
    may_end = threading.Event()
    first = asyncio.create_task(offload.run("ws", may_end.wait, 10))
    await asyncio.sleep(0)
    done: list[int] = []
    waiting = [
        asyncio.create_task(offload.run("ws", done.append, number))
        for number in range(WAITING_MAX - 1)
    ]
    await asyncio.sleep(0)
    with pytest.raises(ServiceUnavailable):
        await offload.run("ws-other", done.append, -1)
    for task in waiting[1:]:
        task.cancel()
    may_end.set()
    await asyncio.gather(first, *waiting, return_exceptions=True)
    assert done == [0]
