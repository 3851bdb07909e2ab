"""Reads a page of records: by names in the current data model, within the limits of lists.

Most pages are asked for again and again, and their renderings are remembered then. So a page that
was read before is read without its documents first: which records are on it, in which version. If
the renderings of all of them are known, that is all; otherwise the page is read with its documents.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson
from aiohttp import web

from records_service import paging
from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import compiled_schema
from records_service.context import Context
from records_service.lists import LISTS
from records_service.paging import Place
from records_service.records import store
from records_service.records.counts import COUNTS
from records_service.records.model import IDS_MAX, RecordFilter
from records_service.records.projection import Projection, projection_of
from records_service.records.render_cache import RENDER_CACHE, ListedForCaller, render_all
from records_service.records.store import Filters, Listed, Listing
from shared.errors import ValidationError

READ_BEFORE_MAX: Final = 10_000


class PagesReadBefore:
    """Which pages this process has read whole; the ones read first are forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, page: Hashable) -> bool:
        return page in self._known

    def add(self, page: Hashable) -> None:
        """The renderings of this page were just remembered."""
        self._known[page] = None
        if len(self._known) > READ_BEFORE_MAX:
            self._known.popitem(last=False)

    def forget(self, page: Hashable) -> None:
        """They were not all there any more."""
        self._known.pop(page, None)


PAGES_READ_BEFORE: Final = web.AppKey("pages_read_before", PagesReadBefore)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A page with its names looked up in one version of the model."""

    filters: Filters
    projection: Projection | None


async def rendered_page(
    context: Context, asked: RecordFilter, place: Place
) -> tuple[Listing, list[orjson.Fragment]]:
    """The page, and each of its records as the caller sees it.

    Raises `ValidationError` for a page of too many bytes, or for a scope or attributes that there
    are not.
    """
    pages, role = context.app[PAGES_READ_BEFORE], context.role
    page = (
        context.workspace_id,
        None if role is None else (role.id, role.version),
        place.query,
        (asked.attributes, asked.scope),
        place.offset,
        place.after,
        place.limit,
    )
    if page in pages:
        listing, blueprint, projection = await _read(context, asked, place, with_documents=False)
        known = await _remembered(context, listing.part.rows, blueprint, projection)
        if known is not None:
            return listing, known
        pages.forget(page)
    listing, blueprint, projection = await _read(context, asked, place, with_documents=True)
    items = await render_listed(context, listing.part.rows, blueprint, projection)
    if listing.part.limit == place.limit:
        pages.add(page)
    return listing, items


async def _read(
    context: Context, asked: RecordFilter, place: Place, *, with_documents: bool
) -> tuple[Listing, Blueprint, Projection | None]:
    """The page, the model at its moment, and what the asked projection is in that.

    The names in the filters are looked up in the model that this process has, which may be old,
    because asking for the current version first would be a round trip. The page tells the version:
    where the names mean something else in that one, the page is read again.
    """
    workspace_id, db, counts = context.workspace_id, context.database, context.app[COUNTS]
    blueprints = context.app[BLUEPRINTS]
    ids = _ids(asked.ids)
    filters = _filters(asked, ids, await blueprints.at(db, workspace_id, 0))
    while True:
        used, schema_id = filters, filters.only_schema
        known = None if schema_id is None else counts.find(workspace_id, schema_id)
        try:
            page = await context.app[LISTS].read(
                db,
                workspace_id,
                partial(
                    store.page,
                    workspace_id=workspace_id,
                    filters=filters,
                    place=place,
                    known=known,
                    with_documents=with_documents,
                ),
            )
        except ValidationError:
            # The page is too large, if it is the one that was asked for.
            filters = _filters(asked, ids, await blueprints.get(db, workspace_id))
            if filters == used:
                raise
            continue
        if page.count is not None and schema_id is not None:
            counts.keep(workspace_id, schema_id, page.count)
        blueprint = await blueprints.at(db, workspace_id, page.model_version)
        filters = _filters(asked, ids, blueprint)
        if filters == used:
            return page, blueprint, projection_of(asked, blueprint, context.role)


def _ids(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    ids = tuple(dict.fromkeys(each for each in text.split(",") if each))
    if len(ids) > IDS_MAX:
        raise ValidationError.at(
            "/ids", f"Field 'ids' must have at most {IDS_MAX} items, got {len(ids)}"
        )
    return ids


def _filters(asked: RecordFilter, ids: tuple[str, ...] | None, blueprint: Blueprint) -> Filters:
    """The schema's id, and the ids of all states with this name, in every workflow.

    Both may be named by id or alias; a name that nothing has finds nothing.
    """
    schema_name, state_name = asked.schema_id, asked.lifecycle_state_id
    if schema_name is not None and schema_name not in blueprint.schemas:
        named = (schema.id for schema in blueprint.schemas.values() if schema.alias == schema_name)
        schema_name = next(named, schema_name)
    state_ids = None
    if state_name is not None:
        states = (workflow.state_named(state_name) for workflow in blueprint.workflows.values())
        state_ids = tuple(sorted({state_name, *(state.id for state in states if state)}))
    return Filters(schema_name, state_ids, asked.updated_after, ids, asked.external_key)


async def _for_caller(
    context: Context, listed: Sequence[Listed], blueprint: Blueprint
) -> list[ListedForCaller]:
    compiled = {
        schema_id: await compiled_schema(blueprint, schema_id)
        for schema_id in {one.schema_id for one in listed}
    }
    return [
        ListedForCaller(one, schema, schema.access(context.role, one.state_id))
        for one in listed
        for schema in (compiled[one.schema_id],)
    ]


async def _remembered(
    context: Context,
    listed: Sequence[Listed],
    blueprint: Blueprint,
    projection: Projection | None,
) -> list[orjson.Fragment] | None:
    """Each record as the caller sees it; None unless all are known and fit into one page."""
    cache = context.app[RENDER_CACHE]
    found = []
    size = 0
    for one in await _for_caller(context, listed, blueprint):
        known = cache.find(one, projection)
        if known is None:
            return None
        size += known.document_bytes
        found.append(orjson.Fragment(known.json))
    return None if size > paging.PAGE_BYTES_MAX else found


async def render_listed(
    context: Context,
    listed: Sequence[Listed],
    blueprint: Blueprint,
    projection: Projection | None,
) -> list[orjson.Fragment]:
    """Each record as the caller sees it."""
    cache = context.app[RENDER_CACHE]
    for_caller = await _for_caller(context, listed, blueprint)
    known = [cache.find(one, projection) for one in for_caller]
    new = [one for one, found in zip(for_caller, known, strict=True) if found is None]
    rendered = await render_all(context, new, projection) if new else []
    for one, json in zip(new, rendered, strict=True):
        cache.remember(one, projection, json)
    written = iter(rendered)
    return [orjson.Fragment(next(written) if found is None else found.json) for found in known]
