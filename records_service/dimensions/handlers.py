"""Dimensions over HTTP."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from records_service.context import base_context_of, context_of
from records_service.dimensions import commands
from records_service.dimensions.model import (
    DIMENSION,
    Dimension,
    DimensionAnswer,
    DimensionDraft,
    Scope,
    ScopeMatrixRequest,
)
from records_service.dimensions.segments import scope_matrix
from records_service.model_objects import store as model_objects
from records_service.model_objects.answers import answer, created, rendered_as
from shared.database import DATABASE, Conn
from shared.database.listing import NamedListQuery, Narrowing, Piece, Position, list_response
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import (
    SMALL_BODY,
    Routes,
    identity_of,
    json_response,
    no_content,
    read_body,
    read_query,
)
from shared.identity import Flag, Permission
from shared.ids import check_same_id

routes = Routes(
    tag="Dimensions",
    about="Dimensions, such as language and market, and their segments. Values can vary by"
    " dimension.",
    examples={"id": "dim-language"},
    parameters={"id": "Id of the dimension."},
)


@routes.get(
    "/api/v1/dimensions",
    permission=Permission.READ,
    query=NamedListQuery,
    answers=list[DimensionAnswer],
    summary="List dimensions with their segments",
)
async def list_dimensions(request: web.Request) -> web.StreamResponse:
    """All dimensions of the workspace with their segments, oldest first."""
    asked = read_query(request, NamedListQuery)
    read = partial(_page, narrowing=asked.narrowing())
    return await list_response(request, read, rendered_as(DimensionAnswer), asked)


@routes.post(
    "/api/v1/dimensions",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_DIMENSIONS,
    body=DimensionDraft,
    answers=DimensionAnswer,
    status=201,
    summary="Create a dimension",
    errors=(Conflict, LimitExceeded),
)
async def create_dimension(request: web.Request) -> web.StreamResponse:
    """Creates a dimension with at least one segment, of which one is the default."""
    draft = await read_body(request, DimensionDraft)
    dimension = await commands.create(base_context_of(request), draft)
    return created(DIMENSION, dimension, DimensionAnswer)


@routes.post(
    "/api/v1/dimensions/scope-matrix",
    permission=Permission.READ,
    body=ScopeMatrixRequest,
    body_bytes_max=SMALL_BODY,
    answers=list[Scope],
    summary="Combine the segments of dimensions",
    success="The scopes, one for each combination.",
    errors=(NotFound,),
)
async def combine_segments(request: web.Request) -> web.StreamResponse:
    """Every combination of the segments of these dimensions, as scopes.

    Without dimensions, the answer is one empty scope.
    """
    workspace_id = identity_of(request).workspace_id
    asked = await read_body(request, ScopeMatrixRequest)
    async with request.app[DATABASE].acquire() as conn:
        ids = await model_objects.ids_of(conn, DIMENSION, workspace_id, asked.dimension_ids)
        found = await model_objects.get_many(conn, DIMENSION, workspace_id, ids.values())
    for name in asked.dimension_ids:
        if ids.get(name) not in found:
            raise NotFound.of(DIMENSION.title, name)
    chosen = [Dimension.parse(found[i]) for i in dict.fromkeys(ids[n] for n in asked.dimension_ids)]
    return json_response(scope_matrix(chosen))


@routes.get(
    "/api/v1/dimensions/{id}",
    permission=Permission.READ,
    answers=DimensionAnswer,
    summary="Get a dimension",
    errors=(NotFound,),
)
async def get_dimension(request: web.Request) -> web.StreamResponse:
    """One dimension with its segments. Its version is in the `ETag` header."""
    async with request.app[DATABASE].acquire() as conn:
        dimension = await model_objects.get(
            conn, DIMENSION, identity_of(request).workspace_id, request.match_info["id"]
        )
    return answer(dimension, DimensionAnswer)


@routes.put(
    "/api/v1/dimensions/{id}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_DIMENSIONS,
    body=DimensionDraft,
    answers=DimensionAnswer,
    summary="Replace a dimension",
    errors=(NotFound, Conflict, PreconditionFailed, LimitExceeded),
)
async def replace_dimension(request: web.Request) -> web.StreamResponse:
    """Replaces the whole dimension. A segment that stored values use cannot be left out."""
    draft = await read_body(request, DimensionDraft)
    check_same_id(request.match_info["id"], draft.id)
    dimension = await commands.replace(await context_of(request), request.match_info["id"], draft)
    return answer(dimension, DimensionAnswer)


@routes.delete(
    "/api/v1/dimensions/{id}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.MANAGE_DIMENSIONS,
    summary="Delete a dimension",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def delete_dimension(request: web.Request) -> web.StreamResponse:
    """Deletes the dimension. Refused while an attribute varies by it."""
    await commands.delete(base_context_of(request), request.match_info["id"])
    return no_content()


async def _page(conn: Conn, workspace_id: str, after: Position, narrowing: Narrowing) -> Piece:
    return await model_objects.page(conn, DIMENSION, workspace_id, after, narrowing)
