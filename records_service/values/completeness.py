"""Computes how complete a record is for a lifecycle state, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from records_service.attributes.model import Attribute, Guard, GuardOperator
from records_service.values.entries import Scope, Values, resolve, same


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


class Resolution:
    """A record's values in one completed scope.

    Each value is resolved once, and each attribute's guards are asked once, however many states
    the record is scored for.
    """

    def __init__(self, attributes: Mapping[str, Attribute], values: Values, scope: Scope) -> None:
        self._attributes = attributes
        self._values = values
        self._scope = scope
        self._resolved: dict[str, Any] = {}
        self._counts: dict[str, bool] = {}

    def value(self, attribute_id: str) -> Any:
        """What holds in the scope, None where nothing does."""
        if attribute_id not in self._resolved:
            attribute = self._attributes.get(attribute_id)
            self._resolved[attribute_id] = (
                None
                if attribute is None
                else resolve(
                    self._values.get(attribute_id, ()), self._scope, attribute.dimension_ids
                )
            )
        return self._resolved[attribute_id]

    def scope_of(self, attribute_id: str) -> dict[str, str]:
        """The scope in which the attribute was looked at: its own dimensions only."""
        attribute = self._attributes[attribute_id]
        return {name: self._scope[name] for name in attribute.dimension_ids if name in self._scope}

    def counts(self, attribute: Attribute) -> bool:
        """Whether all guards of the attribute are met."""
        if attribute.id not in self._counts:
            self._counts[attribute.id] = all(holds(guard, self.value) for guard in attribute.guards)
        return self._counts[attribute.id]


def completeness(required: Sequence[Attribute], found: Resolution) -> Completeness:
    """Score the required attributes of a record.

    The score is filled / required x 100, rounded down so that no gate opens early; nothing required
    is 100. Attributes whose guard fails do not count.
    """
    filled: list[str] = []
    missing: list[str] = []
    for attribute in required:
        if found.counts(attribute):
            (missing if is_empty(found.value(attribute.id)) else filled).append(attribute.id)
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
