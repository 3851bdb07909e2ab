"""Runs a search as its caller may: the page, and the data model at its moment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.context import Context
from records_service.lists import LISTS
from records_service.paging import page_response, place_of
from records_service.records.listing import render_listed
from records_service.records.projection import projected
from records_service.records.store import ORDERS
from records_service.search import store
from records_service.search.criteria import Reader
from records_service.search.model import Filter, Shown
from records_service.search.sql import Arguments, condition, sort_key
from shared.errors import UpstreamTimeout, ValidationError


async def search(
    context: Context, path: str, asked: Shown, filter_: Filter, sort: Sequence[Any]
) -> web.Response:
    """The page of records that meet the filter.

    The data model that this process knows may be old. The statement tells the version that it saw:
    where that is another one, names are looked up again and the page is read again.

    Raises `ValidationError`, or `UpstreamTimeout` for a search that takes too long.
    """
    blueprints = context.app[BLUEPRINTS]
    known = await blueprints.at(context.database, context.workspace_id, 0)
    while True:
        try:
            answer, version = await _page(context, path, asked, filter_, sort, known)
        except ValidationError:
            # Of a name that is new, or a page that is too large.
            current = await blueprints.get(context.database, context.workspace_id)
            if current.version == known.version:
                raise
            known = current
            continue
        if version == known.version:
            return answer
        known = await blueprints.at(context.database, context.workspace_id, version)


async def _page(
    context: Context,
    path: str,
    asked: Shown,
    filter_: Filter,
    sort: Sequence[Any],
    blueprint: Blueprint,
) -> tuple[web.Response, int]:
    reader = Reader(blueprint, context.role)
    criteria = reader.filter(filter_)
    arguments = Arguments([context.workspace_id])
    met = condition(criteria, arguments)
    keys = [
        sort_key(key, f"sort_{index}", arguments) for index, key in enumerate(reader.sort(sort))
    ]
    order = (*(key for key, _ in keys), *ORDERS["createdAt"])
    place = place_of(context.workspace_id, path, asked, order, besides={"attributes", "scope"})
    scope = None if asked.scope is None else reader.scope(asked.scope, "/scope")
    projection = projected(asked.attributes, scope, blueprint, context.role)
    try:
        found = await context.app[LISTS].read(
            context.database,
            context.workspace_id,
            partial(
                store.page,
                workspace_id=context.workspace_id,
                place=place,
                condition=met,
                columns=[(key.column, expression) for key, expression in keys],
                arguments=arguments,
            ),
        )
    except UpstreamTimeout:
        raise UpstreamTimeout(
            "The search takes too long: add a criterion on an attribute that is filterable, or"
            " leave out the total (`total`: `none`)"
        ) from None
    if found.model_version != blueprint.version:
        return web.Response(), found.model_version
    rows = found.part.rows
    items = await render_listed(context, rows, blueprint, projection)
    last = tuple(rows[-1].row[key.column] for key in order) if rows else ()
    return page_response(place, items, found.part, found.total, last=last), found.model_version
