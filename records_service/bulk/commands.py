"""The engine of bulk calls and imports: writes rows in their order, many with each statement.

    results = await write_rows(context, rows, options)              each wave is a transaction

    async with transaction(context) as conn:                        all rows in one transaction
        results = await write_rows(context, rows, options, conn)

    writer = Writer(context, options, rows_behind)                  as a call goes on
    results = await writer.write_some(rows, start)

A wave is a run of rows about different records, of at most `WAVE_ROWS` rows and `WAVE_BYTES` bytes.
It takes a constant number of statements: what its rows are judged by is read, they are judged in a
thread, and what they change is written by one statement for the changed records and one for the
new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from records_service.bulk.model import Options, Result, Row
from records_service.bulk.settling import Settled
from records_service.bulk.waves import Judged, judge, next_wave
from records_service.bulk.work import Work, attempts
from records_service.context import Context
from records_service.writes import batches
from records_service.writes import store as writes
from records_service.writes.marking import mark
from records_service.writes.model import QuotaExceeded, StripeExhausted
from records_service.writes.quota import any_stripe, make_room
from records_service.writes.statistics import analyze_grown
from shared.database import REQUEST_TRANSACTION, Conn
from shared.errors import ServiceUnavailable, UpstreamTimeout


async def write_rows(
    context: Context, rows: Sequence[Row], options: Options, conn: Conn | None = None
) -> list[Result]:
    """Create and update records; one result for each row, in the order of the rows.

    What is wrong with a row is in its result. Without `conn`, what was written before an error that
    is about no row stays. With `conn`, the caller's transaction, all of `work.STALE` may be raised:
    the caller rolls back and begins again.

    Raises `ValidationError` for an attribute that rows cannot match by, `ServiceUnavailable` if
    the records are changed by others again and again.
    """
    writer = Writer(context, options)
    results: list[Result] = []
    while len(results) < len(rows):
        results += await writer.write_some(rows, len(results), conn)
    return results


async def _no_rows() -> Sequence[Row]:
    return ()


class Writer:
    """Writes the rows of one call, wave by wave. While a wave is stored, the next one is judged.

    That one is judged by what is in the database before the other wave is stored. So it must not be
    judged by anything that the other one changes: it is judged later if it is. What others change
    meanwhile is noticed when it is stored, as ever.

    A row that creates a record is not compared with what others hold either, its id that was used
    before and its unique values, as long as no wave had to be judged again: the statement that
    stores it tells. A catalogue that is created has none of that.
    """

    def __init__(
        self,
        context: Context,
        options: Options,
        rows_behind: Callable[[], Awaitable[Sequence[Row]]] = _no_rows,
    ) -> None:
        """`rows_behind` are those that follow the rows of which a wave is written."""
        self._context = context
        self._options = options
        self._rows_behind = rows_behind
        self._ahead: tuple[Row, Judged] | None = None
        """The first row of the next wave, and what became of it."""
        self._hopes = True
        self._unknown = 0
        """How many records were created since PostgreSQL was asked to look at them."""

    async def write_some(
        self, rows: Sequence[Row], start: int, conn: Conn | None = None
    ) -> list[Result]:
        """Write the rows from `start` on that can be judged together, at least one; their results.

        Without `conn`, they are one transaction. Raises what `write_rows` raises.
        """
        wave = next_wave(rows, start, self._options)
        places: int | None = None
        attempted = False

        async def attempt(work: Work) -> list[Result]:
            nonlocal attempted
            # In a caller's transaction, all of it would be done again.
            is_own = work.conn is None and REQUEST_TRANSACTION.get() is None
            self._hopes = self._hopes and is_own and not attempted
            attempted = True
            judged = self._judged_ahead(wave[0])
            if judged is None:
                judged = await judge(work, wave, self._options, places=places, hopes=self._hopes)
            results = judged.settled.results
            if is_own:
                sent = asyncio.Event()
                ahead = self._judge_ahead(rows, start + len(results), judged, sent)
                async with _alongside(ahead, self._make_known(), sent=sent):
                    await _store(work, judged, sent)
                self._unknown += len(judged.settled.creates)
                if self._ahead is None:
                    # Perhaps the last wave; and where waves wait for each other, it may wait too.
                    await self._make_known()
            else:
                # In one transaction, one connection does everything.
                await _store(work, judged, asyncio.Event())
            return results

        while True:
            try:
                return await attempts(self._context, conn, attempt)
            except QuotaExceeded as error:
                # Judged again: the rows for which there is no place fail.
                places = error.places

    async def _make_known(self) -> None:
        created, self._unknown = self._unknown, 0
        if created:
            # The rows are stored, whatever becomes of this.
            with suppress(ServiceUnavailable, UpstreamTimeout):
                context = self._context
                await analyze_grown(context.database, context.workspace_id, created)

    def _judged_ahead(self, first: Row) -> Judged | None:
        """The wave that begins with this row, if it is judged; it is tried once."""
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead is not None and ahead[0] is first else None

    async def _judge_ahead(
        self, rows: Sequence[Row], start: int, stored: Judged, sent: asyncio.Event
    ) -> None:
        """Judge the wave from `start` on, as far as that does not depend on the one before.

        It begins when that one is `sent`: to write it down needs the interpreter as judging does,
        and PostgreSQL would wait for both.
        """
        await sent.wait()
        # What fails now is done again, and its error told, when it is the wave's turn.
        with suppress(Exception):
            if start == len(rows):
                rows, start = await self._rows_behind(), 0
            wave = next_wave(rows, start, self._options)
            if wave:
                work = Work(self._context, None, lock=False)
                judged = await judge(
                    work,
                    wave,
                    self._options,
                    being_stored=stored.changed,
                    hopes=self._hopes,
                )
                self._ahead = wave[0], judged


@asynccontextmanager
async def _alongside(*works: Coroutine[Any, Any, None], sent: asyncio.Event) -> AsyncIterator[None]:
    """Do these beside the body, and wait for all: the rows that are taken would be lost.

    Whoever waits for what the body sends goes on when it ends without that, unless it has failed.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) or not sent.is_set():
            for task in tasks:
                task.cancel()
        raise
    finally:
        sent.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sending(statement: Coroutine[Any, Any, None], sent: asyncio.Event) -> None:
    """Execute a statement; `sent` is set when it is on its way."""
    executing = asyncio.ensure_future(statement)
    # Its first step writes down the arguments and sends them: PostgreSQL answers later.
    await asyncio.sleep(0)
    sent.set()
    await executing


