"""Reads a page of variants: by names in the current data model, within the limits of lists."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.context import Context
from records_service.lists import LISTS
from records_service.records.relations import find_related
from records_service.records.render_cache import INLINE_BYTES_MAX
from records_service.values.relations import Related
from records_service.variants import store
from records_service.variants.rendering import render
from records_service.variants.store import Listing
from records_service.writes.model import Variant
from shared.database.paging import Place, page_response
from shared.errors import NotFound, ValidationError
from shared.http import to_json


async def variants_of_record(context: Context, record_id: str, place: Place) -> web.Response:
    """The answer with a page of the variants of a record, or `NotFound` for the record."""
    listing = await _read(context, place, record_id=record_id)
    if listing is None:
        raise NotFound.of("Entity", record_id)
    blueprint = await context.app[BLUEPRINTS].at(
        context.database, context.workspace_id, listing.model_version
    )
    return await _answer(context, place, listing, blueprint)


async def variants_of_schema(
    context: Context, schema_name: str | None, place: Place
) -> web.Response:
    """The answer with a page of the variants of records of a schema, or of all.

    The name is looked up in the model that this process has, and the page is read again where the
    name means another schema in the model of the page.
    """
    workspace_id, db = context.workspace_id, context.database
    blueprints = context.app[BLUEPRINTS]
    schema_id = _schema_id(schema_name, await blueprints.at(db, workspace_id, 0))
    while True:
        used = schema_id
        try:
            listing = await _read(context, place, schema_id=schema_id)
        except ValidationError:
            # The page is too large, if it is the one that was asked for.
            schema_id = _schema_id(schema_name, await blueprints.get(db, workspace_id))
            if schema_id == used:
                raise
            continue
        assert listing is not None
        blueprint = await blueprints.at(db, workspace_id, listing.model_version)
        schema_id = _schema_id(schema_name, blueprint)
        if schema_id == used:
            return await _answer(context, place, listing, blueprint)


def _schema_id(name: str | None, blueprint: Blueprint) -> str | None:
    """The id of the schema with this id or alias; a name that nothing has finds nothing."""
    return None if name is None else blueprint.schema_id_of(name)


async def _read(
    context: Context, place: Place, *, record_id: str | None = None, schema_id: str | None = None
) -> Listing | None:
    read = partial(
        store.page,
        workspace_id=context.workspace_id,
        record_id=record_id,
        schema_id=schema_id,
        place=place,
    )
    return await context.app[LISTS].read(context.database, context.workspace_id, read)


async def _answer(
    context: Context, place: Place, listing: Listing, blueprint: Blueprint
) -> web.Response:
    rows = listing.part.rows
    schemas = {
        schema_id: await compiled_schema(blueprint, schema_id)
        for schema_id in {row["schema_id"] for row in rows}
    }
    is_large = sum(len(row["document"]) for row in rows) > INLINE_BYTES_MAX
    variants = await context.run(is_large, _parsed, context.workspace_id, rows)
    named = [(each.values, schemas[each.schema_id]) for each in variants]
    related = await find_related(context, named, is_large=is_large)
    items = await context.run(is_large, _rendered, context, rows, variants, schemas, related)
    last = [rows[-1][key.column] for key in place.order] if rows else ()
    return page_response(place, orjson.Fragment(items), listing.part, listing.total, last=last)


def _parsed(workspace_id: str, rows: Sequence[Any]) -> list[Variant]:
    return [store.listed(workspace_id, row, orjson.loads(row["document"])) for row in rows]


def _rendered(
    context: Context,
    rows: Sequence[Any],
    variants: Sequence[Variant],
    schemas: dict[str, CompiledSchema],
    related: Related,
) -> bytes:
    rendered = []
    for row, variant in zip(rows, variants, strict=True):
        schema = schemas[variant.schema_id]
        access = schema.access(context.role, row["state_id"])
        rendered.append(to_json(render(variant, schema, access, related)))
    return b"[%b]" % b",".join(rendered)
