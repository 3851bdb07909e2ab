"""Semaphore per key: at most N tasks of this process work on the same thing at the same time.

A task that waits holds no database connection and no lock. The waiting time is bounded by
`shared/process/waiting.py`.

    turns = KeyedSemaphore(places=1)
    async with turns.of(workspace_id): ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from shared.process.waiting import WAIT_S, Line


class KeyedSemaphore:
    """One semaphore per key, dropped when no task holds it or waits for it."""

    def __init__(
        self, places: int = 1, *, wait_s: float = WAIT_S, message: str = "Service unavailable"
    ) -> None:
        self._places = places
        self._wait_s = wait_s
        self._message = message
        self._wanted: WeakValueDictionary[Hashable, _Places] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, thing: Hashable) -> AsyncIterator[None]:
        """Acquire a slot for this key; raises `ServiceUnavailable` if too many tasks wait."""
        places = self._wanted.get(thing)
        if places is None:
            places = self._wanted[thing] = _Places(self._places, self._wait_s, self._message)
        await places.take()
        try:
            yield
        finally:
            places.give_back()


class _Places:
    __slots__ = ("__weakref__", "_free", "_line")

    def __init__(self, free: int, wait_s: float, message: str) -> None:
        self._free = free
        self._line: Line[None] = Line(wait_s, lambda _: self.give_back(), message)

    async def take(self) -> None:
        if self._free:
            self._free -= 1
        else:
            await self._line.wait()

    def give_back(self) -> None:
        if not self._line.call(None):
            self._free += 1
