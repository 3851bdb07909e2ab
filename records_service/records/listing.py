"""Reads a page of records: by names in the current data model, within the limits of lists."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import orjson

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import compiled_schema
from records_service.context import Context
from records_service.lists import LISTS
from records_service.paging import Place
from records_service.records import store
from records_service.records.model import RecordFilter
from records_service.records.render_cache import RENDER_CACHE, ListedForCaller, render_all
from records_service.records.store import Listed, Listing
from shared.errors import ValidationError


async def read_page(
    context: Context, asked: RecordFilter, place: Place
) -> tuple[Listing, Blueprint]:
    """The page, and the model at its moment.

    The names in the filters are looked up in the model that this process has, which may be old,
    because asking for the current version first would be a round trip. The page tells the version:
    where the names mean something else in that one, the page is read again.
    """
    workspace_id, db = context.workspace_id, context.database
    blueprints = context.app[BLUEPRINTS]
    filters = _filters(asked, await blueprints.at(db, workspace_id, 0))
    while True:
        schema_id, state_ids = used = filters
        try:
            page = await context.app[LISTS].read(
                db,
                workspace_id,
                partial(
                    store.page,
                    workspace_id=workspace_id,
                    schema_id=schema_id,
                    state_ids=state_ids,
                    external_key=asked.external_key,
                    place=place,
                ),
            )
        except ValidationError:
            # The page is too large, if it is the one that was asked for.
            filters = _filters(asked, await blueprints.get(db, workspace_id))
            if filters == used:
                raise
            continue
        blueprint = await blueprints.at(db, workspace_id, page.model_version)
        filters = _filters(asked, blueprint)
        if filters == used:
            return page, blueprint


def _filters(asked: RecordFilter, blueprint: Blueprint) -> tuple[str | None, list[str] | None]:
    """The schema's id, and the ids of all states with this name, in every workflow.

    Both may be named by id or alias; a name that nothing has finds nothing.
    """
    schema_name, state_name = asked.schema_id, asked.lifecycle_state_id
    if schema_name is not None and schema_name not in blueprint.schemas:
        named = (schema.id for schema in blueprint.schemas.values() if schema.alias == schema_name)
        schema_name = next(named, schema_name)
    if state_name is None:
        return schema_name, None
    states = (workflow.state_named(state_name) for workflow in blueprint.workflows.values())
    return schema_name, sorted({state_name, *(state.id for state in states if state)})


async def render_page(
    context: Context, listed: Sequence[Listed], blueprint: Blueprint
) -> list[orjson.Fragment]:
    """Each record as the caller sees it."""
    compiled = {
        schema_id: await compiled_schema(blueprint, schema_id)
        for schema_id in {one.schema_id for one in listed}
    }
    listed_for_caller = [
        ListedForCaller(one, schema, schema.access(context.role, one.state_id))
        for one in listed
        for schema in (compiled[one.schema_id],)
    ]
    cache = context.app[RENDER_CACHE]
    known = [cache.find(one) for one in listed_for_caller]
    new = [
        one for one, rendering in zip(listed_for_caller, known, strict=True) if rendering is None
    ]
    rendered = await render_all(context, new) if new else []
    for one, rendering in zip(new, rendered, strict=True):
        cache.remember(one, rendering)
    written = iter(rendered)
    return [
        orjson.Fragment(next(written) if rendering is None else rendering) for rendering in known
    ]
