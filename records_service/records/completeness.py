"""How complete is a record for a lifecycle state, and what is missing?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from records_service.attributes.model import Attribute, Guard, GuardOperator
from records_service.records.sameness import same
from records_service.records.scopes import Scope, Values, resolve


@dataclass(frozen=True, slots=True)
class Completeness:
    """The score in whole percent, and the required attributes by id, in the schema's order."""

    score: int
    filled: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def required(self) -> int:
        """How many attributes count."""
        return len(self.filled) + len(self.missing)


def completeness(
    required: Sequence[Attribute],
    attributes: Mapping[str, Attribute],
    values: Values,
    scope: Scope,
) -> Completeness:
    """Score the required attributes in a completed scope.

    The score is filled / required x 100, rounded down so that no gate opens early; nothing required
    is 100. Attributes whose guard fails do not count. Source: Q16 and section 2.3.
    """
    filled: list[str] = []
    missing: list[str] = []

    def value_of(attribute_id: str) -> Any:
        attribute = attributes.get(attribute_id)
        if attribute is None:
            return None
        return resolve(values.get(attribute_id, ()), scope, attribute.dimension_ids)

    for attribute in required:
        if not all(holds(guard, value_of) for guard in attribute.guards):
            continue
        (missing if is_empty(value_of(attribute.id)) else filled).append(attribute.id)
    total = len(filled) + len(missing)
    score = 100 if total == 0 else len(filled) * 100 // total
    return Completeness(score, tuple(filled), tuple(missing))


def holds(guard: Guard, value_of: Callable[[str], Any]) -> bool:
    """Whether a guard lets its attribute count; its own attribute is looked up by `value_of`."""
    value = value_of(guard.attribute_id)
    match guard.operator:
        case GuardOperator.IS_EMPTY:
            return is_empty(value)
        case GuardOperator.IS_NOT_EMPTY:
            return not is_empty(value)
        case GuardOperator.EQUALS:
            return _matches(value, guard.value)
        case GuardOperator.NOT_EQUALS:
            return not _matches(value, guard.value)
        case GuardOperator.IN:
            return isinstance(guard.value, (list, tuple)) and any(
                _matches(value, choice) for choice in guard.value
            )


def is_empty(value: Any) -> bool:
    """No value, an empty text, an empty list or an empty object; 0 and false are values."""
    return value is None or value in ("", [], {})


def _matches(value: Any, expected: Any) -> bool:
    """Equal, or one of several values is; true is not 1."""
    if isinstance(value, list) and not isinstance(expected, list):
        return any(_matches(one, expected) for one in value)
    return same(value, expected)
