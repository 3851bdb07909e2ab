"""Group commit: combines concurrent creates into one statement.

A create by itself pays for a round trip, the locks on its workspace's model and counter, and a disk
flush. So while one statement of a workspace is running, the creates that arrive wait for each other
and are sent together as the next one; a create that is alone is sent at once. A create is answered
when its record is on disk.

All of a statement's records are stored, or none. Where PostgreSQL refuses them, a single one may be
the cause: each is then stored by itself and gets an outcome of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

import asyncpg
from aiohttp import web

from records_service.context import Context
from records_service.writes import store
from records_service.writes.model import PendingCreate, StripeExhausted
from records_service.writes.quota import any_stripe, redistribute_quota
from shared.database import DATABASE, REQUEST_TRANSACTION, Database
from shared.errors import ServiceUnavailable
from shared.messaging import outbox
from shared.process.waiting import ASKING, WAIT_S, KeyedSemaphore, Pace, retry_after_s

RECORDS_MAX: Final = 64
BYTES_MAX: Final = 1 << 20


class BatchKey(NamedTuple):
    """What creates must have in common to be stored by one statement."""

    workspace_id: str
    model_version: int
    record_limit: int


class _Waiting(NamedTuple):
    create: PendingCreate
    outcome: asyncio.Future[bool]
    """True: it is stored. False: store it alone."""
    gives_up: asyncio.TimerHandle | None
    """Limits the wait for a statement to begin, not the wait for its result."""


class CreateBatcher:
    """Combines the creates of this process into statements, one batch per key at a time."""

    def __init__(
        self, database: Database, write_slots: KeyedSemaphore, wait_s: float = WAIT_S
    ) -> None:
        self._database = database
        self._write_slots = write_slots
        self._wait_s = wait_s
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[BatchKey, list[_Waiting]] = {}
        self._pace: dict[str, Pace] = {}
        """How long a statement takes, by workspace."""
        self._running: set[asyncio.Task[None]] = set()

    async def store(self, batch_key: BatchKey, create: PendingCreate) -> None:
        """Return when the record is stored; raises what `store.insert` raises about it.

        Cancelling one create does not affect the others; a batch already sent is still stored.
        Raises `ServiceUnavailable` if no statement takes the record in time.
        """
        outcome: asyncio.Future[bool] = self._loop.create_future()
        line = self._waiting.get(batch_key)
        if line is not None:
            asking = ASKING.get()
            left_s = self._wait_s - (0.0 if asking is None else asking.waited_s)
            expected_s = self._expected_s(batch_key)
            if left_s <= 0 or (line and expected_s > left_s):
                raise _refusal(expected_s)
            line.append(
                _Waiting(
                    create,
                    outcome,
                    self._loop.call_later(left_s, self._give_up, batch_key, outcome),
                )
            )
        else:
            self._waiting[batch_key] = [_Waiting(create, outcome, None)]
            self._pace.setdefault(batch_key.workspace_id, Pace(self._wait_s))
            task = self._loop.create_task(self._send_batches(batch_key))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if not await outcome:
            await self.store_alone(batch_key, create)

    async def store_alone(self, batch_key: BatchKey, create: PendingCreate) -> None:
        """As `store`, with no other create: in the transaction of the request, if it has one."""
        async with self._write_slots.of(batch_key.workspace_id):
            await self._insert(batch_key, [create])

    async def _send_batches(self, batch_key: BatchKey) -> None:
        """Send one statement after the other while creates are waiting."""
        # The statement serves many callers, so it waits in no caller's lane.
        ASKING.set(None)
        pace = self._pace[batch_key.workspace_id]
        try:
            while batch := self._next(batch_key):
                began = self._loop.time()
                await self._settle(batch_key, batch)
                pace.add(self._loop.time() - began)
        finally:
            del self._waiting[batch_key]
            if all(other.workspace_id != batch_key.workspace_id for other in self._waiting):
                del self._pace[batch_key.workspace_id]

    def _expected_s(self, batch_key: BatchKey) -> float:
        statements = len(self._waiting[batch_key]) // RECORDS_MAX + 1
        return statements * self._pace[batch_key.workspace_id].seconds

    def _give_up(self, batch_key: BatchKey, outcome: asyncio.Future[bool]) -> None:
        if not outcome.done():
            outcome.set_exception(_refusal(self._expected_s(batch_key)))

    def _next(self, batch_key: BatchKey) -> list[_Waiting]:
        """The next batch: bounded in number and size; a single large record is allowed."""
        waiting = [one for one in self._waiting[batch_key] if not one.outcome.done()]
        count = size = 0
        for one in waiting[:RECORDS_MAX]:
            size += len(one.create.document)
            if count and size > BYTES_MAX:
                break
            count += 1
        self._waiting[batch_key] = waiting[count:]
        for one in waiting[:count]:
            if one.gives_up is not None:
                one.gives_up.cancel()
        return waiting[:count]

    async def _settle(self, batch_key: BatchKey, batch: list[_Waiting]) -> None:
        error: Exception | None = None
        try:
            await self._insert(batch_key, [one.create for one in batch])
        except Exception as failed:  # noqa: BLE001 - Each waiting create raises it.
            error = failed
        is_about_one = isinstance(error, (asyncpg.PostgresError, StripeExhausted))
        for one in batch:
            if one.outcome.done():
                continue
            if error is None or (is_about_one and len(batch) > 1):
                one.outcome.set_result(error is None)
            else:
                one.outcome.set_exception(error)

    async def _insert(self, batch_key: BatchKey, pending: list[PendingCreate]) -> None:
        async with self._database.acquire() as conn:
            await store.insert(
                conn,
                pending,
                model_version=batch_key.model_version,
                record_limit=batch_key.record_limit,
                stripe=any_stripe(),
            )


WRITE_SLOTS: Final = web.AppKey("write_slots", KeyedSemaphore)
"""How many writes of one workspace may hold a connection at a time."""
CREATE_BATCHER: Final = web.AppKey("create_batcher", CreateBatcher)


async def store_new(context: Context, create: PendingCreate, model_version: int) -> None:
    """Store a new record with those that are created at the same moment, and wake the relay.

    Where its stripe of the counter is exhausted, it is stored by itself. Raises what `store.insert`
    and `redistribute_quota` raise.
    """
    workspace_id, limit = context.workspace_id, context.identity.record_limit
    batcher = context.app[CREATE_BATCHER]
    key = BatchKey(workspace_id, model_version, limit)
    try:
        if REQUEST_TRANSACTION.get() is None:
            await batcher.store(key, create)
        else:
            await batcher.store_alone(key, create)
    except StripeExhausted:
        stripe = any_stripe()
        async with (
            context.app[WRITE_SLOTS].of(workspace_id),
            context.database.transaction() as conn,
        ):
            await redistribute_quota(conn, workspace_id, limit, stripe)
            await store.insert(
                conn, [create], model_version=model_version, record_limit=limit, stripe=stripe
            )
    outbox.wake(context.app)


def _refusal(expected_s: float) -> ServiceUnavailable:
    return ServiceUnavailable(retry_after_s=retry_after_s(expected_s))


def create_batcher(wait_s: float) -> Callable[[web.Application], AsyncIterator[None]]:
    """Provide `app[CREATE_BATCHER]`; no create waits longer than `wait_s` for its statement."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        app[CREATE_BATCHER] = CreateBatcher(app[DATABASE], app[WRITE_SLOTS], wait_s)
        yield

    return opened
