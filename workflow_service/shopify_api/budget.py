"""How long to wait until a request costs no more points than Shopify has left for us.

Each answer tells how many points are left and how many come back per second. A request is sent when
there are enough for what it may cost at most, so that none is refused for its cost.

Source: the page on rate limits of the GraphQL Admin API.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

_MARGIN: Final = 1.0
"""Points that are left alone: the shop rounds, and its clock is not ours."""


class Budget:
    """The points of one access token at one shop, as the last answer told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self._available: float | None = None
        self._maximum = self._restore_rate = 0.0

    def note(self, status: Any) -> None:
        """Believe the `throttleStatus` of an answer; one that makes no sense is passed over."""
        try:
            maximum = float(status["maximumAvailable"])
            available = float(status["currentlyAvailable"])
            restore_rate = float(status["restoreRate"])
        except (KeyError, TypeError, ValueError):
            return
        if 0 < restore_rate < float("inf") and maximum > 0 and available <= maximum:
            self._maximum, self._available = maximum, available
            self._restore_rate = restore_rate
            self._at = self._clock()

    def wait_s(self, cost: float) -> float:
        """Seconds until there are points for a request of this cost; 0 while nothing is known.

        What costs more than there can ever be waits until all points are back.
        """
        if self._available is None:
            return 0.0
        back = (self._clock() - self._at) * self._restore_rate
        wanted = min(cost + _MARGIN, self._maximum)
        return max(0.0, (wanted - self._available - back) / self._restore_rate)
