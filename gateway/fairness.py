"""Fair slots (bulkhead): how many operations of a kind run at once, in total and per caller.

Some things last as long as a client likes, or may be asked for by anybody: large answers, uploads,
first uses of API keys, open routes. There are slots for some of each, and nobody gets all of them:

- A caller is given one more while it holds fewer than are free. Alone it comes to half of them, and
  whatever it holds, the next caller finds some.
- A workspace, which may make itself as many callers as it likes, is given one more while it holds
  less than three times what is free: three quarters.
- An address, behind which there may be many workspaces, comes to seven eighths.
- Where a caller need not say who it is, its address stands for it.

A request that finds no slot waits for a moment: where the others are quick, one comes free soon.
The line is bounded and shared in the same way, and what does not fit into it is refused at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from shared.errors import ServiceUnavailable
from shared.process.waiting import WAIT_S

_RETRY_AFTER_S: Final = 5
_MANY_CALLERS: Final = 3
_MANY_WORKSPACES: Final = 7


class CallerKey(NamedTuple):
    """Whose request it is. Without a workspace nobody said: then the address stands for them."""

    workspace: str
    kind: str
    id: str
    peer: str = ""

    def shares(self) -> tuple[tuple[Hashable, int], ...]:
        """The names under which it is counted; each may hold so many times what is free."""
        if not self.workspace:
            return ((self.peer, 1),)
        caller = (self.workspace, self.kind, self.id)
        shares = ((caller, 1), ((self.workspace,), _MANY_CALLERS))
        return (*shares, (self.peer, _MANY_WORKSPACES)) if self.peer else shares


ANONYMOUS: Final = CallerKey("", "", "")
"""A caller of whom nothing is known yet, not even an address."""


def anonymous(peer: str) -> CallerKey:
    """A caller of whom only the address is known."""
    return CallerKey("", "", "", peer)


class _Slots:
    """A number of slots, shared out as said above."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._held: Counter[Hashable] = Counter()

    def take(self, caller_key: CallerKey) -> bool:
        """Whether there was a slot for it."""
        shares = caller_key.shares()
        if any(self._held[name] >= times * self._free for name, times in shares):
            return False
        self._free -= 1
        self._held.update(name for name, _ in shares)
        return True

    def give_back(self, caller_key: CallerKey) -> None:
        self._free += 1
        for name, _ in caller_key.shares():
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]


class FairSlots:
    """The slots for one kind of thing.

    `refusal` is the message where none comes free within `wait_s` seconds.
    """

    def __init__(self, number: int, line: int, refusal: str, wait_s: float = WAIT_S) -> None:
        self._slots = _Slots(number)
        self._line = _Slots(line)
        self._refusal = refusal
        self._wait_s = wait_s
        self._waiting: dict[asyncio.Future[None], CallerKey] = {}

    @asynccontextmanager
    async def slot(self, caller_key: CallerKey, deadline: float) -> AsyncIterator[None]:
        """Hold a slot meanwhile. Raises as `take` does."""
        await self.take(caller_key, deadline)
        try:
            yield
        finally:
            self.give_back(caller_key)

    async def take(self, caller_key: CallerKey, deadline: float) -> None:
        """Take a slot, to be given back. `ServiceUnavailable` where none comes free soon.

        `deadline` is a time of the event loop.
        """
        if self._slots.take(caller_key):
            return
        if not self._line.take(caller_key):
            raise self._refused()
        loop = asyncio.get_running_loop()
        slot: asyncio.Future[None] = loop.create_future()
        self._waiting[slot] = caller_key
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._wait_s)):
                await slot
        except BaseException as error:
            if slot.done() and not slot.cancelled():
                # It was given one and leaves all the same.
                self.give_back(caller_key)
            if isinstance(error, TimeoutError):
                raise self._refused() from None
            raise
        finally:
            del self._waiting[slot]
            self._line.give_back(caller_key)

    def give_back(self, caller_key: CallerKey) -> None:
        """Give a slot back: to the first in line whose share it fits."""
        self._slots.give_back(caller_key)
        for slot, waiting in self._waiting.items():
            if not slot.done() and self._slots.take(waiting):
                slot.set_result(None)

    def _refused(self) -> ServiceUnavailable:
        return ServiceUnavailable(self._refusal, retry_after_s=_RETRY_AFTER_S)
