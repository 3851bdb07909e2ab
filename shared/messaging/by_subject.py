"""Work for several workers, of which one at a time does what is about one subject, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class BySubject(Generic[T]):
    """What waits and what is being done.

    A worker takes the oldest whose subject no other is at, so none is idle beside two subjects that
    wait for the same worker.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Hashable, T]] = deque()
        self._taken: set[Hashable] = set()
        self._changed = asyncio.Event()
        self._is_done = asyncio.Event()
        self._is_done.set()

    @property
    def is_any_waiting(self) -> bool:
        """Whether no worker has taken something yet."""
        return bool(self._waiting)

    def put(self, subject: Hashable, item: T) -> None:
        """It waits for a worker."""
        self._waiting.append((subject, item))
        self._is_done.clear()
        self._changed.set()

    async def take(self) -> tuple[Hashable, T]:
        """The next, with its subject; `done` lets go of that."""
        while True:
            for place, (subject, item) in enumerate(self._waiting):
                if subject not in self._taken:
                    del self._waiting[place]
                    self._taken.add(subject)
                    return subject, item
            self._changed.clear()
            await self._changed.wait()

    def done(self, subject: Hashable) -> None:
        """What was taken of the subject is done, or given up."""
        self._taken.discard(subject)
        self._changed.set()
        if not self._taken and not self._waiting:
            self._is_done.set()

    async def join(self) -> None:
        """Return when all is done."""
        await self._is_done.wait()
