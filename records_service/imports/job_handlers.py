"""Import jobs over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

from aiohttp import hdrs, web

from records_service.chunked_response import begin_file
from records_service.context import Context, context_of
from records_service.imports import job_commands, refused, refused_store, store
from records_service.imports.forms import NDJSON, only_compared, read_form
from records_service.imports.job_model import (
    ImportAnswer,
    ImportForm,
    ImportPage,
    ImportQuery,
    ImportTrial,
    RowErrorPage,
)
from records_service.imports.receiving import receive
from records_service.imports.store import ImportJob
from records_service.imports.trying import Tried, try_out
from records_service.lists import LISTS
from records_service.whole_answer import whole_answer
from shared.database.paging import PageQuery, page_response, place_of
from shared.errors import (
    Conflict,
    NotFound,
)
from shared.http import Routes, json_response, read_query
from shared.http.responses import names_media_type
from shared.http.retries import effects_of
from shared.identity import Flag, Permission
from shared.ids import new_id

CSV: Final = "text/csv"
FILE_BYTES_MAX: Final = 2 << 30
BODY_BYTES_MAX: Final = FILE_BYTES_MAX + (1 << 20)
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
    receives=True,
    answers=ImportAnswer,
    tried=ImportTrial,
    status=202,
    summary="Import a file",
    errors=(NotFound, Conflict),
)
async def begin_import(request: web.Request) -> web.StreamResponse:
    """Receives a file, and imports its rows in the background.

    The body is a form (`multipart/form-data`) with the file as `file`: CSV, TSV, XLSX, a JSON array
    or NDJSON; or NDJSON itself (`application/x-ndjson`). The rights are those of the caller. With
    `Prefer: dry-run`, nothing is kept, and the answer says what would become of the rows.
    """
    asked = read_query(request, ImportQuery)
    context = await context_of(request)
    bytes_max = request.app[IMPORT_BYTES_MAX]
    effects = effects_of(request)
    if await effects.known():
        # The job has begun: its file is only compared.
        sent_again = await read_form(request, only_compared(bytes_max))
        return await effects.have(sent_again.digest, _begun_before)
    import_id = asked.id or new_id("imp")
    await job_commands.reserve(context, import_id)
    try:
        form = await read_form(
            request,
            partial(
                receive, context.database, context.workspace_id, import_id, bytes_max=bytes_max
            ),
        )
        plan = await job_commands.plan(context, import_id, form)

        async def begin(request: web.Request) -> web.StreamResponse:
            if effects.dry_run:
                found = await try_out(context, import_id, form, plan)
                return await whole_answer(request, _tried(found))
            job = await job_commands.begin(context, import_id, form, plan)
            headers = {hdrs.LOCATION: f"/api/v1/imports/{job.id}"}
            return await whole_answer(request, _shown(job), status=202, headers=headers)

        return await effects.have(form.digest, begin)
    finally:
        # Unless it has become the file of a job.
        await job_commands.discard(context, import_id)


async def _begun_before(_: web.Request) -> web.StreamResponse:
    raise Conflict(
        "The answer to the first request with this key is being removed",
        headers={"Retry-After": "1"},
    )


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
    place = place_of(context.workspace_id, request.path, asked, refused_store.BY_ROW)
    part, total = await context.app[LISTS].read(
        context.database,
        context.workspace_id,
        partial(
            refused_store.page_of_errors,
            workspace_id=context.workspace_id,
            import_id=job.id,
            place=place,
        ),
    )
    items = list(map(_shown_error, part.rows))
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


async def _refused_rows(
    request: web.Request, context: Context, job: ImportJob
) -> web.StreamResponse:
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: f"{CSV}; charset=utf-8"})
    response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{job.id}-errors.csv"'
    pieces = refused.lines(context, job)
    await begin_file(request, response, _first(pieces))
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def _first(pieces: AsyncIterator[bytes]) -> bytes:
    return await anext(pieces)


def _shown_error(row: Any) -> dict[str, Any]:
    return {
        "row": row["row_number"],
        "line": row["line"],
        "column": row["column_name"],
        "pointer": row["pointer"],
        "error": row["error"],
        "message": row["message"],
    }


def _tried(found: Tried) -> dict[str, Any]:
    return {
        **_shown(found.job),
        "complete": found.complete,
        "errors": list(map(_shown_error, found.errors)),
    }


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
