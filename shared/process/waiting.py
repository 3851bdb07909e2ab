"""Fair queues with a bounded waiting time, for requests that wait for one of a few slots.

A queue that is bounded only in length makes every request late under overload, and then work is
done for callers that have given up. Here a request waits at most `wait_s` in total, in all queues
together. After that it is refused with `ServiceUnavailable`, because its work has not started. If
the queue is so long that the request would not be served in time, it is refused at once.
`Retry-After` is the expected waiting time.

    line = Line(wait_s=2.0, passed_on=place.give_back)
    place = await line.wait()       in a request
    line.call(place)                whoever has a place to give

Each workspace has its own lane (sub-queue), and the lanes are served round-robin: a long lane of
one workspace does not delay the others.

`KeyedSemaphore` is a semaphore per key that queues in this way: at most so many tasks of this
process work on one thing at the same time.

    slots = KeyedSemaphore(places=1)
    async with slots.of(workspace_id): ...          a task that waits holds no connection, no lock
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Final, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from shared.errors import ServiceUnavailable

T = TypeVar("T")

WAIT_S: Final = 2.0
WAITED_HEADER: Final = "X-Sigma-Waited"
"""Milliseconds that a request has waited in queues before it was sent to this service."""
_WAITED_DIGITS_MAX: Final = 6
_SMOOTHING: Final = 1 / 16


class Asking(Protocol):
    """The current request: its caller, and how long it has waited in queues."""

    waited_s: float

    @property
    def workspace_id(self) -> str:
        """The workspace in whose lane the request waits."""
        ...


ASKING: Final[ContextVar[Asking | None]] = ContextVar("asking", default=None)
"""Set by the HTTP edge. Work for several requests together sets it to None."""


def waited_from(header: str) -> float:
    """Seconds; 0 when the header is not a number of milliseconds."""
    if not (header.isascii() and header.isdecimal() and len(header) <= _WAITED_DIGITS_MAX):
        return 0.0
    return int(header) / 1000


def retry_after_s(expected_s: float) -> int:
    """`Retry-After` for an expected waiting time: whole seconds, at least one."""
    return max(1, math.ceil(expected_s))


class Pace:
    """The average duration of a turn: a moving average of about the last sixteen."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Add a turn. The influence of a single very long turn is limited."""
        self.seconds += (min(seconds, self._longest_s) - self.seconds) * _SMOOTHING


class Line(Generic[T]):
    """A queue of waiters; `call` hands the first one what it waits for."""

    def __init__(
        self,
        wait_s: float,
        passed_on: Callable[[T], None],
        message: str = "Service unavailable",
    ) -> None:
        """`passed_on` receives what was handed to a waiter that was cancelled at the same time."""
        self._wait_s = wait_s
        self._passed_on = passed_on
        self._message = message
        self._lanes: dict[Hashable, deque[asyncio.Future[T]]] = {}
        self._pace = Pace(wait_s)
        self._called_at = 0.0

    def __bool__(self) -> bool:
        # Asked for every request, so without counting.
        return bool(self._lanes)

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    async def wait(
        self, lane_key: Hashable = None, *, until: float | None = None, first: bool = False
    ) -> T:
        """Wait for what `call` hands over; raises `ServiceUnavailable` if it does not come in time.

        `lane_key` names the lane; without it, the workspace of the current request. `until` is a
        time of the event loop. `first` goes before all others of the lane.
        """
        loop = asyncio.get_running_loop()
        asking = ASKING.get()
        began = loop.time()
        left_s = self._wait_s
        if asking is not None:
            lane_key = asking.workspace_id if lane_key is None else lane_key
            left_s -= asking.waited_s
        if until is not None:
            left_s = min(left_s, until - began)
        place = self._join(lane_key, left_s, began, first=first)
        try:
            async with asyncio.timeout(left_s):
                return await place
        except BaseException as error:
            self._leave(lane_key, place)
            if isinstance(error, TimeoutError):
                raise self._refusal(lane_key) from None
            raise
        finally:
            if asking is not None:
                asking.waited_s += loop.time() - began

    def call(self, handed: T) -> bool:
        """Hand it to the next waiter; False if nobody waits."""
        while self._lanes:
            lane_key = next(iter(self._lanes))
            lane = self._lanes.pop(lane_key)
            place = lane.popleft()
            if lane:
                # Behind the lanes of all others.
                self._lanes[lane_key] = lane
            if not place.done():
                now = asyncio.get_running_loop().time()
                self._pace.add(now - self._called_at)
                self._called_at = now
                place.set_result(handed)
                return True
        return False

    def refuse_all(self) -> None:
        """Refuse all waiters: nothing will be handed out any more."""
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            for place in lane:
                if not place.done():
                    place.set_exception(ServiceUnavailable())

    def _expected_s(self, lane_key: Hashable) -> float:
        """How long the next waiter of this lane would wait, at the current pace."""
        own = len(self._lanes.get(lane_key, ())) + 1
        before = sum(min(len(lane), own) for key, lane in self._lanes.items() if key != lane_key)
        return (own + before) * self._pace.seconds

    def _join(
        self, lane_key: Hashable, left_s: float, now: float, *, first: bool
    ) -> asyncio.Future[T]:
        lane = self._lanes.get(lane_key)
        # The first waiter of a lane is never refused because of an estimate.
        if left_s <= 0 or (lane and not first and self._expected_s(lane_key) > left_s):
            raise self._refusal(lane_key)
        if lane is None:
            if not self._lanes:
                self._called_at = now
            lane = self._lanes[lane_key] = deque()
        place: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if first:
            lane.appendleft(place)
        else:
            lane.append(place)
        return place

    def _leave(self, lane_key: Hashable, place: asyncio.Future[T]) -> None:
        """A waiter that is cancelled after it was served passes on what it received."""
        if place.done() and not place.cancelled():
            if place.exception() is None:
                self._passed_on(place.result())
            return
        lane = self._lanes.get(lane_key)
        if lane is not None and place in lane:
            lane.remove(place)
            if not lane:
                del self._lanes[lane_key]

    def _refusal(self, lane_key: Hashable) -> ServiceUnavailable:
        return ServiceUnavailable(
            self._message, retry_after_s=retry_after_s(self._expected_s(lane_key))
        )


class KeyedSemaphore:
    """One semaphore per key, dropped when no task holds it or waits for it."""

    def __init__(
        self, places: int = 1, *, wait_s: float = WAIT_S, message: str = "Service unavailable"
    ) -> None:
        self._places = places
        self._wait_s = wait_s
        self._message = message
        self._wanted: WeakValueDictionary[Hashable, _Places] = WeakValueDictionary()

    def of(self, key: Hashable) -> AbstractAsyncContextManager[None]:
        """Acquire a slot for this key; raises `ServiceUnavailable` if too many tasks wait."""
        return self._place(key)

    @asynccontextmanager
    async def _place(self, key: Hashable) -> AsyncIterator[None]:
        places = self._wanted.get(key)
        if places is None:
            places = self._wanted[key] = _Places(self._places, self._wait_s, self._message)
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
