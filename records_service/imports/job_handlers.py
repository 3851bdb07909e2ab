"""Import jobs over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import pydantic
from aiohttp import BodyPartReader, hdrs, web

from records_service.context import Context, context_of
from records_service.imports import job_commands, refused, store
from records_service.imports.answers import whole_answer
from records_service.imports.job_model import (
    ImportAnswer,
    ImportForm,
    ImportPage,
    ImportQuery,
    RowErrorPage,
)
from records_service.imports.receiving import Received, receive
from records_service.imports.store import ImportJob
from records_service.lists import LISTS
from records_service.paging import PageQuery, page_response, place_of
from shared.errors import (
    Conflict,
    NotFound,
    PayloadTooLarge,
    UnsupportedMediaType,
    ValidationError,
    truncated,
)
from shared.http import Routes, json_response, read_query
from shared.http.messages import refusal, shown
from shared.http.responses import names_media_type
from shared.identity import Flag, Permission
from shared.ids import new_id

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
FILE_BYTES_MAX: Final = 2 << 30
BODY_BYTES_MAX: Final = FILE_BYTES_MAX + (1 << 20)
FIELDS_MAX: Final = 20
FIELD_BYTES_MAX: Final = 128 << 10
PIECE_BYTES: Final = 256 << 10
DEADLINE_S: Final = 600.0
IMPORT_BYTES_MAX: Final = web.AppKey("import_bytes_max", int)

routes = Routes(
    tag="Import and export", examples={"id": "imp-spring"}, parameters={"id": "Id of the import."}
)


@routes.post(
    "/api/v1/imports",
    permission=Permission.UPDATE_DATA,
    flag=Flag.IMPORT,
    query=ImportQuery,
    body=ImportForm,
    body_type="multipart/form-data",
    also_takes=(NDJSON,),
    body_bytes_max=BODY_BYTES_MAX,
    deadline_s=DEADLINE_S,
    streams=True,
    answers=ImportAnswer,
    status=202,
    summary="Import a file",
    errors=(NotFound, Conflict),
)
async def begin_import(request: web.Request) -> web.StreamResponse:
    """Receives a file, and imports its rows in the background.

    The body is a form (`multipart/form-data`) with the file as `file`: CSV, TSV, XLSX, a JSON array
    or NDJSON; or NDJSON itself (`application/x-ndjson`). The rights are those of the caller.
    """
    asked = read_query(request, ImportQuery)
    context = await context_of(request)
    import_id = asked.id or new_id("imp")
    async with context.database.acquire() as conn:
        await store.insert(conn, context.workspace_id, import_id, context.identity.id)
    try:
        name, query, received = await _received(request, context, import_id)
        job = await job_commands.begin(context, import_id, name, query, received)
    except Exception:
        await job_commands.discard(context, import_id)
        raise
    location = {hdrs.LOCATION: f"/api/v1/imports/{job.id}"}
    return await whole_answer(request, _shown(job), status=202, headers=location)


@routes.get(
    "/api/v1/imports",
    permission=Permission.READ,
    flag=Flag.IMPORT,
    query=PageQuery,
    answers=ImportPage,
    summary="List import jobs",
)
async def list_imports(request: web.Request) -> web.StreamResponse:
    """One page of import jobs, newest first. A user whose role is limited sees their own."""
    context = await context_of(request)
    asked = read_query(request, PageQuery)
    place = place_of(context.workspace_id, request.path, asked, store.NEWEST_FIRST)
    found, part, total = await context.app[LISTS].read(
        context.database,
        context.workspace_id,
        partial(
            store.page,
            workspace_id=context.workspace_id,
            created_by=None if context.identity.unrestricted else context.identity.id,
            place=place,
        ),
    )
    last = (found[-1].created_at, found[-1].id) if found else ()
    return page_response(place, [_shown(job) for job in found], part, total, last=last)


@routes.get(
    "/api/v1/imports/{id}",
    permission=Permission.READ,
    flag=Flag.IMPORT,
    answers=ImportAnswer,
    summary="Get an import job",
    errors=(NotFound,),
)
async def get_import(request: web.Request) -> web.StreamResponse:
    """One job, and how far it is."""
    context = await context_of(request)
    return json_response(_shown(await job_commands.get(context, request.match_info["id"])))


@routes.get(
    "/api/v1/imports/{id}/errors",
    permission=Permission.READ,
    flag=Flag.IMPORT,
    query=PageQuery,
    answers=RowErrorPage,
    also_answers=(CSV,),
    streams=True,
    summary="List what is wrong with rows",
    errors=(NotFound,),
)
async def list_import_errors(request: web.Request) -> web.StreamResponse:
    """What is wrong with the rows that failed, in their order.

    With `Accept: text/csv`: these rows as they were sent, with two more columns, `_line` and
    `_error`. Mended, the file can be sent again as it is.
    """
    context = await context_of(request)
    asked = read_query(request, PageQuery)
    job = await job_commands.get(context, request.match_info["id"])
    if names_media_type(request.headers.get(hdrs.ACCEPT), CSV):
        return await _refused_rows(request, context, job)
    place = place_of(context.workspace_id, request.path, asked, store.BY_ROW)
    part, total = await context.app[LISTS].read(
        context.database,
        context.workspace_id,
        partial(
            store.page_of_errors,
            workspace_id=context.workspace_id,
            import_id=job.id,
            place=place,
        ),
    )
    items = [
        {
            "row": row["row_number"],
            "line": row["line"],
            "column": row["column_name"],
            "pointer": row["pointer"],
            "error": row["error"],
            "message": row["message"],
        }
        for row in part.rows
    ]
    last = (part.rows[-1]["row_number"], part.rows[-1]["number"]) if part.rows else ()
    return page_response(place, items, part, total, last=last)


@routes.post(
    "/api/v1/imports/{id}/cancel",
    permission=Permission.UPDATE_DATA,
    flag=Flag.IMPORT,
    answers=ImportAnswer,
    status=202,
    streams=True,
    summary="Cancel an import",
    errors=(NotFound, Conflict),
)
async def cancel_import(request: web.Request) -> web.StreamResponse:
    """Ends a job before its next row. What is imported stays."""
    context = await context_of(request)
    job = await job_commands.cancel(context, request.match_info["id"])
    return await whole_answer(request, _shown(job), status=202)


@routes.post(
    "/api/v1/imports/{id}/resume",
    permission=Permission.UPDATE_DATA,
    flag=Flag.IMPORT,
    answers=ImportAnswer,
    status=202,
    streams=True,
    summary="Resume an import",
    errors=(NotFound, Conflict),
)
async def resume_import(request: web.Request) -> web.StreamResponse:
    """Lets a job that failed or was cancelled go on behind its last stored row.

    From then on it has the rights of the caller.
    """
    context = await context_of(request)
    job = await job_commands.resume(context, request.match_info["id"])
    return await whole_answer(request, _shown(job), status=202)


async def _received(
    request: web.Request, context: Context, import_id: str
) -> tuple[str | None, ImportQuery, Received]:
    """The name of the file, how it is to be read, and what was received."""
    if request.headers.get(hdrs.CONTENT_ENCODING):
        raise UnsupportedMediaType("A file is sent without Content-Encoding")
    sent = {name: value for name, value in request.query.items() if name in _FIELDS}
    if request.content_type in (NDJSON, "application/jsonl"):
        query = _query(sent)
        received = await receive(
            context.database,
            context.workspace_id,
            import_id,
            request.content.iter_any(),
            bytes_max=request.app[IMPORT_BYTES_MAX],
        )
        return "body.ndjson", query, received
    if request.content_type != "multipart/form-data":
        got = request.headers.get(hdrs.CONTENT_TYPE)
        raise UnsupportedMediaType(
            f"Expected Content-Type 'multipart/form-data' or '{truncated(NDJSON)}', got"
            f" {shown(got) if got else 'none'}"
        )
    try:
        return await _form(request, context, import_id, sent)
    except (ValueError, AssertionError):
        raise ValidationError.at("", "Malformed form: it is no multipart/form-data") from None


async def _form(
    request: web.Request, context: Context, import_id: str, sent: dict[str, Any]
) -> tuple[str | None, ImportQuery, Received]:
    name: str | None = None
    found: Received | None = None
    form = await request.multipart()
    fields = 0
    while (part := await form.next()) is not None:
        fields += 1
        if not isinstance(part, BodyPartReader) or fields > FIELDS_MAX:
            raise ValidationError(f"A form has at most {FIELDS_MAX} simple fields")
        if part.name == "file":
            if found is not None:
                raise ValidationError.at("/file", "Field 'file' may be given only once")
            name = part.filename
            found = await receive(
                context.database,
                context.workspace_id,
                import_id,
                _pieces(part),
                bytes_max=request.app[IMPORT_BYTES_MAX],
            )
        elif part.name in _FIELDS:
            sent[part.name] = await _text(part)
        else:
            raise ValidationError.at("", f"Unknown field '{truncated(part.name)}' in the form")
    if found is None:
        raise ValidationError.at("/file", "Field 'file' is required")
    return name, _query(sent), found


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(PIECE_BYTES):
        yield bytes(piece)


async def _text(part: BodyPartReader) -> str:
    data = bytearray()
    while piece := await part.read_chunk():
        data += piece
        if len(data) > FIELD_BYTES_MAX:
            raise PayloadTooLarge(f"A field of the form exceeds {FIELD_BYTES_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValidationError.at(
            f"/{part.name}", f"Field '{truncated(part.name)}' is not UTF-8"
        ) from None


def _query(sent: dict[str, Any]) -> ImportQuery:
    try:
        return ImportQuery.model_validate(sent)
    except pydantic.ValidationError as error:
        raise refusal(error, sent) from None


_FIELDS: Final = frozenset(info.alias or name for name, info in ImportQuery.model_fields.items())


async def _refused_rows(
    request: web.Request, context: Context, job: ImportJob
) -> web.StreamResponse:
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: f"{CSV}; charset=utf-8"})
    response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{job.id}-errors.csv"'
    pieces = refused.lines(context, job)
    first = await anext(pieces)
    await response.prepare(request)
    await response.write(first)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


def _shown(job: ImportJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status,
        "format": job.format,
        "fileName": job.file_name,
        "fileSize": job.file_size,
        "schemaId": job.settings.get("schemaId"),
        "total": job.total,
        "processed": job.processed,
        "created": job.created,
        "updated": job.updated,
        "unchanged": job.unchanged,
        "skipped": job.skipped,
        "failed": job.failed,
        "warnings": job.warnings,
        "error": job.error,
        "createdAt": job.created_at,
        "startedAt": job.started_at,
        "completedAt": job.completed_at,
        "createdBy": job.created_by,
    }
