"""How many rows a slice of background work takes: writers wait for the locks that it holds.

    async with SIZE.of(ROWS_MAX) as rows: ...       locks and changes that many rows at most

A number that is right for a machine at rest holds writers up for several times as long on a busy
one, or where rows are large. So each slice is as large as the ones before it allow.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

HELD_S: Final = 0.08
"""How long a slice may take: a writer waits for it, and for its commit."""
ROWS_MIN: Final = 20
"""What a slice takes without any rows is not to be most of it."""
_FORGOTTEN: Final = 0.7
"""What the time for a row counts for, one slice later: a slow moment is not forgotten at once."""


class SliceSize:
    """The size of slices of one kind of work in this process."""

    def __init__(
        self, held_s: float = HELD_S, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._held_s = held_s
        self._clock = clock
        self._row_s = 0.0

    @asynccontextmanager
    async def of(self, rows_max: int) -> AsyncIterator[int]:
        """How many rows the body may lock; how long it takes decides for the next ones."""
        rows = rows_max
        if self._row_s:
            rows = min(rows_max, max(ROWS_MIN, int(self._held_s / self._row_s)))
        began = self._clock()
        try:
            yield rows
        finally:
            # Also of a slice that ran into a time limit: it is tried again, and is to be smaller.
            self._row_s = max((self._clock() - began) / rows, self._row_s * _FORGOTTEN)
