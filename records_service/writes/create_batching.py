"""Group commit: combines concurrent creates into one statement.

A create by itself pays for a round trip, the locks on its workspace's model and counter, and a disk
flush. So while one statement of a workspace is on its way, the creates that come meanwhile wait for
each other and go together as the next one; a create that is alone goes at once. Nobody is answered
before their record is on disk.

All of a statement's records are stored, or none. Where PostgreSQL refuses them, one may be to blame
for all: each is then stored by itself and gets an outcome of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

import asyncpg
from aiohttp import web

from records_service.records import store
from records_service.records.store import PendingCreate, StripeExhausted, any_stripe
from shared.database import DATABASE, Database
from shared.errors import ServiceUnavailable
from shared.process.keyed_semaphore import KeyedSemaphore
from shared.process.waiting import ASKING, WAIT_S, Pace, retry_after_s

RECORDS_MAX: Final = 64
BYTES_MAX: Final = 1 << 20


class Shared(NamedTuple):
    """What records must have in common to be stored by one statement."""

    workspace_id: str
    model_version: int
    record_limit: int


class _Waiting(NamedTuple):
    arrival: PendingCreate
    outcome: asyncio.Future[bool]
    """True: it is stored. False: store it alone."""
    gives_up: asyncio.TimerHandle | None
    """Ends the waiting for a statement, not that for its end."""


class CreateBatcher:
    """The new records of this process that wait to be stored."""

    def __init__(self, database: Database, writers: KeyedSemaphore, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._pace: dict[str, Pace] = {}
        self._database = database
        self._writers = writers
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Shared, list[_Waiting]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def store(self, shared: Shared, arrival: PendingCreate) -> None:
        """Return when the record is stored; raises what `store.insert` raises about it.

        A caller that is cancelled while waiting does not affect the others; its record is stored
        all the same if the statement has begun. Raises `ServiceUnavailable` if no statement takes
        the record in time.
        """
        outcome: asyncio.Future[bool] = self._loop.create_future()
        line = self._waiting.get(shared)
        if line is not None:
            asking = ASKING.get()
            left_s = self._wait_s - (0.0 if asking is None else asking.waited_s)
            expected_s = self._expected_s(shared)
            if left_s <= 0 or (line and expected_s > left_s):
                raise _refusal(expected_s)
            line.append(
                _Waiting(
                    arrival, outcome, self._loop.call_later(left_s, self._give_up, shared, outcome)
                )
            )
        else:
            self._waiting[shared] = [_Waiting(arrival, outcome, None)]
            self._pace.setdefault(shared.workspace_id, Pace(self._wait_s))
            task = self._loop.create_task(self._carry(shared))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if not await outcome:
            async with self._writers.of(shared.workspace_id):
                await self._insert(shared, [arrival])

    async def _carry(self, shared: Shared) -> None:
        """One statement after the other, for as long as somebody waits."""
        # The statement serves many callers, so it waits in no caller's lane.
        ASKING.set(None)
        pace = self._pace[shared.workspace_id]
        try:
            while batch := self._next(shared):
                began = self._loop.time()
                await self._settle(shared, batch)
                pace.add(self._loop.time() - began)
        finally:
            del self._waiting[shared]
            if all(other.workspace_id != shared.workspace_id for other in self._waiting):
                del self._pace[shared.workspace_id]

    def _expected_s(self, shared: Shared) -> float:
        statements = len(self._waiting[shared]) // RECORDS_MAX + 1
        return statements * self._pace[shared.workspace_id].seconds

    def _give_up(self, shared: Shared, outcome: asyncio.Future[bool]) -> None:
        if not outcome.done():
            outcome.set_exception(_refusal(self._expected_s(shared)))

    def _next(self, shared: Shared) -> list[_Waiting]:
        """The next batch: bounded in number and size; a single large record is allowed."""
        waiting = [one for one in self._waiting[shared] if not one.outcome.done()]
        count = size = 0
        for one in waiting[:RECORDS_MAX]:
            size += len(one.arrival.document)
            if count and size > BYTES_MAX:
                break
            count += 1
        self._waiting[shared] = waiting[count:]
        for one in waiting[:count]:
            if one.gives_up is not None:
                one.gives_up.cancel()
        return waiting[:count]

    async def _settle(self, shared: Shared, batch: list[_Waiting]) -> None:
        error: Exception | None = None
        try:
            await self._insert(shared, [one.arrival for one in batch])
        except Exception as failed:  # noqa: BLE001 - It belongs to those who asked.
            error = failed
        is_about_one = isinstance(error, (asyncpg.PostgresError, StripeExhausted))
        for one in batch:
            if one.outcome.done():
                continue
            if error is None or (is_about_one and len(batch) > 1):
                one.outcome.set_result(error is None)
            else:
                one.outcome.set_exception(error)

    async def _insert(self, shared: Shared, arrivals: list[PendingCreate]) -> None:
        async with self._database.acquire() as conn:
            await store.insert(
                conn,
                arrivals,
                model_version=shared.model_version,
                record_limit=shared.record_limit,
                stripe=any_stripe(),
            )


def _refusal(expected_s: float) -> ServiceUnavailable:
    return ServiceUnavailable(retry_after_s=retry_after_s(expected_s))


WRITE_SLOTS: Final = web.AppKey("writers", KeyedSemaphore)
"""How many writes of one workspace may hold a connection at a time."""
CREATE_BATCHER: Final = web.AppKey("arrivals", CreateBatcher)


def create_batching(wait_s: float) -> Callable[[web.Application], AsyncIterator[None]]:
    """Lend `app[CREATE_BATCHER]` while the service runs; nobody waits longer than `wait_s` in line."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        app[CREATE_BATCHER] = CreateBatcher(app[DATABASE], app[WRITE_SLOTS], wait_s)
        yield

    return opened
