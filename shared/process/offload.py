"""Threads for CPU-bound work that would hold the event loop: all that is done with a large body.

Two threads, so that one long piece of work does not keep all others waiting, and one of them at
most for each workspace. The interpreter changes threads every few milliseconds, so the loop goes
on; only a single call into C code is one piece.

    values = await app[OFFLOAD].run(workspace_id, checked, sent)
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from aiohttp import web

from shared.errors import ServiceUnavailable
from shared.process.waiting import WAIT_S, KeyedSemaphore

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES: Final = 64 << 10
"""JSON above this size is parsed, judged and written down in a thread."""
THREADS: Final = 2
WAITING_MAX: Final = 128

_POOL: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="offload")


class Large(dict[str, Any]):
    """A JSON object of more than `LARGE_BYTES`; whoever holds it knows that without counting."""


class Offload:
    """The threads of this process, shared out by workspace."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        """`wait_s` is how long a request waits for its turn."""
        self._slots = KeyedSemaphore(wait_s=wait_s)
        self._waiting = 0

    async def run(
        self, share: str | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What the function returns; `share`, a workspace, has one thread at a time.

        Raises `ServiceUnavailable` when too much waits already, or it would wait too long. What has
        not begun when the caller is cancelled does not begin.
        """
        if self._waiting >= WAITING_MAX:
            raise ServiceUnavailable("Too many large requests at once")
        self._waiting += 1
        try:
            async with self._slots.of(share):
                return await in_thread(function, *args, **kwargs)
        finally:
            self._waiting -= 1


OFFLOAD: Final = web.AppKey("offload", Offload)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function returns, from one of these threads; nobody is refused.

    For what is done once for all who wait for it, such as reading the model of a workspace. Not in
    the default executor of the loop: its threads look up addresses, and each thread that computes
    takes the interpreter from the loop for milliseconds at a time.
    """
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(
        _POOL, lambda: context.run(function, *args, **kwargs)
    )
