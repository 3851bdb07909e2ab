"""Changes of attributes and schemas that concern stored records, over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.attributes.answers import AttributeAnswer
from records_service.attributes.handlers import with_since
from records_service.attributes.model import AttributeDraft
from records_service.context import base_context_of, context_of
from records_service.model_changes import attributes, cancelling, schemas
from records_service.model_objects.answers import answer
from records_service.progress.answers import PATH, link_to, shown
from records_service.progress.model import JobAnswer
from records_service.schemas.model import SchemaAnswer, SchemaDraft
from records_service.whole_answer import whole_answer
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import Routes, no_content, read_body
from shared.identity import Flag, Permission
from shared.ids import check_same_id

attribute_routes = Routes(
    tag="Attributes",
    examples={"id": "attr-price"},
    parameters={"id": "Id of the attribute."},
)
schema_routes = Routes(
    tag="Schemas",
    examples={"id": "schema-apparel"},
    parameters={"id": "Id of the schema."},
)
job_routes = Routes(
    tag="Jobs",
    examples={"id": "job-unique-sku"},
    parameters={"id": "Id of the job."},
)


@attribute_routes.put(
    "/api/v1/attributes/{id}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=AttributeDraft,
    answers=AttributeAnswer,
    summary="Replace an attribute",
    errors=(NotFound, Conflict, PreconditionFailed, LimitExceeded),
)
async def replace_attribute(request: web.Request) -> web.StreamResponse:
    """Replaces the whole attribute. Type and dimensions cannot change once records have values.

    An attribute that becomes unique is so for all values written from then on. If there are many
    stored values, a job compares them: until it has, `uniqueSince` is null, and where it finds two
    records with the same value, the job fails and the attribute is not unique any more. The `Link`
    header with `rel="status"` leads to the job.
    """
    draft = await read_body(request, AttributeDraft)
    check_same_id(request.match_info["id"], draft.id)
    attribute, job_id = await attributes.replace(
        await context_of(request), request.match_info["id"], draft
    )
    return _with_job(answer(await with_since(request, attribute), AttributeAnswer), job_id)


@attribute_routes.delete(
    "/api/v1/attributes/{id}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    summary="Delete an attribute",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def delete_attribute(request: web.Request) -> web.StreamResponse:
    """Deletes the attribute, and values that records still hold of it.

    Refused while a schema or another attribute's guard refers to it. A caller with a role needs
    `write` on it in every schema whose records hold a value of it. If there are many values, a job
    removes them: the `Link` header with `rel="status"` leads to it.
    """
    job_id = await attributes.delete(await context_of(request), request.match_info["id"])
    return _with_job(no_content(), job_id)


@schema_routes.put(
    "/api/v1/schemas/{id}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=SchemaDraft,
    answers=SchemaAnswer,
    summary="Replace a schema",
    errors=(NotFound, Conflict, PreconditionFailed, LimitExceeded),
)
async def replace_schema(request: web.Request) -> web.StreamResponse:
    """Replaces the whole schema. A workflow or groups that are left out are kept.

    Values of attributes that leave the schema stay stored and are no longer shown. Records are in
    the states of a new workflow at once; if there are many, a job stores that: the `Link` header
    with `rel="status"` leads to it.
    """
    draft = await read_body(request, SchemaDraft)
    check_same_id(request.match_info["id"], draft.id)
    schema, job_id = await schemas.replace(
        await context_of(request), request.match_info["id"], draft
    )
    return _with_job(answer(schema, SchemaAnswer), job_id)


@schema_routes.delete(
    "/api/v1/schemas/{id}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    summary="Delete a schema",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def delete_schema(request: web.Request) -> web.StreamResponse:
    """Deletes the schema. Refused while a record uses it or a relation attribute targets it."""
    await schemas.delete(base_context_of(request), request.match_info["id"])
    return no_content()


@job_routes.post(
    f"{PATH}/{{id}}/cancel",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    answers=JobAnswer,
    status=202,
    streams=True,
    summary="Cancel a job",
    errors=(NotFound, Conflict),
)
async def cancel_job(request: web.Request) -> web.StreamResponse:
    """Takes back the change that a job is about.

    An attribute that is becoming unique is not, one that is being converted keeps its type. Refused
    once the job has ended, and for the jobs that cannot be taken back: `move-states` and
    `remove-values`.
    """
    context = base_context_of(request)
    job = await cancelling.cancel(context, request.match_info["id"])
    return await whole_answer(request, shown(job, context.identity), status=202)


def _with_job(response: web.Response, job_id: str | None) -> web.Response:
    """The answer, with the link to the job that finishes the change."""
    response.headers.update(link_to(job_id))
    return response
