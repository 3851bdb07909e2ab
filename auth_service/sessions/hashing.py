"""Hashes passwords in a bounded thread pool with a bounded queue.

A hash costs 20 ms of a processor and 19 MiB. On the event loop it would stop every other request,
and without a bound a flood of logins would take all memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

from aiohttp import web

from shared.errors import ServiceUnavailable

P = ParamSpec("P")
T = TypeVar("T")


class HashingPool:
    """`with pool.slot(): await pool.run(hashed, password)`."""

    def __init__(self, threads: int, waiting_max: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="hashing")
        self._free = threads + waiting_max

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A slot, to be had before anything is written. Raises `ServiceUnavailable`."""
        if self._free == 0:
            raise ServiceUnavailable("Too many logins at the same time")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it in one of the threads, in turn."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: work(*args, **kwargs)
        )

    def close(self) -> None:
        """Finish what runs, forget what waits."""
        self._threads.shutdown(cancel_futures=True)


HASHING: Final = web.AppKey("hashing", HashingPool)


def hashing(threads: int, waiting_max: int) -> Callable[[web.Application], AsyncIterator[None]]:
    """Lend `app[HASHING]` while the service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        pool = HashingPool(threads, waiting_max)
        app[HASHING] = pool
        yield
        await asyncio.to_thread(pool.close)

    return opened
