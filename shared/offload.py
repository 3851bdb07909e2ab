"""Thread pool for CPU-bound work that would hold the event loop: the parsing of a large body.

Two threads, so that one long piece of work does not keep all others waiting, and one of them at
most for each workspace. The interpreter changes threads every few milliseconds, so the loop goes
on; only a single call into C code is one piece.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from shared.errors import ServiceUnavailable
from shared.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 2
WAITING_MAX: Final = 128

_POOL: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="offload")
_TURNS: Final = Turns()


class _Waiting:
    count = 0


async def off_loop(
    share: str | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """What the function returns; `share`, a workspace, has one thread at a time.

    Raises `ServiceUnavailable` when too much waits already. What has not begun when the caller is
    cancelled does not begin.
    """
    if _Waiting.count >= WAITING_MAX:
        raise ServiceUnavailable("Too many large requests at once")
    _Waiting.count += 1
    try:
        async with _TURNS.of(share):
            context = contextvars.copy_context()
            return await asyncio.get_running_loop().run_in_executor(
                _POOL, lambda: context.run(function, *args, **kwargs)
            )
    finally:
        _Waiting.count -= 1
