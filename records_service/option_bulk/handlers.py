"""Bulk writes of options over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web

from records_service.bulk import calls, rows
from records_service.bulk.answers import NDJSON, Answer
from records_service.bulk.model import BulkReportAnswer
from records_service.context import context_of
from records_service.option_bulk import commands
from records_service.option_bulk.model import ROWS_MAX, OptionBulkQuery, OptionRow, OptionRows
from shared.errors import (
    ApiError,
    Conflict,
    LimitExceeded,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
    UnsupportedMediaType,
)
from shared.http import Routes, read_query
from shared.http.requests import parse_body, read_bytes
from shared.http.versions import entity_tag
from shared.identity import Flag, Permission

routes = Routes(
    tag="Option lists",
    examples={"id": "ol-colors"},
    parameters={"id": "Id of the option list."},
)


@routes.post(
    "/api/v1/option-lists/{id}/values/bulk",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_OPTION_LISTS,
    query=OptionBulkQuery,
    body=OptionRows,
    also_takes=(NDJSON,),
    streams=True,
    answers=BulkReportAnswer,
    also_answers=(NDJSON,),
    summary="Create and change many options of a list",
    errors=(
        NotFound,
        Conflict,
        PreconditionFailed,
        LimitExceeded,
        PayloadTooLarge,
        UnsupportedMediaType,
    ),
)
async def bulk_write_options(request: web.Request) -> web.StreamResponse:
    """Creates and changes options in one transaction. A row changes the fields that it has.

    The body is JSON, or NDJSON (`application/x-ndjson`) with one row a line; at most 10,000 rows.
    Rows are judged in their order, so a parent comes before its children. The versions in the
    results are those of the list. In mode `partial`, bad rows are left out; in mode `atomic`, one
    makes the whole call fail.
    """
    asked = read_query(request, OptionBulkQuery)
    context = await context_of(request)
    async with calls.one_of_few(context):
        body = await read_bytes(request, NDJSON)
        is_lines = request.content_type == NDJSON
        parsed = await context.run(True, _parsed, body, is_lines=is_lines)
        list_id = request.match_info["id"]
        results, version = await commands.write(context, list_id, asked, parsed)
        answer = Answer(request, context, {hdrs.ETAG: entity_tag(version)})
        await answer.add(results)
        return await answer.end()


def _parsed(body: bytes, *, is_lines: bool) -> Sequence[OptionRow | ApiError]:
    found = rows.lines(body) if is_lines else rows.operations(body)
    parsed: list[OptionRow | ApiError] = []
    for raw in found:
        if len(parsed) == ROWS_MAX:
            raise PayloadTooLarge(f"Request body exceeds {ROWS_MAX} rows")
        try:
            parsed.append(parse_body(raw, OptionRow))
        except ApiError as error:
            parsed.append(error)
    return parsed
