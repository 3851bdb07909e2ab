"""The JSON type of a value, as messages name it."""

from __future__ import annotations

from typing import Any


def js_type(value: Any) -> str:
    """`string`, `number`, `boolean`, `array`, `object` or `null`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, (list, tuple, set, frozenset)) else "object"
