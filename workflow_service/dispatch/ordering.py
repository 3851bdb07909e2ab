"""In which order the deliveries of one webhook are sent: those of one record one after the other.

A delivery that failed holds up the later ones of its record until it succeeds or is given up, and
nobody else.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(slots=True)
class Waiting:
    """A delivery that waits; `subject` is the record that it is about."""

    id: str
    subject: str
    tries: int
    due: float
    """On the clock of the event loop."""
    bytes: int = 0
    """The size of its body."""
    traceparent: str | None = None
    """Of what caused its event, if that is traced."""
    is_sent: bool = False
    """Whether its result is awaited."""


class Queue:
    """The deliveries of one webhook that wait or are being sent."""

    def __init__(self) -> None:
        self._of: dict[str, deque[Waiting]] = {}
        self._known: dict[str, Waiting] = {}
        self._ready: deque[Waiting] = deque()
        self._later: list[tuple[float, int, Waiting]] = []
        self._pushed = 0
        self.bytes = 0
        """Of all their bodies."""

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, delivery_id: str) -> bool:
        return delivery_id in self._known

    @property
    def records(self) -> int:
        """How many records they are about."""
        return len(self._of)

    def add(self, one: Waiting) -> None:
        """It waits behind those of its record; nothing happens if it is known."""
        if one.id in self._known:
            return
        self._known[one.id] = one
        self.bytes += one.bytes
        behind = self._of.setdefault(one.subject, deque())
        behind.append(one)
        if len(behind) == 1:
            self._schedule(one)

    def take(self, now: float) -> Waiting | None:
        """One to be sent now, which is then awaited."""
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        while self._ready:
            one = self._ready.popleft()
            # What was removed or moved meanwhile is in the lists no more, or again.
            if self._known.get(one.id) is one and not one.is_sent and one.due <= now:
                one.is_sent = True
                return one
        return None

    def give_back(self, one: Waiting) -> None:
        """It could not be sent now."""
        one.is_sent = False
        self._schedule(one)

    def put_off(self, one: Waiting, due: float) -> None:
        """An attempt has failed; the next one is due then."""
        one.is_sent, one.due = False, due
        one.tries += 1
        if self._known.get(one.id) is one:
            self._schedule(one)

    def end(self, one: Waiting) -> None:
        """It is sent, or given up, or not wanted any more: the next of its record can be sent."""
        if self._known.pop(one.id, None) is None:
            return
        self.bytes -= one.bytes
        behind = self._of[one.subject]
        was_first = behind[0] is one
        behind.remove(one)
        if not behind:
            del self._of[one.subject]
        elif was_first:
            self._schedule(behind[0])

    def keep(self, ids: Collection[str]) -> None:
        """Forget all others that wait; what is being sent stays until its result is there."""
        for one in [*self._known.values()]:
            if one.id not in ids and not one.is_sent:
                self.end(one)

    def move(self, delivery_id: str, tries: int, due: float) -> None:
        """Somebody else has changed when it is due."""
        one = self._known.get(delivery_id)
        if one is not None and not one.is_sent and (one.tries, one.due) != (tries, due):
            one.tries, one.due = tries, due
            if self._of[one.subject][0] is one:
                self._schedule(one)

    @property
    def next_due(self) -> float | None:
        """When the next one is due that is not yet."""
        return self._later[0][0] if self._later else None

    def _schedule(self, one: Waiting) -> None:
        self._pushed += 1
        heapq.heappush(self._later, (one.due, self._pushed, one))
