"""Changes of attributes and schemas that concern stored records, over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.attributes.answers import AttributeAnswer
from records_service.attributes.handlers import with_since
from records_service.attributes.model import AttributeDraft
from records_service.context import base_context_of, context_of
from records_service.model_changes import attributes, schemas
from records_service.model_objects.answers import answer
from records_service.schemas.model import SchemaAnswer, SchemaDraft
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
    """Replaces the whole attribute. Type and dimensions cannot change once records have values."""
    draft = await read_body(request, AttributeDraft)
    check_same_id(request.match_info["id"], draft.id)
    attribute = await attributes.replace(await context_of(request), request.match_info["id"], draft)
    return answer(await with_since(request, attribute), AttributeAnswer)


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
    `write` on it in every schema whose records hold a value of it.
    """
    await attributes.delete(await context_of(request), request.match_info["id"])
    return no_content()


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

    Values of attributes that leave the schema stay stored and are no longer shown.
    """
    draft = await read_body(request, SchemaDraft)
    check_same_id(request.match_info["id"], draft.id)
    schema = await schemas.replace(await context_of(request), request.match_info["id"], draft)
    return answer(schema, SchemaAnswer)


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
