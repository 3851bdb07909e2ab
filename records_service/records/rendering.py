"""Renders a record for a caller: aliases instead of ids, without hidden attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.records.model import Record
from records_service.values.relations import Related
from records_service.values.scopes import Entries, Values


def shown(
    record: Record, rules: CompiledSchema, access: Access, related: Related
) -> dict[str, Any]:
    """The public object; what names a record that is gone is left out."""
    return {
        "id": record.id,
        "schemaId": record.schema_id,
        "lifecycleStateId": record.state_id,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "createdBy": record.created_by,
        "updatedBy": record.updated_by,
        "values": _shown_values(record.values, rules, access.visible, related),
    }


def _shown_values(
    values: Values, rules: CompiledSchema, visible: Mapping[str, str], related: Related
) -> dict[str, Entries]:
    living = related.living(values, rules.relations)
    return {
        alias: living[attribute_id]
        for attribute_id, alias in visible.items()
        if attribute_id in living
    }
