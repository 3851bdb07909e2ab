"""Fair slots (bulkhead): how many operations of a kind run at once, in total and per caller.

The duration of some operations is decided by the client, others are open to everybody: large
responses, uploads, first uses of API keys, requests without a credential. Each kind has a number of
slots, and no caller can occupy all of them:

- A caller gets a slot while it holds fewer than are free. A single caller gets at most half of the
  slots, so the next caller always finds a free one.
- A workspace, which can have any number of callers, gets a slot while it holds less than three
  times as many as are free: at most three quarters.
- An address, behind which there can be many workspaces, gets at most seven eighths.
- A caller without a credential is identified by its address.

A request that finds no slot waits for a limited time. The queue is bounded and shared by the same
rules; a request that does not fit into it is refused at once.
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
    """Under which names a request is counted. Without a workspace only the address counts."""

    workspace: str
    kind: str
    id: str
    peer: str = ""

    def shares(self) -> tuple[tuple[Hashable, int], ...]:
        """The names under which the caller is counted, each with its factor.

        A name may hold fewer slots than its factor times the number of free ones.
        """
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
    """A fixed number of slots, shared fairly (see the module docstring)."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._held: Counter[Hashable] = Counter()

    def take(self, caller_key: CallerKey) -> bool:
        """Take a slot; False if the caller's share is used up."""
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
    """The slots for one kind of operation, with a queue of `line` waiting requests.

    `refusal` is the message of the error if no slot becomes free within `wait_s` seconds.
    """

    def __init__(self, number: int, line: int, refusal: str, wait_s: float = WAIT_S) -> None:
        self._slots = _Slots(number)
        self._line = _Slots(line)
        self._refusal = refusal
        self._wait_s = wait_s
        self._waiting: dict[asyncio.Future[None], CallerKey] = {}

    @asynccontextmanager
    async def slot(self, caller_key: CallerKey, deadline: float) -> AsyncIterator[None]:
        """Hold a slot while the block runs. Raises as `take` does."""
        await self.take(caller_key, deadline)
        try:
            yield
        finally:
            self.give_back(caller_key)

    async def take(self, caller_key: CallerKey, deadline: float) -> None:
        """Take a slot, which `give_back` returns; waits for one if necessary.

        Raises `ServiceUnavailable` if none becomes free within `wait_s` or before `deadline`, a
        time of the event loop.
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
                # The waiter was given a slot and cancelled at the same time.
                self.give_back(caller_key)
            if isinstance(error, TimeoutError):
                raise self._refused() from None
            raise
        finally:
            del self._waiting[slot]
            self._line.give_back(caller_key)

    def give_back(self, caller_key: CallerKey) -> None:
        """Give a slot back, and give free slots to waiting requests whose share allows it."""
        self._slots.give_back(caller_key)
        for slot, waiting in self._waiting.items():
            if not slot.done() and self._slots.take(waiting):
                slot.set_result(None)

    def _refused(self) -> ServiceUnavailable:
        return ServiceUnavailable(self._refusal, retry_after_s=_RETRY_AFTER_S)
