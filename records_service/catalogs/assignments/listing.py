"""Reads a page of the records of a category, within the limits of lists."""

from __future__ import annotations

from functools import partial

import orjson

from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.catalogs.assignments import store
from records_service.catalogs.assignments.model import CategoryRecordsQuery
from records_service.catalogs.assignments.store import CategoryPage
from records_service.context import Context
from records_service.lists import LISTS
from records_service.records.listing import render_listed
from records_service.records.projection import projection_of
from shared.database.paging import Place


async def rendered_page(
    context: Context, category_id: str, asked: CategoryRecordsQuery, place: Place
) -> tuple[CategoryPage, list[orjson.Fragment]]:
    """The page, and each of its records as the caller sees it.

    Raises `ValidationError` for a page of too many bytes, or for a scope or attributes that there
    are not.
    """
    db, workspace_id = context.database, context.workspace_id
    page = await context.app[LISTS].read(
        db,
        workspace_id,
        partial(
            store.page,
            workspace_id=workspace_id,
            category_id=category_id,
            include_subcategories=asked.include_subcategories,
            place=place,
        ),
    )
    blueprint = await context.app[BLUEPRINTS].at(db, workspace_id, page.model_version)
    projection = projection_of(asked, blueprint, context.role)
    return page, await render_listed(context, page.part.rows, blueprint, projection)
