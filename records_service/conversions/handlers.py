"""Conversions of attributes over HTTP."""

from __future__ import annotations

from aiohttp import hdrs, web

from records_service.context import context_of
from records_service.conversions import commands
from records_service.conversions.model import ConversionDraft
from records_service.progress.answers import PATH, shown
from records_service.progress.model import JobAnswer
from records_service.whole_answer import whole_answer
from shared.errors import Conflict, NotFound, PreconditionFailed
from shared.http import Routes, read_body
from shared.identity import Flag, Permission
from shared.messaging import outbox

routes = Routes(
    tag="Attributes",
    examples={"id": "attr-certificate"},
    parameters={"id": "Id of the attribute."},
)


@routes.post(
    "/api/v1/attributes/{id}/convert",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=ConversionDraft,
    answers=JobAnswer,
    status=202,
    streams=True,
    summary="Convert an attribute",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def convert_attribute(request: web.Request) -> web.StreamResponse:
    """Converts the stored values of an attribute to another type, in the background.

    All values have the old type until the job has `succeeded`, and all have the new one after it.
    A caller with a role needs `write` on the attribute in every schema whose records hold a value.
    """
    draft = await read_body(request, ConversionDraft)
    context = await context_of(request)
    job = await commands.begin(context, request.match_info["id"], draft)
    outbox.wake(context.app)
    location = {hdrs.LOCATION: f"{PATH}/{job.id}"}
    return await whole_answer(request, shown(job, context.identity), status=202, headers=location)
