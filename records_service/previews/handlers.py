"""Previews of changes of the data model over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.attributes.model import AttributeDraft
from records_service.context import context_of
from records_service.option_lists.model import OptionListDraft
from records_service.previews import commands
from records_service.previews.model import PreviewAnswer, WorkflowRevision
from records_service.schemas.model import SchemaDraft
from shared.errors import NotFound, PreconditionFailed
from shared.http import Routes, asked_on_behalf_of, json_response, read_body
from shared.identity import Flag, Permission
from shared.ids import check_same_id

schema_routes = Routes(
    tag="Schemas",
    examples={"id": "schema-apparel"},
    parameters={"id": "Id of the schema."},
)
attribute_routes = Routes(
    tag="Attributes",
    examples={"id": "attr-price"},
    parameters={"id": "Id of the attribute."},
)
option_list_routes = Routes(
    tag="Option lists",
    examples={"id": "ol-colors"},
    parameters={"id": "Id of the option list."},
)
workflow_routes = Routes(tag="Internal")


@schema_routes.post(
    "/api/v1/schemas/{id}/preview",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=SchemaDraft,
    answers=PreviewAnswer,
    summary="Preview a change of a schema",
    errors=(NotFound, PreconditionFailed),
)
async def preview_schema(request: web.Request) -> web.StreamResponse:
    """Tells what a PUT with this body would do to records, and changes nothing.

    Values of attributes that leave the schema are not lost: they stay stored. What a PUT would
    refuse with 409 is counted here, and nothing that is hidden from the caller is. Records are
    looked at for ten seconds at most.
    """
    draft = await read_body(request, SchemaDraft)
    check_same_id(request.match_info["id"], draft.id)
    found = await commands.of_schema(await context_of(request), request.match_info["id"], draft)
    return json_response(found)


@attribute_routes.post(
    "/api/v1/attributes/{id}/preview",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=AttributeDraft,
    answers=PreviewAnswer,
    summary="Preview a change of an attribute",
    errors=(NotFound, PreconditionFailed),
)
async def preview_attribute(request: web.Request) -> web.StreamResponse:
    """Tells what a PUT with this body would do to records, and changes nothing.

    The values of variants are looked at as well, and count for their record. What a PUT would
    refuse with 409 is counted here, and nothing that is hidden from the caller is. Records are
    looked at for ten seconds at most.
    """
    draft = await read_body(request, AttributeDraft)
    check_same_id(request.match_info["id"], draft.id)
    found = await commands.of_attribute(await context_of(request), request.match_info["id"], draft)
    return json_response(found)


@option_list_routes.post(
    "/api/v1/option-lists/{id}/preview",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_OPTION_LISTS,
    body=OptionListDraft,
    answers=PreviewAnswer,
    summary="Preview a change of an option list",
    errors=(NotFound, PreconditionFailed),
)
async def preview_option_list(request: web.Request) -> web.StreamResponse:
    """Tells which records have an option that a PUT with this body would leave out.

    It changes nothing, and counts what the PUT would refuse with 409, but nothing that is hidden
    from the caller. Records are looked at for ten seconds at most.
    """
    draft = await read_body(request, OptionListDraft)
    check_same_id(request.match_info["id"], draft.id)
    found = await commands.of_option_list(
        await context_of(request), request.match_info["id"], draft
    )
    return json_response(found)


@workflow_routes.internal_post("/internal/workflows/{id}/preview", body=WorkflowRevision)
async def preview_revision(request: web.Request) -> web.StreamResponse:
    """What another version of a workflow would do to records."""
    asked_on_behalf_of(request).require_flag(Flag.MANAGE_SCHEMAS)
    asked = await read_body(request, WorkflowRevision)
    return json_response(await commands.of_workflow(await context_of(request), asked.definition))
