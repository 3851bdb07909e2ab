"""Renders a record for a caller: aliases instead of ids, without hidden attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.context import Context
from records_service.records.loading import LoadedRecord
from records_service.records.relations import find_related
from records_service.values.entries import Entries, Values
from records_service.values.relations import Related
from records_service.writes.model import Record
from shared.http import versioned_response
from shared.process.offload import Large


async def answer(
    context: Context, loaded: LoadedRecord, *, status: int = 200, location: str | None = None
) -> web.Response:
    """The answer with this record as the caller may see it, and its version as `ETag`."""
    record, schema = loaded.record, loaded.schema
    is_large = isinstance(record.values, Large)
    related = await find_related(context, [(record.values, schema)], is_large=is_large)
    access = schema.access(context.role, record.state_id)
    rendered = await context.run(is_large, render, record, schema, access, related)
    return versioned_response(rendered, record.version, status=status, location=location)


def render(
    record: Record, schema: CompiledSchema, access: Access, related: Related
) -> dict[str, Any]:
    """The public object; relations to deleted records are left out."""
    return {
        "id": record.id,
        "externalKey": record.external_key,
        "schemaId": record.schema_id,
        "lifecycleStateId": record.state_id,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "createdBy": record.created_by,
        "updatedBy": record.updated_by,
        "values": _visible_values(record.values, schema, access.visible, related),
    }


def _visible_values(
    values: Values, schema: CompiledSchema, visible: Mapping[str, str], related: Related
) -> dict[str, Entries]:
    living = related.living(values, schema.relations)
    return {
        alias: living[attribute_id]
        for attribute_id, alias in visible.items()
        if attribute_id in living
    }
