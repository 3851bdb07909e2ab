"""Lets those who want the same thing go one after the other, or a few at a time, in one process.

Whoever waits holds nothing meanwhile: no connection, no lock of the database. Nobody waits longer
than `shared/waiting.py` says.

    turns = Turns(places=1)
    async with turns.of(workspace_id): ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from shared.waiting import WAIT_S, Line


class Turns:
    """So many places for each thing that somebody wants now; nothing is kept of the others."""

    def __init__(
        self, places: int = 1, *, wait_s: float = WAIT_S, message: str = "Service unavailable"
    ) -> None:
        self._places = places
        self._wait_s = wait_s
        self._message = message
        self._wanted: WeakValueDictionary[Hashable, _Places] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, thing: Hashable) -> AsyncIterator[None]:
        """Wait for those who came before; `ServiceUnavailable` where they are too many."""
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
