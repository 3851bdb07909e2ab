"""Finds the records with a value of a unique attribute by the row that reserves the value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from records_service.attributes.unique_keys import unique_keys_of
from records_service.search.criteria import Comparison, Searched


def claimed(comparison: Comparison, target: Searched) -> list[bytes] | None:
    """The hashes of which a record has reserved one if it has one of the operands.

    None where reservations do not say it: for other operations, for an attribute that is not unique
    or that has scopes, as long as not all values are reserved, and for an empty text, which any
    number of records may have.
    """
    attribute = target.attribute
    if attribute.is_becoming_unique:
        return None
    if comparison.operation != "in" or target.fields or attribute.dimension_ids:
        return None
    entries = [{"scope": {}, "value": _stored(each)} for each in comparison.operands]
    keys = unique_keys_of(attribute, entries)
    return [key.value_hash for key in keys] if keys and len(keys) == len(entries) else None


def _stored(operand: Any) -> Any:
    """An operand as it is stored: a number is not a decimal."""
    if not isinstance(operand, Decimal):
        return operand
    return int(operand) if operand == operand.to_integral_value() else float(operand)
