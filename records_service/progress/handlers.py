"""Jobs over HTTP; what cancels one is with its feature."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from records_service.context import BaseContext, base_context_of
from records_service.lists import LISTS
from records_service.progress import commands, store
from records_service.progress.answers import PATH, shown
from records_service.progress.model import JobAnswer, JobFilter, JobKind, JobPage
from shared.database.paging import page_response, place_of
from shared.errors import NotFound
from shared.http import Routes, json_response, read_query
from shared.identity import Flag, Permission

routes = Routes(
    tag="Jobs",
    about="What goes on in the background after a change of the data model.",
    examples={"id": "job-unique-sku"},
    parameters={"id": "Id of the job."},
)


@routes.get(
    PATH,
    permission=Permission.READ,
    flag=Flag.MANAGE_SCHEMAS,
    query=JobFilter,
    answers=JobPage,
    summary="List jobs",
)
async def list_jobs(request: web.Request) -> web.StreamResponse:
    """One page of jobs, newest first. Those that have ended are kept for 30 days.

    A user whose role is limited sees their own.
    """
    context = base_context_of(request)
    asked = read_query(request, JobFilter)
    place = place_of(context.workspace_id, request.path, asked, store.NEWEST_FIRST)
    subject_id = await _subject(context, asked)
    found, part, total = await context.app[LISTS].read(
        context.database,
        context.workspace_id,
        partial(
            store.page,
            workspace_id=context.workspace_id,
            created_by=None if context.identity.unrestricted else context.identity.id,
            kinds=_kinds(asked),
            subject_id=subject_id,
            status=asked.status,
            place=place,
        ),
    )
    last = (found[-1].created_at, found[-1].id) if found else ()
    items = [shown(job, context.identity) for job in found]
    return page_response(place, items, part, total, last=last)


@routes.get(
    f"{PATH}/{{id}}",
    permission=Permission.READ,
    flag=Flag.MANAGE_SCHEMAS,
    answers=JobAnswer,
    summary="Get a job",
    errors=(NotFound,),
)
async def get_job(request: web.Request) -> web.StreamResponse:
    """One job, and how far it is."""
    context = base_context_of(request)
    async with context.database.acquire() as conn:
        job = await commands.get(context, conn, request.match_info["id"])
    return json_response(shown(job, context.identity))


async def _subject(context: BaseContext, asked: JobFilter) -> str | None:
    """The id of the attribute or schema that the filter names; None for all jobs."""
    table: store.SubjectTable = "attributes" if asked.attribute_id else "schemas"
    name = asked.attribute_id or asked.schema_id
    if not name:
        return None
    async with context.database.acquire() as conn:
        return await store.subject_named(conn, context.workspace_id, table, name)


def _kinds(asked: JobFilter) -> list[JobKind] | None:
    """The kinds that a filter leaves; None for all."""
    if (asked.attribute_id, asked.schema_id, asked.kind) == (None, None, None):
        return None
    return [
        kind
        for kind in JobKind
        if asked.kind in (None, kind)
        and (not asked.attribute_id or kind.is_about_an_attribute)
        and (not asked.schema_id or kind.is_about_a_schema)
    ]
