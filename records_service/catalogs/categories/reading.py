"""Reads a category or a catalog for a caller: what may not be viewed does not exist."""

from __future__ import annotations

from records_service.catalogs.categories import store
from records_service.catalogs.categories.model import CATEGORY, Category
from records_service.catalogs.model import CATALOG
from records_service.context import Context
from records_service.model_objects import store as model_objects
from records_service.permissions.rules import catalog_access
from shared.errors import NotFound


async def read_category(context: Context, category_id: str) -> Category:
    """The category, or `NotFound` if there is none in a catalog that the caller may view."""
    async with context.database.acquire() as conn:
        category = await store.get(conn, context.workspace_id, category_id)
    check_category_visible(context, category.id, category.catalog_id)
    return category


def check_category_visible(context: Context, category_id: str, catalog_id: str) -> None:
    """Raise `NotFound` unless the caller may view the catalog of this category."""
    if not catalog_access(context.role, catalog_id).can_view:
        raise NotFound.of(CATEGORY.title, category_id)


async def visible_catalog(context: Context, name: str) -> str:
    """The id of the catalog with this id or, failing that, alias.

    Raises `NotFound` if there is none, or if the caller may not view it.
    """
    async with context.database.acquire() as conn:
        ids = await model_objects.ids_of(conn, CATALOG, context.workspace_id, [name])
    if name not in ids or not catalog_access(context.role, ids[name]).can_view:
        raise NotFound.of(CATALOG.title, name)
    return ids[name]


def check_catalog_visible(context: Context, catalog_id: str) -> None:
    """Raise `NotFound` unless the caller may view this catalog."""
    if not catalog_access(context.role, catalog_id).can_view:
        raise NotFound.of("Catalog", catalog_id)
