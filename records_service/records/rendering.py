"""Renders a record for a caller: aliases instead of ids, without hidden attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.context import Context
from records_service.records.loading import LoadedRecord
from records_service.records.projection import Projection
from records_service.records.relations import find_related
from records_service.values.entries import Entries, Values, completed, resolve
from records_service.values.relations import Related
from records_service.writes.model import Record
from shared.http import versioned_response
from shared.process.offload import Large


async def answer(
    context: Context,
    loaded: LoadedRecord,
    projection: Projection | None = None,
    *,
    access: Access | None = None,
    status: int = 200,
    location: str | None = None,
) -> web.Response:
    """The answer with this record as the caller may see it, and its version as `ETag`.

    `access` is what the caller may see if that depends on more than the record's state.
    """
    record, schema = loaded.record, loaded.schema
    is_large = isinstance(record.values, Large)
    related = await find_related(context, [(record.values, schema)], is_large=is_large)
    if access is None:
        access = schema.access(context.role, record.state_id)
    rendered = await context.run(is_large, render, record, schema, access, related, projection)
    return versioned_response(rendered, record.version, status=status, location=location)


def render(
    record: Record,
    schema: CompiledSchema,
    access: Access,
    related: Related,
    projection: Projection | None = None,
) -> dict[str, Any]:
    """The public object; relations to deleted records are left out.

    With a scope in the projection, `resolved` has the values that apply in it: alias -> value.
    """
    visible = access.visible if projection is None else projection.of(access.visible)
    living = related.living(record.values, schema.relations)
    rendered: dict[str, Any] = {
        "id": record.id,
        "externalKey": record.external_key,
        "schemaId": record.schema_id,
        "lifecycleStateId": record.state_id,
        "version": record.version,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "createdBy": record.created_by,
        "updatedBy": record.updated_by,
        "values": visible_values(living, visible),
    }
    if projection is not None and projection.scope is not None:
        scope = completed(dict(projection.scope), schema.default_scope)
        resolved = (
            (alias, resolve(living[i], scope, schema.attributes[i].dimension_ids))
            for i, alias in visible.items()
            if i in living
        )
        rendered["resolved"] = {alias: value for alias, value in resolved if value is not None}
    return rendered


def visible_values(living: Values, visible: Mapping[str, str]) -> dict[str, Entries]:
    """Alias -> entries, of the visible attributes that have a value."""
    return {
        alias: living[attribute_id]
        for attribute_id, alias in visible.items()
        if attribute_id in living
    }
