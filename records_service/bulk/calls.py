"""Runs a bulk call: its items in their order, in parts that stay, or all of them or none.

    in_parts  what was written stays, whatever comes after it; results come part by part
    at_once   one transaction; the first bad item is the error of the call, which names all of them

A call of one workspace shares the threads, the connections and the slots for writes with the
others, and only few calls run at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar

from aiohttp import web

from records_service.bulk.model import BulkOutcome, Result
from records_service.bulk.work import STALE, make_current, transaction
from records_service.context import Context
from records_service.writes.create_batching import WRITE_SLOTS
from shared.database import Conn
from shared.errors import (
    VIOLATIONS_MAX,
    ApiError,
    ServiceUnavailable,
    UpstreamTimeout,
    Violation,
)
from shared.messaging import outbox
from shared.process.collecting import collected_seldom
from shared.process.waiting import KeyedSemaphore

CALLS_OF_WORKSPACE_MAX: Final = 2
"""How many bulk calls of one workspace a process runs at a time; a call holds up to 64 MB."""
CALLS_MAX: Final = 4
PATIENCE: Final = 15
"""How often a part is tried that finds no place, once the call has begun."""
RESTARTS_MAX: Final = 5
PAUSE_S: Final = 0.5

CALLS_OF_WORKSPACE: Final = web.AppKey("bulk_calls_of_workspace", KeyedSemaphore)
CALLS: Final = web.AppKey("bulk_calls", KeyedSemaphore)


class Item(Protocol):
    """One row, or one id; `index` is its position in the call."""

    @property
    def index(self) -> int:
        """From 0."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


class Job(Protocol[ItemT]):
    """What a bulk call does."""

    def batches(self) -> AsyncIterator[Sequence[ItemT]]:
        """All items in order; may be asked for more than once."""
        ...

    async def write_some(
        self, items: Sequence[ItemT], start: int, conn: Conn | None
    ) -> list[Result]:
        """Write items from `start` on, at least one, as one transaction or in that of `conn`."""
        ...


@asynccontextmanager
async def one_of_few(context: Context) -> AsyncIterator[None]:
    """A place for a bulk call; raises `ServiceUnavailable` if none becomes free in time."""
    app = context.app
    async with app[CALLS_OF_WORKSPACE].of(context.workspace_id), app[CALLS].of(None):
        with collected_seldom():
            yield


async def in_parts(context: Context, job: Job[ItemT]) -> AsyncIterator[list[Result]]:
    """The results of all items, part by part, each part once it is on disk.

    An error that is about no item is raised if nothing was written before. Later, it is that of all
    items that are left: they have to be sent again.
    """
    has_begun = False
    stopped: ApiError | None = None
    async for items in job.batches():
        done = 0
        while done < len(items) and stopped is None:
            try:
                results = await _patiently(context, job, items, done, has_begun=has_begun)
            except ApiError as error:
                if not has_begun:
                    raise
                stopped = error
                break
            has_begun = True
            done += len(results)
            yield results
        if stopped is not None and done < len(items):
            yield [Result(item.index, BulkOutcome.FAILED, error=stopped) for item in items[done:]]
            if isinstance(stopped, UpstreamTimeout):
                # Of these nothing was sent.
                stopped = ServiceUnavailable("Not attempted, because the call was interrupted")


async def _patiently(
    context: Context, job: Job[ItemT], items: Sequence[ItemT], start: int, *, has_begun: bool
) -> list[Result]:
    """Write some items; a call that has begun waits longer than a request does otherwise."""
    for attempt in range(PATIENCE):
        # The bound on waiting is for work that has not begun; each part has its own.
        context.call.waited_s = 0.0
        try:
            return await job.write_some(items, start, None)
        except ServiceUnavailable:
            if not has_begun or attempt == PATIENCE - 1:
                raise
            await asyncio.sleep(PAUSE_S)
    raise ServiceUnavailable


async def at_once(context: Context, job: Job[ItemT]) -> list[Result]:
    """The results of all items, written in one transaction.

    Raises the error of the first bad item, whose message names it, with a violation for each.
    """
    for _ in range(RESTARTS_MAX):
        context.call.waited_s = 0.0
        try:
            async with (
                context.app[WRITE_SLOTS].of(context.workspace_id),
                transaction(context) as conn,
            ):
                results = await _all(context, job, conn)
        except STALE as stale:
            await make_current(context, stale)
            await asyncio.sleep(PAUSE_S)
            continue
        outbox.wake(context.app)
        return results
    raise ServiceUnavailable("The records or the data model are being changed at the moment")


async def _all(context: Context, job: Job[ItemT], conn: Conn) -> list[Result]:
    results: list[Result] = []
    bad: list[tuple[Result, ApiError]] = []
    async for items in job.batches():
        done = 0
        while done < len(items):
            context.call.waited_s = 0.0
            some = await job.write_some(items, done, conn)
            done += len(some)
            results += some
            bad += [(one, one.error) for one in some if one.error is not None]
            if len(bad) >= VIOLATIONS_MAX:
                raise refusal(bad)
    if bad:
        raise refusal(bad)
    return results


def refusal(bad: Sequence[tuple[Result, ApiError]]) -> ApiError:
    """The error of the first bad item, for the whole call."""
    first, error = bad[0]
    kind = type(error)
    refused = kind.__new__(kind)
    ApiError.__init__(
        refused,
        _named(first.index, error.message),
        headers=error.headers,
        violations=(violation for one, each in bad for violation in _violations(one.index, each)),
    )
    return refused


def _violations(index: int, error: ApiError) -> list[Violation]:
    if not error.violations:
        return [Violation(f"/{index}", _named(index, error.message))]
    return [one.moved(f"/{index}{one.pointer}", _named(index, "")) for one in error.violations]


def _named(index: int, message: str) -> str:
    return f"Row {index}: {message}"
