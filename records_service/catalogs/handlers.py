"""Catalogs over HTTP."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from records_service.catalogs import commands, store
from records_service.catalogs.categories.handlers import ROLE
from records_service.catalogs.categories.reading import check_catalog_visible
from records_service.catalogs.model import CATALOG, CatalogAnswer, CatalogDraft
from records_service.context import base_context_of, context_of
from records_service.model_objects import store as model_objects
from records_service.model_objects.answers import answer, created, rendered_as
from shared.database.listing import NamedListQuery, list_response
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import Routes, no_content, read_body, read_query
from shared.identity import Flag, Permission
from shared.ids import check_same_id

routes = Routes(
    tag="Catalogs",
    about="Catalogs, such as the one of a shop. Each is a tree of categories. A role may view a"
    " catalog, and assign records in it; a catalog that it may not view does not exist for it.",
    examples={"id": "cat-webshop"},
    parameters={"id": "Id of the catalog."},
)


@routes.get(
    "/api/v1/catalogs",
    permission=Permission.READ,
    query=NamedListQuery,
    answers=list[CatalogAnswer],
    summary="List catalogs",
)
async def list_catalogs(request: web.Request) -> web.StreamResponse:
    """All catalogs that the caller may view, oldest first."""
    asked = read_query(request, NamedListQuery)
    context = await context_of(request)
    read = partial(store.page, role=context.role, narrowing=asked.narrowing())
    return await list_response(request, read, rendered_as(CatalogAnswer), asked)


@routes.post(
    "/api/v1/catalogs",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=CatalogDraft,
    answers=CatalogAnswer,
    status=201,
    summary="Create a catalog",
    errors=(Conflict, LimitExceeded),
)
async def create_catalog(request: web.Request) -> web.StreamResponse:
    """Creates a catalog without categories."""
    draft = await read_body(request, CatalogDraft)
    return created(CATALOG, await commands.create(base_context_of(request), draft), CatalogAnswer)


@routes.get(
    "/api/v1/catalogs/{id}",
    permission=Permission.READ,
    role=ROLE,
    answers=CatalogAnswer,
    summary="Get a catalog",
    errors=(NotFound,),
)
async def get_catalog(request: web.Request) -> web.StreamResponse:
    """One catalog. Its version is in the `ETag` header."""
    context = await context_of(request)
    catalog_id = request.match_info["id"]
    check_catalog_visible(context, catalog_id)
    async with context.database.acquire() as conn:
        catalog = await model_objects.get(conn, CATALOG, context.workspace_id, catalog_id)
    return answer(catalog, CatalogAnswer)


@routes.put(
    "/api/v1/catalogs/{id}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=CatalogDraft,
    answers=CatalogAnswer,
    summary="Replace a catalog",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def replace_catalog(request: web.Request) -> web.StreamResponse:
    """Replaces the catalog. Its categories stay as they are."""
    draft = await read_body(request, CatalogDraft)
    catalog_id = request.match_info["id"]
    check_same_id(catalog_id, draft.id)
    catalog = await commands.replace_catalog(base_context_of(request), catalog_id, draft)
    return answer(catalog, CatalogAnswer)


@routes.delete(
    "/api/v1/catalogs/{id}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    summary="Delete a catalog",
    errors=(NotFound, PreconditionFailed),
)
async def delete_catalog(request: web.Request) -> web.StreamResponse:
    """Deletes the catalog, its categories, and their assignments. The records stay."""
    await commands.delete(base_context_of(request), request.match_info["id"])
    return no_content()
