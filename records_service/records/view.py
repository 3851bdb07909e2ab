"""A record as one caller sees it: aliases instead of ids, and nothing that is hidden from them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from records_service.records.model import Record
from records_service.records.rules import Access, RecordRules
from records_service.records.scopes import Entries, Values, related


def shown(
    record: Record, rules: RecordRules, access: Access, gone: Container[str]
) -> dict[str, Any]:
    """The public object; `gone` are related records that exist no more, which are skipped (Q23)."""
    return {
        "id": record.id,
        "schemaId": record.schema_id,
        "lifecycleStateId": record.state_id,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "createdBy": record.created_by,
        "updatedBy": record.updated_by,
        "values": _shown_values(record.values, rules, access.visible, gone),
    }


def relations(record: Record, rules: RecordRules) -> set[str]:
    """The records that this one names."""
    return {
        record_id
        for attribute_id in rules.relation_ids
        if attribute_id in record.values
        for record_id in related(record.values[attribute_id])
    }


def _shown_values(
    values: Values, rules: RecordRules, visible: Mapping[str, str], gone: Container[str]
) -> dict[str, Entries]:
    result = {
        alias: values[attribute_id]
        for attribute_id, alias in visible.items()
        if attribute_id in values
    }
    for attribute_id in rules.relation_ids:
        alias = visible.get(attribute_id, "")
        if alias in result:
            left = list(_without(result[alias], gone))
            if left:
                result[alias] = left
            else:
                del result[alias]
    return result


def _without(entries: Entries, gone: Container[str]) -> Iterable[dict[str, Any]]:
    for entry in entries:
        value = entry["value"]
        if isinstance(value, list):
            value = [one for one in value if one not in gone]
        elif value in gone:
            value = None
        if value not in (None, []):
            yield {"scope": entry["scope"], "value": value}
