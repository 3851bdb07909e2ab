"""Categories and their tree over HTTP."""

from __future__ import annotations

from aiohttp import hdrs, web

from records_service.catalogs.categories import commands, store
from records_service.catalogs.categories.model import (
    CATEGORY,
    Category,
    CategoryAnswer,
    CategoryDraft,
    CategoryTreeAnswer,
    TreeQuery,
)
from records_service.catalogs.categories.reading import check_catalog_visible, read_category
from records_service.catalogs.categories.tree import nested
from records_service.context import base_context_of, context_of
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import Routes, no_content, read_body, read_query, versioned_response
from shared.http.responses import JSON
from shared.identity import Flag, Permission
from shared.ids import check_same_id

ROLE = "`canView` on the catalog, or `canManageSchemas`"

catalog_routes = Routes(
    tag="Catalogs",
    examples={"id": "cat-webshop"},
    parameters={"id": "Id of the catalog."},
)
routes = Routes(
    tag="Categories",
    about="The categories of a catalog form a tree; records are assigned to them.",
    examples={"id": "ctg-jackets"},
    parameters={"id": "Id of the category."},
)


@catalog_routes.get(
    "/api/v1/catalogs/{id}/tree",
    permission=Permission.READ,
    role=ROLE,
    query=TreeQuery,
    answers=list[CategoryTreeAnswer],
    summary="Get the tree of a catalog",
    errors=(NotFound,),
)
async def get_catalog_tree(request: web.Request) -> web.StreamResponse:
    """All categories of the catalog, nested, ordered by `sortOrder` and then by name.

    With `externalKey` only the category that another system calls so, and those below it.
    """
    asked = read_query(request, TreeQuery)
    context = await context_of(request)
    catalog_id = request.match_info["id"]
    check_catalog_visible(context, catalog_id)
    async with context.database.acquire() as conn:
        rows = await store.tree(conn, context.workspace_id, catalog_id, asked.external_key)
    if rows is None:
        raise NotFound.of("Catalog", catalog_id)
    body = await context.run(len(rows) > _INLINE_ROWS_MAX, nested, rows)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: JSON})


_INLINE_ROWS_MAX = 100


@catalog_routes.post(
    "/api/v1/catalogs/{id}/categories",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=CategoryDraft,
    answers=CategoryAnswer,
    status=201,
    summary="Create a category",
    errors=(NotFound, Conflict, LimitExceeded),
)
async def create_category(request: web.Request) -> web.StreamResponse:
    """Creates a category, at the top of the tree or below another one.

    A tree has at most 100 levels, and a catalog at most 50,000 categories.
    """
    draft = await read_body(request, CategoryDraft)
    context = base_context_of(request)
    category = await commands.create(context, request.match_info["id"], draft)
    return _answer(category, status=201, location=f"{CATEGORY.path}/{category.id}")


@routes.get(
    "/api/v1/categories/{id}",
    permission=Permission.READ,
    role=ROLE,
    answers=CategoryAnswer,
    summary="Get a category",
    errors=(NotFound,),
)
async def get_category(request: web.Request) -> web.StreamResponse:
    """One category. Its version is in the `ETag` header."""
    context = await context_of(request)
    return _answer(await read_category(context, request.match_info["id"]))


@routes.put(
    "/api/v1/categories/{id}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=CategoryDraft,
    answers=CategoryAnswer,
    summary="Replace or move a category",
    errors=(NotFound, Conflict, PreconditionFailed, LimitExceeded),
)
async def replace_category(request: web.Request) -> web.StreamResponse:
    """Replaces the category. Another `parentId` moves it, with all that is below it.

    Without `parentId` it stays where it is, without `sortOrder` it keeps its position. It cannot
    be moved below itself or into another catalog.
    """
    draft = await read_body(request, CategoryDraft)
    category_id = request.match_info["id"]
    check_same_id(category_id, draft.id)
    return _answer(await commands.update(base_context_of(request), category_id, draft))


@routes.delete(
    "/api/v1/categories/{id}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    summary="Delete a category",
    errors=(NotFound, PreconditionFailed),
)
async def delete_category(request: web.Request) -> web.StreamResponse:
    """Deletes the category, all categories below it, and their assignments. The records stay."""
    await commands.delete(base_context_of(request), request.match_info["id"])
    return no_content()


def _answer(
    category: Category, *, status: int = 200, location: str | None = None
) -> web.StreamResponse:
    return versioned_response(
        category.to_public(), category.version, status=status, location=location
    )
