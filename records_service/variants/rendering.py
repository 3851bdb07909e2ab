"""Renders variants for a caller: aliases instead of ids, without hidden attributes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aiohttp import web

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.context import Context
from records_service.records.relations import find_related
from records_service.records.rendering import visible_values
from records_service.values.relations import Related
from records_service.variants.inheritance import Resolved, resolved
from records_service.variants.loading import LoadedVariant
from records_service.writes.model import Variant
from shared.http import json_response, versioned_response
from shared.process.offload import Large


async def answer(
    context: Context, loaded: LoadedVariant, *, status: int = 200, location: str | None = None
) -> web.Response:
    """The answer with this variant as the caller may see it, and its version as `ETag`."""
    variant, schema = loaded.variant, loaded.schema
    is_large = isinstance(variant.values, Large)
    related = await find_related(context, [(variant.values, schema)], is_large=is_large)
    access = schema.access(context.role, loaded.record.state_id)
    rendered = await context.run(is_large, render, variant, schema, access, related)
    return versioned_response(rendered, variant.version, status=status, location=location)


async def resolved_answer(context: Context, loaded: LoadedVariant) -> web.Response:
    """The answer with the values that hold for this variant.

    It has no `ETag`: it also changes with the record and with the variants above.
    """
    related = await loaded.related(context)
    access = loaded.schema.access(context.role, loaded.record.state_id)
    rendered = await context.run(loaded.is_large, _render_resolved, loaded, access, related)
    return json_response(rendered)


def resolve(loaded: LoadedVariant, related: Related) -> Resolved:
    """What holds for the variant; a relation to a deleted record is no value."""
    own = related.living(loaded.variant.values, loaded.schema.relations)
    return resolved(own, loaded.inherited(related))


def render(
    variant: Variant, schema: CompiledSchema, access: Access, related: Related
) -> dict[str, Any]:
    """The public object; relations to deleted records are left out."""
    return {
        "id": variant.id,
        "entityId": variant.record_id,
        "parentId": variant.parent_id or variant.record_id,
        "level": variant.level,
        "version": variant.version,
        "createdAt": variant.created_at,
        "updatedAt": variant.updated_at,
        "createdBy": variant.created_by,
        "updatedBy": variant.updated_by,
        "values": visible_values(related.living(variant.values, schema.relations), access.visible),
    }


def _render_resolved(loaded: LoadedVariant, access: Access, related: Related) -> dict[str, Any]:
    found = resolve(loaded, related)

    def visible(attribute_ids: Collection[str]) -> list[str]:
        return [alias for each, alias in access.visible.items() if each in attribute_ids]

    return {
        **render(loaded.variant, loaded.schema, access, related),
        "effectiveValues": visible_values(found.values, access.visible),
        "overriddenAttributes": visible(found.overridden),
        "inheritedAttributes": visible(found.inherited),
    }
