"""Exports over HTTP."""

from __future__ import annotations

from typing import Final

import structlog
from aiohttp import hdrs, web

from records_service.chunked_response import begin_file
from records_service.context import context_of
from records_service.exports.export import Export, understand
from records_service.exports.model import ExportedRecord, ExportQuery, Format
from records_service.exports.rows import UnexpectedScope
from records_service.exports.writers import MEDIA_TYPES
from shared.errors import NotFound, ServiceUnavailable
from shared.http import Routes, read_query
from shared.http.limits import READER_IDLE_S
from shared.http.responses import names_media_type
from shared.identity import Flag, Permission

PAUSE_S_MAX: Final = 300.0
"""How long a reader may read nothing: an export job waits for its destination for four minutes. An
export holds no connection to the database and no place meanwhile."""

log = structlog.get_logger(__name__)

routes = Routes(
    tag="Import and export",
    about="Moves records in from files, and out into files.",
)


@routes.get(
    "/api/v1/export",
    permission=Permission.READ,
    flag=Flag.EXPORT,
    query=ExportQuery,
    answers=list[ExportedRecord],
    also_answers=tuple(kind for kind in MEDIA_TYPES.values() if kind != "application/json"),
    streams=True,
    summary="Export records",
    success="The file.",
    errors=(NotFound,),
)
async def export(request: web.Request) -> web.StreamResponse:
    """All records that the filters let through, oldest first, in one file of any size.

    Attributes that are hidden from the caller are left out. Each record that existed when the
    export began and is not deleted meanwhile is in the file once. If something fails after the
    answer has begun, the connection is closed before the end of the file.
    """
    query = read_query(request, ExportQuery)
    context = await context_of(request)
    asked = await understand(context, query, query.format or _accepted(request))
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: _content_type(asked.format)})
    if asked.format is not Format.JSON:
        response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{asked.file_name}"'
    request[READER_IDLE_S] = PAUSE_S_MAX
    exported = Export(context, asked)
    if request.method == hdrs.METH_HEAD:
        await response.prepare(request)
        return response
    try:
        await begin_file(request, response, exported.begin())
        async for piece in exported.pieces():
            if piece:
                await response.write(piece)
    except UnexpectedScope:
        log.warning("export_cut_off", reason="a value was written in a scope without a column")
        raise ServiceUnavailable(
            "A value was written in a scope that has no column in this export"
        ) from None
    await response.write_eof()
    return response


def _accepted(request: web.Request) -> Format:
    """The format that `Accept` names."""
    accept = request.headers.get(hdrs.ACCEPT)
    for asked, media_type in MEDIA_TYPES.items():
        if asked is not Format.JSON and names_media_type(accept, media_type):
            return asked
    return Format.JSON


def _content_type(asked: Format) -> str:
    kind = MEDIA_TYPES[asked]
    return f"{kind}; charset=utf-8" if asked is Format.CSV else kind
