"""Lets those who want the same thing go one after the other, or a few at a time, in one process.

Whoever waits holds nothing meanwhile: no connection, no lock of the database.

    turns = Turns(places=1)
    async with turns.of(workspace_id): ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """So many places for each thing that somebody wants now; nothing is kept of the others."""

    def __init__(self, places: int = 1) -> None:
        self._places = places
        self._wanted: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, thing: Hashable) -> AsyncIterator[None]:
        """Wait for those who came before."""
        turn = self._wanted.setdefault(thing, asyncio.Semaphore(self._places))
        async with turn:
            yield
