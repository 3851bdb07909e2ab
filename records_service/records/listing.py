"""Reads a page of records: by names in the current data model, within the limits of lists.

Most pages are asked for again and again. So a process remembers pages, and asks PostgreSQL first
whether one is still as it was: the same records in the same versions, under the same data model.
That is a row of a few bytes instead of all documents. What has relations is not remembered, because
a related record may have been deleted.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import compiled_schema
from records_service.context import Context
from records_service.lists import LISTS
from records_service.records import store
from records_service.records.counts import COUNTS
from records_service.records.model import IDS_MAX, RecordFilter
from records_service.records.projection import Projection, projection_of
from records_service.records.render_cache import RENDER_CACHE, ListedForCaller, render_all
from records_service.records.store import Filters, Listed, Listing
from records_service.workflow_copies.moves import moves_as_json
from shared.database.paging import Place
from shared.errors import ValidationError
from shared.http import to_json
from shared.process.sized_cache import SizedCache

REMEMBERED_BYTES_MAX: Final = 32 << 20
REMEMBERED_MAX: Final = 4_096


class Page(NamedTuple):
    """A page as it was read, and its records as JSON for those who see the same."""

    place: Place
    listing: Listing
    items: bytes
    last: Sequence[Any]
    """The position of its last record."""
    check: store.Check
    """Whether it is still the same."""

    @property
    def size(self) -> int:
        """Its bytes, roughly; those of the filters are objects by now."""
        return len(self.items) + 8 * len(self.place.query)


class PageCache(SizedCache[Hashable, Page]):
    """The pages of this process, by workspace, role and query string.

    The same query string asks for the same page, so it is neither read nor checked again.
    """

    def __init__(self) -> None:
        super().__init__(REMEMBERED_BYTES_MAX, REMEMBERED_MAX, lambda page: page.size)


PAGE_CACHE: Final = web.AppKey("page_cache", PageCache)


def _key(context: Context, query_string: str) -> Hashable:
    role = context.role
    return (
        context.workspace_id,
        None if role is None else (role.id, role.version),
        query_string,
    )


async def read_again(context: Context, query_string: str) -> Page | None:
    """The page that this query string asked for before, if it has not changed since then."""
    former = context.app[PAGE_CACHE].get(_key(context, query_string))
    if former is None:
        return None
    workspace_id, listing, check = context.workspace_id, former.listing, former.check
    blueprint = context.app[BLUEPRINTS].known(workspace_id)
    # The names in the filters mean the same under the same version of the model.
    if blueprint is None or blueprint.version != listing.model_version:
        return None
    counts, schema_id = context.app[COUNTS], check.filters.only_schema
    known = None if schema_id is None else counts.find(workspace_id, schema_id)
    found = await context.app[LISTS].read(
        context.database,
        workspace_id,
        partial(store.unchanged, check=check, known=known, former=listing),
    )
    if found is None or found is listing:
        return None if found is None else former
    if found.count is not None and schema_id is not None:
        counts.keep(workspace_id, schema_id, found.count)
    return former._replace(listing=found)


async def read_page(context: Context, asked: RecordFilter, place: Place, query_string: str) -> Page:
    """The page, with each of its records as the caller sees it.

    Raises `ValidationError` for a page of too many bytes, or for a scope or attributes that there
    are not.
    """
    listing, blueprint, filters = await _read(context, asked, place)
    rows = listing.part.rows
    projection = projection_of(asked, blueprint, context.role)
    items = await render_listed(context, rows, blueprint, projection)
    last = rows[-1].position(place.order) if rows else ()
    check = store.check_of(context.workspace_id, filters, place)
    page = Page(place, listing, to_json(items), last, check)
    schemas = [await compiled_schema(blueprint, name) for name in {one.schema_id for one in rows}]
    if blueprint.version == listing.model_version and not any(each.relations for each in schemas):
        # The rows have the documents, which are not needed any more.
        part = replace(listing.part, rows=range(len(rows)))
        remembered = page._replace(listing=replace(listing, part=part, count=None))
        context.app[PAGE_CACHE].keep(_key(context, query_string), remembered)
    return page


async def _read(
    context: Context, asked: RecordFilter, place: Place
) -> tuple[Listing, Blueprint, Filters]:
    """The page, the model at its moment, and the filters with the ids of that model.

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
                    store.page, workspace_id=workspace_id, filters=filters, place=place, known=known
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
            return page, blueprint, filters


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
    if schema_name is not None:
        schema_name = blueprint.schema_id_of(schema_name)
    state_ids = None
    if state_name is not None:
        states = (workflow.state_named(state_name) for workflow in blueprint.workflows.values())
        state_ids = tuple(sorted({state_name, *(state.id for state in states if state)}))
    moves = None
    if state_ids is not None and blueprint.state_moves:
        moves = moves_as_json(blueprint.state_moves)
    return Filters(schema_name, state_ids, asked.updated_after, ids, asked.external_key, moves)


async def _for_caller(
    context: Context, listed: Sequence[Listed], blueprint: Blueprint
) -> list[ListedForCaller]:
    compiled = {
        schema_id: await compiled_schema(blueprint, schema_id)
        for schema_id in {one.schema_id for one in listed}
    }
    return [
        ListedForCaller(
            one._replace(state_id=schema.state_id_of(one.state_id)) if schema.state_moves else one,
            schema,
            schema.access(context.role, one.state_id),
        )
        for one in listed
        for schema in (compiled[one.schema_id],)
    ]


async def render_listed(
    context: Context,
    listed: Sequence[Listed],
    blueprint: Blueprint,
    projection: Projection | None,
) -> list[orjson.Fragment]:
    """Each record as the caller sees it."""
    cache = context.app[RENDER_CACHE]
    role_id = None if context.role is None else context.role.id
    for_caller = await _for_caller(context, listed, blueprint)
    known = [cache.find(one, role_id, projection) for one in for_caller]
    new = [one for one, found in zip(for_caller, known, strict=True) if found is None]
    rendered = await render_all(context, new, projection) if new else []
    for one, json in zip(new, rendered, strict=True):
        cache.remember(one, role_id, projection, json)
    written = iter(rendered)
    return [orjson.Fragment(next(written) if found is None else found) for found in known]
