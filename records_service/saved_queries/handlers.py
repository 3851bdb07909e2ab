"""Saved queries over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.context import base_context_of, context_of
from records_service.saved_queries import commands, store
from records_service.saved_queries.model import (
    VERSION,
    Execution,
    SavedQueryAnswer,
    SavedQueryDraft,
)
from records_service.search.model import SearchPage
from records_service.search.scored import asks_for_scores
from records_service.search.searching import by_criteria, search
from records_service.search.showing import shown
from records_service.search.sort_sources import asks_for_sorts
from shared.database import DATABASE
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed, UpstreamTimeout
from shared.http import (
    SMALL_BODY,
    Routes,
    identity_of,
    json_response,
    no_content,
    read_body,
    to_json,
    versioned_response,
)
from shared.identity import Permission

routes = Routes(
    tag="Search",
    examples={"id": "sq-expensive"},
    parameters={"id": "Id of the saved query."},
)


@routes.get(
    "/api/v1/saved-queries",
    permission=Permission.READ,
    answers=list[SavedQueryAnswer],
    summary="List saved queries",
)
async def list_saved_queries(request: web.Request) -> web.StreamResponse:
    """All saved queries of the workspace, oldest first; 1,000 at most."""
    async with request.app[DATABASE].acquire() as conn:
        queries = await store.find_all(conn, identity_of(request).workspace_id)
    return json_response([query.to_public() for query in queries])


@routes.post(
    "/api/v1/saved-queries",
    permission=Permission.UPDATE_DATA,
    body=SavedQueryDraft,
    answers=SavedQueryAnswer,
    status=201,
    summary="Save a query",
    errors=(Conflict, LimitExceeded),
)
async def create_saved_query(request: web.Request) -> web.StreamResponse:
    """Saves a query that the caller can run. Without `read`, it is checked when it runs."""
    context = await context_of(request)
    query = await commands.save(context, await read_body(request, SavedQueryDraft))
    location = f"/api/v1/saved-queries/{query.id}"
    return versioned_response(query.to_public(), VERSION, status=201, location=location)


@routes.get(
    "/api/v1/saved-queries/{id}",
    permission=Permission.READ,
    answers=SavedQueryAnswer,
    summary="Get a saved query",
    errors=(NotFound,),
)
async def get_saved_query(request: web.Request) -> web.StreamResponse:
    """One saved query."""
    async with request.app[DATABASE].acquire() as conn:
        query = await store.get(conn, identity_of(request).workspace_id, request.match_info["id"])
    return versioned_response(query.to_public(), VERSION)


@routes.delete(
    "/api/v1/saved-queries/{id}",
    permission=Permission.DELETE_DATA,
    role="to be its author, or `role-admin`",
    summary="Delete a saved query",
    errors=(NotFound, PreconditionFailed),
)
async def delete_saved_query(request: web.Request) -> web.StreamResponse:
    """Deletes a saved query: one's own, or any for administrators and API keys."""
    await commands.delete(base_context_of(request), request.match_info["id"])
    return no_content()


@routes.post(
    "/api/v1/saved-queries/{id}/execute",
    permission=Permission.READ,
    body=Execution,
    body_bytes_max=SMALL_BODY,
    answers=SearchPage,
    summary="Run a saved query",
    errors=(NotFound, UpstreamTimeout),
)
async def execute_saved_query(request: web.Request) -> web.StreamResponse:
    """One page of what the query finds now, with the rights of the caller.

    The query is checked again: where it names an attribute that is gone, or that the caller does
    not see, the answer is 400.
    """
    context = await context_of(request)
    asked = await read_body(request, Execution)
    async with context.database.acquire() as conn:
        query = await store.get(conn, context.workspace_id, request.match_info["id"])
    # Another query may get this id: a cursor is good for the one that made it.
    path = f"{request.path}?{to_json(query.query).decode()}"
    compiled = by_criteria(query.filter, query.query["sort"])
    return await search(
        context,
        path,
        asked,
        compiled,
        shown(context, asked),
        asked.facets,
        is_scored=asks_for_scores(query.filter.criteria, query.query["sort"]),
        is_sorted=asks_for_sorts(query.filter.criteria, query.query["sort"]),
    )
