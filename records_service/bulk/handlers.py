"""Bulk calls over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from records_service.bulk import calls, commands, deleting, rows, transitioning
from records_service.bulk.answers import NDJSON, Answer
from records_service.bulk.model import (
    BYTES_MAX,
    DEADLINE_S,
    IDS_BYTES_MAX,
    ROWS_MAX,
    BulkDelete,
    BulkMode,
    BulkOperations,
    BulkQuery,
    BulkReportAnswer,
    BulkTransition,
    ModeQuery,
    Named,
    Options,
    Result,
    Row,
)
from records_service.bulk.work import WAVE_ROWS
from records_service.context import Context, context_of
from shared.database import Conn
from shared.errors import (
    Conflict,
    LimitExceeded,
    NotFound,
    PayloadTooLarge,
    TransitionError,
    UnsupportedMediaType,
)
from shared.http import Routes, read_body, read_query
from shared.http.requests import read_bytes
from shared.identity import Permission

routes = Routes(tag="Records", examples={}, parameters={})


@routes.post(
    "/api/v1/records/bulk",
    permission=Permission.UPDATE_DATA,
    role="`write` on each attribute of a row, and on one at least for a new record",
    query=BulkQuery,
    body=BulkOperations,
    also_takes=(NDJSON,),
    body_bytes_max=BYTES_MAX,
    deadline_s=DEADLINE_S,
    streams=True,
    answers=BulkReportAnswer,
    also_answers=(NDJSON,),
    summary="Create and update many records",
    errors=(NotFound, Conflict, LimitExceeded, PayloadTooLarge, UnsupportedMediaType),
)
async def bulk_write_records(request: web.Request) -> web.StreamResponse:
    """Creates and updates records, as single writes do: the same checks, history and events.

    The body is JSON, or NDJSON (`application/x-ndjson`) with one row a line; at most 50,000 rows
    and 64 MiB. Rows are judged in their order. With `Accept: application/x-ndjson`, the answer is
    one result a line, and the counts in the last line under `summary`.

    In mode `partial`, rows are written in groups, and what was written stays if the call breaks
    off. Send it again then: rows that were written are `unchanged`, provided that each names its
    record by its id or by a unique attribute. In mode `atomic`, a row that fails makes the whole
    call fail, and its message names the row.
    """
    asked = read_query(request, BulkQuery)
    context = await context_of(request)
    options = Options(asked.match, asked.on_match, asked.on_missing)
    async with calls.one_of_few(context):
        body = await read_bytes(request, NDJSON)
        find = rows.lines if request.content_type == NDJSON else rows.operations
        job = _Write(context, options, body, find)
        return await _answered(request, context, job, asked.mode)


@routes.post(
    "/api/v1/records/bulk-delete",
    permission=Permission.DELETE_DATA,
    role="one that can write an attribute of each schema and sees all of them",
    query=ModeQuery,
    body=BulkDelete,
    body_bytes_max=IDS_BYTES_MAX,
    deadline_s=DEADLINE_S,
    streams=True,
    answers=BulkReportAnswer,
    also_answers=(NDJSON,),
    summary="Delete many records",
)
async def bulk_delete_records(request: web.Request) -> web.StreamResponse:
    """Deletes records, as single deletes do: the same checks, history and events.

    At most 50,000 ids. An id that is named twice, or that no record has, is skipped.
    """
    asked = read_query(request, ModeQuery)
    context = await context_of(request)
    async with calls.one_of_few(context):
        body = await read_body(request, BulkDelete)
        job = _ForEach(body.ids, partial(deleting.delete_some, context))
        return await _answered(request, context, job, asked.mode)


@routes.post(
    "/api/v1/records/bulk-transition",
    permission=Permission.UPDATE_DATA,
    role="one that each transition allows",
    query=ModeQuery,
    body=BulkTransition,
    body_bytes_max=IDS_BYTES_MAX,
    deadline_s=DEADLINE_S,
    streams=True,
    answers=BulkReportAnswer,
    also_answers=(NDJSON,),
    summary="Move many records to another lifecycle state",
    errors=(NotFound, TransitionError),
)
async def bulk_transition_records(request: web.Request) -> web.StreamResponse:
    """Moves records to another lifecycle state, as single transitions do: with the same gates.

    At most 50,000 ids.
    """
    asked = read_query(request, ModeQuery)
    context = await context_of(request)
    async with calls.one_of_few(context):
        body = await read_body(request, BulkTransition)
        move = transitioning.Move(body.to_state_id, body.comment)

        async def move_some(items: Sequence[Named], start: int, conn: Conn | None) -> list[Result]:
            return await transitioning.move_some(context, items, start, move, conn)

        return await _answered(request, context, _ForEach(body.ids, move_some), asked.mode)


@dataclass(frozen=True, slots=True)
class _ForEach:
    """Records by their ids."""

    ids: Sequence[str]
    some: Callable[[Sequence[Named], int, Conn | None], Awaitable[list[Result]]]

    def __post_init__(self) -> None:
        if len(self.ids) > ROWS_MAX:
            raise PayloadTooLarge(f"Request body exceeds {ROWS_MAX} rows")

    async def batches(self) -> AsyncIterator[Sequence[Named]]:
        for start in range(0, len(self.ids), WAVE_ROWS):
            ids = self.ids[start : start + WAVE_ROWS]
            yield [Named(start + n, record_id) for n, record_id in enumerate(ids)]

    async def write_some(
        self, items: Sequence[Named], start: int, conn: Conn | None
    ) -> list[Result]:
        return await self.some(items, start, conn)


class _Write:
    """The rows of a body, parsed some at a time: those behind the ones that are written."""

    def __init__(self, context: Context, options: Options, body: bytes, find: rows.Find) -> None:
        self._context = context
        self._body = body
        self._find = find
        self._found: Iterator[tuple[int, bytes]] = iter(())
        self._behind: Sequence[Row] | None = None
        self._writer = commands.Writer(context, options, self._rows_behind)

    async def batches(self) -> AsyncIterator[Sequence[Row]]:
        self._found = enumerate(await self._context.run(True, self._find, self._body))
        self._behind = None
        while batch := await self._rows_behind():
            self._behind = None
            yield batch

    async def _rows_behind(self) -> Sequence[Row]:
        """The rows that come next."""
        if self._behind is None:
            self._behind = await self._context.run(True, rows.parsed, self._found, WAVE_ROWS)
        return self._behind

    async def write_some(self, items: Sequence[Row], start: int, conn: Conn | None) -> list[Result]:
        return await self._writer.write_some(items, start, conn)


async def _answered(
    request: web.Request, context: Context, job: calls.Job[calls.ItemT], mode: BulkMode
) -> web.StreamResponse:
    answer = Answer(request, context)
    if mode is BulkMode.ATOMIC:
        await answer.add(await calls.at_once(context, job))
    else:
        async for results in calls.in_parts(context, job):
            await answer.add(results)
    return await answer.end()
