"""Waits for what must come true soon, so that no test guesses how long something takes."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

WITHIN_S = 30.0
BUSY = 4
"""So many times slower a machine may be than the one for which the times are said."""
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


async def eventually(
    check: Callable[[], T | Awaitable[T]], within_s: float = WITHIN_S, what: str = ""
) -> T:
    """The first truthy answer of `check`, asked again and again; `AssertionError` when time is up.

    A failing `assert` inside `check` counts as "not yet"; its last message is the one shown.
    """
    within_s *= BUSY
    ends = time.monotonic() + within_s
    pause_s = _FIRST_PAUSE_S
    while True:
        last: object
        try:
            answer = check()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
            last = answer
        except AssertionError as error:
            last = error
        if time.monotonic() >= ends:
            raise AssertionError(f"{what or 'it'} did not come true in {within_s} s: {last}")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


@dataclass
class Waits:
    """How this process was kept waiting by the machine."""

    longest_s: float = 0.0


@asynccontextmanager
async def machine_watched() -> AsyncIterator[Waits]:
    """For what has a real time limit: whoever missed it because the machine stood still may retry.

    What is measured is how late this event loop is for what it has planned.
    """
    waits = Waits()

    async def watch() -> None:
        while True:
            planned_s = time.monotonic() + _FIRST_PAUSE_S
            await asyncio.sleep(_FIRST_PAUSE_S)
            waits.longest_s = max(waits.longest_s, time.monotonic() - planned_s)

    watching = asyncio.create_task(watch())
    try:
        yield waits
    finally:
        watching.cancel()
        await asyncio.wait({watching})


async def always(check: Callable[[], T | Awaitable[T]], during_s: float) -> None:
    """Raise as soon as `check` is not true; for what must not happen while nobody is looking."""
    ends = time.monotonic() + during_s
    while time.monotonic() < ends:
        answer = check()
        if inspect.isawaitable(answer):
            answer = await answer
        assert answer, "it stopped being true"
        await asyncio.sleep(_FIRST_PAUSE_S)