async def _store(work: Work, judged: Judged, sent: asyncio.Event) -> None:
    """Changed records first: a new one may take a unique value that one of them gives up.

    `sent` is set when the last statement is on its way. Raises `StaleModel`, `StaleRecord`, or
    `QuotaExceeded` with nothing written.
    """
    settled, model_version = judged.settled, judged.model_version
    creates, updates = settled.creates, settled.updates
    if not creates and not updates:
        return
    context = work.context
    await mark(context.database, context.workspace_id, settled.unmarked, work.conn)
    if not creates:
        async with work.writing() as conn:
            await _sending(batches.update_many(conn, updates, model_version=model_version), sent)
        return
    if not updates and work.conn is None:
        with suppress(StripeExhausted):
            async with work.writing() as conn:
                await _sending(_insert(conn, work, settled, any_stripe(), model_version), sent)
            return
    async with work.writing() as conn:
        stripe, limit = any_stripe(), work.context.identity.record_limit
        await make_room(conn, work.context.workspace_id, limit, stripe, len(creates))
        if updates:
            await batches.update_many(conn, updates, model_version=model_version)
        await _sending(_insert(conn, work, settled, stripe, model_version), sent)


async def _insert(
    conn: Conn, work: Work, settled: Settled, stripe: int, model_version: int
) -> None:
    await writes.insert(
        conn,
        settled.creates,
        model_version=model_version,
        record_limit=work.context.identity.record_limit,
        stripe=stripe,
    )
