"""Schemas over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from records_service.attributes.answers import AttributeAnswer, shown
from records_service.attributes.model import ATTRIBUTE
from records_service.attributes.store import since
from records_service.context import context_of
from records_service.model_objects import store as model_objects
from records_service.model_objects.answers import answer, created, public_object, rendered_as
from records_service.permissions.roles import role_of
from records_service.schemas import commands
from records_service.schemas.counting import required_anyway, unreadable_names
from records_service.schemas.model import (
    SCHEMA,
    Names,
    Schema,
    SchemaAnswer,
    SchemaAttributesQuery,
    SchemaDraft,
)
from shared.database import DATABASE, Conn
from shared.database.listing import NamedListQuery, Narrowing, Piece, Position, list_response
from shared.errors import Conflict, LimitExceeded, NotFound
from shared.http import Routes, identity_of, json_response, read_body, read_query
from shared.identity import Flag, Permission

routes = Routes(
    tag="Schemas",
    about="Schemas: which attributes a kind of product has, in which groups, with which workflow.",
    examples={"id": "schema-apparel"},
    parameters={"id": "Id of the schema."},
)


@routes.get(
    "/api/v1/schemas",
    permission=Permission.READ,
    query=NamedListQuery,
    answers=list[SchemaAnswer],
    summary="List schemas",
)
async def list_schemas(request: web.Request) -> web.StreamResponse:
    """All schemas of the workspace, oldest first."""
    asked = read_query(request, NamedListQuery)
    read = partial(_page, narrowing=asked.narrowing())
    return await list_response(request, read, rendered_as(SchemaAnswer), asked)


@routes.post(
    "/api/v1/schemas",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=SchemaDraft,
    answers=SchemaAnswer,
    status=201,
    summary="Create a schema",
    errors=(Conflict, LimitExceeded),
)
async def create_schema(request: web.Request) -> web.StreamResponse:
    """Creates a schema. Its groups name attributes by id or alias, each at most once."""
    draft = await read_body(request, SchemaDraft)
    schema = await commands.create(await context_of(request), draft)
    return created(SCHEMA, schema, SchemaAnswer)


@routes.get(
    "/api/v1/schemas/{id}",
    permission=Permission.READ,
    answers=SchemaAnswer,
    summary="Get a schema",
    errors=(NotFound,),
)
async def get_schema(request: web.Request) -> web.StreamResponse:
    """One schema with its groups. Its version is in the `ETag` header."""
    async with request.app[DATABASE].acquire() as conn:
        schema = await model_objects.get(
            conn, SCHEMA, identity_of(request).workspace_id, request.match_info["id"]
        )
    return answer(schema, SchemaAnswer)


@routes.get(
    "/api/v1/schemas/{id}/attributes",
    permission=Permission.READ,
    query=SchemaAttributesQuery,
    answers=list[AttributeAnswer],
    summary="List the attributes of a schema",
    errors=(NotFound,),
)
async def list_schema_attributes(request: web.Request) -> web.StreamResponse:
    """The definitions of the attributes of one schema, in the order of its groups."""
    asked = read_query(request, SchemaAttributesQuery)
    workspace_id = identity_of(request).workspace_id
    async with request.app[DATABASE].acquire() as conn:
        schema = Schema.parse(
            await model_objects.get(conn, SCHEMA, workspace_id, request.match_info["id"])
        )
        found = await model_objects.get_many(conn, ATTRIBUTE, workspace_id, schema.attribute_ids)
        known_since = await since(conn, workspace_id, schema.attribute_ids)
    return json_response(
        [
            public_object(shown(found[i], known_since), AttributeAnswer)
            for i in schema.attribute_ids
            if i in found and asked.matches(found[i])
        ]
    )


@routes.internal_post("/internal/names", body=Names)
async def find_ids(request: web.Request) -> web.StreamResponse:
    """The ids behind names of schemas and attributes, which may be ids or aliases.

    A name that means nothing here is left out. `modelVersion` is read first: what was named since
    comes as events with a higher one.

    With `toCount` the payload also has `unreadable`, those of its names that the caller may not
    make count; `required`, the ids of all attributes that count in any case, empty for an
    unrestricted caller; and `unreadableRequired`, those of them that are hidden from the caller.
    """
    workspace_id = identity_of(request).workspace_id
    asked = await read_body(request, Names)
    role = None if asked.to_count is None else await role_of(request)
    async with request.app[DATABASE].acquire() as conn:
        payload: dict[str, Any] = {
            "modelVersion": await model_objects.model_version(conn, workspace_id),
            "schemas": await model_objects.ids_of(conn, SCHEMA, workspace_id, asked.schemas),
            "attributes": await model_objects.ids_of(
                conn, ATTRIBUTE, workspace_id, asked.attributes
            ),
        }
        if asked.to_count is not None:
            payload["unreadable"] = await unreadable_names(conn, workspace_id, role, asked.to_count)
            payload["required"], payload["unreadableRequired"] = await required_anyway(
                conn, workspace_id, role, asked.workflow_id
            )
    return json_response(payload)


@routes.internal_get("/internal/schemas/{id}/names")
async def get_names(request: web.Request) -> web.StreamResponse:
    """What a schema and its attributes may be called in a role: ids, aliases, former aliases."""
    workspace_id = identity_of(request).workspace_id
    async with request.app[DATABASE].acquire() as conn:
        schema = Schema.parse(
            await model_objects.get(conn, SCHEMA, workspace_id, request.match_info["id"])
        )
        found = await model_objects.get_many(conn, ATTRIBUTE, workspace_id, schema.attribute_ids)
        formers = await model_objects.former_aliases(conn, SCHEMA, workspace_id, [schema.id])
        of_attributes = await model_objects.former_aliases(conn, ATTRIBUTE, workspace_id, found)
    return json_response(
        {
            "id": schema.id,
            "aliases": [schema.alias, *formers.get(schema.id, ())],
            "attributes": [
                {
                    "id": one,
                    "alias": found[one].alias,
                    "aliases": [found[one].alias, *of_attributes.get(one, ())],
                }
                for one in schema.attribute_ids
                if one in found
            ],
        }
    )


async def _page(conn: Conn, workspace_id: str, after: Position, narrowing: Narrowing) -> Piece:
    return await model_objects.page(conn, SCHEMA, workspace_id, after, narrowing)
