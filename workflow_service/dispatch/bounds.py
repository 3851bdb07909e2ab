"""How much may wait for webhooks and be sent at a time, of a webhook, a workspace and this process.

What is beyond these bounds waits in the change feed. Whoever is at a bound of the workspace or of
the process still gets a little, so that nobody waits for somebody else's receiver.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

PAGE: Final = 250
"""Events that are taken at once."""
FEW: Final = 25
"""Deliveries that a webhook may have waiting, however much waits for others."""
RECORDS_MAX: Final = 1_000
"""Records about which deliveries wait for one webhook."""
PENDING_MAX: Final = 10_000
"""Deliveries that wait for one webhook: many of a record that fails must not hold up others."""
PENDING_BYTES_MAX: Final = 16 << 20
PENDING_OF_WORKSPACE: Final = 100_000
PENDING_BYTES_OF_WORKSPACE: Final = 256 << 20
PENDING_OF_PROCESS: Final = 300_000
"""Each needs up to a kilobyte of memory, without its body."""
TAKES_OF_WORKSPACE: Final = 4
"""Pages that are taken at a time."""
TAKE_WAIT_S: Final = 30.0
SENT_AT_ONCE: Final = 16
SENT_OF_WORKSPACE: Final = 64
SENT_OF_PROCESS: Final = 1_000
LANES_SENDING_MAX: Final = 4_000
"""Each lane may have one request beyond the bounds of its workspace and of the process."""
SENT_BYTES_OF_WORKSPACE: Final = 32 << 20
SENT_BYTES_OF_PROCESS: Final = 256 << 20
SMALL: Final = 64 << 10
"""The one request beyond the bounds may have so many bytes."""

Key = tuple[str, str]
"""Workspace and id of a webhook."""


@dataclass(slots=True)
class Places:
    """Requests under way in this process, and the bytes of their bodies."""

    body_bytes: int = 0
    """Of bodies that are kept until they are sent."""
    _requests: Counter[str] = field(default_factory=Counter)
    _bytes: Counter[str] = field(default_factory=Counter)
    _waiting: set[asyncio.Event] = field(default_factory=set)

    def take(self, workspace_id: str, size: int, wake: asyncio.Event, *, is_first: bool) -> bool:
        """Take a place for a body; if there is none, `wake` is set when one is free.

        The first request of a lane waits for nobody's receiver.
        """
        total, of_workspace = self._requests.total(), self._requests[workspace_id]
        may = of_workspace < SENT_OF_WORKSPACE and total < SENT_OF_PROCESS
        fits = (
            # What alone is more than that goes when nothing else does.
            (self._bytes[workspace_id] + size <= SENT_BYTES_OF_WORKSPACE or not of_workspace)
            and (self._bytes.total() + size <= SENT_BYTES_OF_PROCESS or not total)
        )
        if total < LANES_SENDING_MAX and ((may and fits) or (is_first and (fits or size <= SMALL))):
            self._requests[workspace_id] += 1
            self._bytes[workspace_id] += size
            return True
        self._waiting.add(wake)
        return False

    def give_back(self, workspace_id: str, size: int) -> None:
        """The place is free."""
        self._bytes[workspace_id] -= size
        self._requests[workspace_id] -= 1
        if not self._requests[workspace_id]:
            del self._requests[workspace_id], self._bytes[workspace_id]
        while self._waiting:
            self._waiting.pop().set()


@dataclass(slots=True)
class Waits:
    """How many deliveries wait for the webhooks that have lanes in this process."""

    _of: dict[Key, tuple[int, int]] = field(default_factory=dict)
    _count: Counter[str] = field(default_factory=Counter)
    _bytes: Counter[str] = field(default_factory=Counter)
    _total: int = 0

    def note(self, key: Key, count: int, size: int) -> None:
        """So many wait for a webhook, with so many bytes."""
        old_count, old_size = self._of.get(key, (0, 0))
        if (count, size) == (old_count, old_size):
            return
        self._of[key] = count, size
        self._total += count - old_count
        self._count[key[0]] += count - old_count
        self._bytes[key[0]] += size - old_size
        if not count:
            del self._of[key]
        if not self._count[key[0]]:
            del self._count[key[0]], self._bytes[key[0]]

    def takeable(self, key: Key) -> int:
        """How many events may be taken for a webhook."""
        count, size = self._of.get(key, (0, 0))
        is_full = size >= PENDING_BYTES_MAX or self._bytes[key[0]] >= PENDING_BYTES_OF_WORKSPACE
        if count + PAGE <= self._allowed(key) and not is_full:
            return PAGE
        return 0 if count else FEW

    def loadable(self, key: Key) -> int:
        """How many of those that wait for a webhook may be in memory."""
        return max(FEW, self._allowed(key))

    def _allowed(self, key: Key) -> int:
        count, _ = self._of.get(key, (0, 0))
        room = min(PENDING_OF_WORKSPACE - self._count[key[0]], PENDING_OF_PROCESS - self._total)
        return min(PENDING_MAX, count + room)
