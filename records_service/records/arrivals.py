"""Stores the records that arrive together in one statement, so that they share its cost.

A create by itself pays for a round trip, the locks on its workspace's model and counter, and a disk
flush. So while one statement of a workspace is on its way, the creates that come meanwhile wait for
each other and go together as the next one; a create that is alone goes at once. Nobody is answered
before their record is on disk.

All of a statement's records are stored, or none. Where PostgreSQL refuses them, one may be to blame
for all: each is then stored by itself and gets an outcome of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import asyncpg
from aiohttp import web

from records_service.records import store
from records_service.records.store import Arrival, NoRoomInStripe, any_stripe
from shared.postgres import DATABASE, Database
from shared.turns import Turns

RECORDS_MAX: Final = 64
BYTES_MAX: Final = 1 << 20


class Shared(NamedTuple):
    """What records must have in common to be stored by one statement."""

    workspace_id: str
    model_version: int
    record_limit: int


class _Waiting(NamedTuple):
    arrival: Arrival
    outcome: asyncio.Future[bool]
    """True: it is stored. False: store it alone."""


class Arrivals:
    """The new records of this process that wait to be stored."""

    def __init__(self, database: Database, writers: Turns) -> None:
        self._database = database
        self._writers = writers
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Shared, list[_Waiting]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def store(self, shared: Shared, arrival: Arrival) -> None:
        """Return when the record is stored; raises what `store.insert` raises about it.

        Who is cancelled while waiting takes nobody along; what is on its way by then is stored.
        """
        waiting = _Waiting(arrival, self._loop.create_future())
        if shared in self._waiting:
            self._waiting[shared].append(waiting)
        else:
            self._waiting[shared] = [waiting]
            task = self._loop.create_task(self._carry(shared))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if not await waiting.outcome:
            async with self._writers.of(shared.workspace_id):
                await self._insert(shared, [arrival])

    async def _carry(self, shared: Shared) -> None:
        """One statement after the other, for as long as somebody waits."""
        try:
            while batch := self._next(shared):
                await self._settle(shared, batch)
        finally:
            del self._waiting[shared]

    def _next(self, shared: Shared) -> list[_Waiting]:
        """Those who go together: not too many, and not too large unless it is a single one."""
        waiting = [one for one in self._waiting[shared] if not one.outcome.done()]
        count = size = 0
        for one in waiting[:RECORDS_MAX]:
            size += len(one.arrival.document)
            if count and size > BYTES_MAX:
                break
            count += 1
        self._waiting[shared] = waiting[count:]
        return waiting[:count]

    async def _settle(self, shared: Shared, batch: list[_Waiting]) -> None:
        error: Exception | None = None
        try:
            await self._insert(shared, [one.arrival for one in batch])
        except Exception as failed:  # noqa: BLE001 - It belongs to those who asked.
            error = failed
        is_about_one = isinstance(error, (asyncpg.PostgresError, NoRoomInStripe))
        for one in batch:
            if one.outcome.done():
                continue
            if error is None or (is_about_one and len(batch) > 1):
                one.outcome.set_result(error is None)
            else:
                one.outcome.set_exception(error)

    async def _insert(self, shared: Shared, arrivals: list[Arrival]) -> None:
        async with self._database.acquire() as conn:
            await store.insert(
                conn,
                arrivals,
                model_version=shared.model_version,
                record_limit=shared.record_limit,
                stripe=any_stripe(),
            )


WRITERS: Final = web.AppKey("writers", Turns)
"""How many writes of one workspace may hold a connection at a time."""
ARRIVALS: Final = web.AppKey("arrivals", Arrivals)


async def arriving(app: web.Application) -> AsyncIterator[None]:
    """Lend `app[ARRIVALS]` while the service runs."""
    app[ARRIVALS] = Arrivals(app[DATABASE], app[WRITERS])
    yield
