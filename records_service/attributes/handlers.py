"""Attributes over HTTP."""

from __future__ import annotations

from functools import partial

from aiohttp import web
from pydantic import Field

from records_service.attributes import commands, store
from records_service.attributes.answers import AttributeAnswer, rendered, shown
from records_service.attributes.model import ATTRIBUTE, AttributeDraft
from records_service.context import context_of
from records_service.model_objects import store as model_objects
from records_service.model_objects.answers import answer, created
from records_service.model_objects.model import ModelObject
from shared.database import DATABASE
from shared.database.listing import NamedListQuery, Narrowing, list_response
from shared.errors import Conflict, LimitExceeded, NotFound
from shared.http import Routes, identity_of, read_body, read_query
from shared.identity import Flag, Permission

routes = Routes(
    tag="Attributes",
    about="The properties of records: their types, validation rules and dimensions.",
    examples={"id": "attr-price"},
    parameters={"id": "Id of the attribute."},
)


class AttributeListQuery(NamedListQuery):
    """Which attributes a list shows."""

    schema_id: str | None = Field(default=None, alias="schemaId")
    """Only attributes of this schema (id or alias)."""

    def narrowing(self) -> Narrowing:
        """As in the base class."""
        found = super().narrowing()
        if self.schema_id is None:
            return found
        return store.of_schema(found, self.schema_id)


@routes.get(
    "/api/v1/attributes",
    permission=Permission.READ,
    query=AttributeListQuery,
    answers=list[AttributeAnswer],
    summary="List attributes",
)
async def list_attributes(request: web.Request) -> web.StreamResponse:
    """All attributes of the workspace, oldest first."""
    asked = read_query(request, AttributeListQuery)
    read = partial(store.page, narrowing=asked.narrowing())
    return await list_response(request, read, rendered, asked)


@routes.post(
    "/api/v1/attributes",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=AttributeDraft,
    answers=AttributeAnswer,
    status=201,
    summary="Create an attribute",
    errors=(Conflict, LimitExceeded),
)
async def create_attribute(request: web.Request) -> web.StreamResponse:
    """Creates an attribute. Add it to a group of a schema to use it."""
    draft = await read_body(request, AttributeDraft)
    attribute = await commands.create(await context_of(request), draft)
    return created(ATTRIBUTE, await with_since(request, attribute), AttributeAnswer)


@routes.get(
    "/api/v1/attributes/{id}",
    permission=Permission.READ,
    answers=AttributeAnswer,
    summary="Get an attribute",
    errors=(NotFound,),
)
async def get_attribute(request: web.Request) -> web.StreamResponse:
    """The definition of one attribute. Its version is in the `ETag` header."""
    workspace_id, attribute_id = identity_of(request).workspace_id, request.match_info["id"]
    async with request.app[DATABASE].acquire() as conn:
        attribute = await model_objects.get(conn, ATTRIBUTE, workspace_id, attribute_id)
        since = await store.since(conn, workspace_id, [attribute_id])
    return answer(shown(attribute, since), AttributeAnswer)


async def with_since(request: web.Request, attribute: ModelObject) -> ModelObject:
    """The attribute as it is answered to the change that made it so."""
    async with request.app[DATABASE].acquire() as conn:
        since = await store.since(conn, identity_of(request).workspace_id, [attribute.id])
    return shown(attribute, since)
