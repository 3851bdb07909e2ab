"""What a variant shows: its own values, and those of the nearest ancestor for all others.

Values are inherited by attribute and not by scope: an attribute that has a value of its own in one
scope inherits nothing in the others. Attributes that are not inheritable are never taken over, so
each variant has its own value of them or none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from records_service.attributes.model import Attribute
from records_service.values.entries import Values


@dataclass(frozen=True, slots=True)
class Resolved:
    """The values that hold for a variant, by attribute id, and where they come from."""

    values: Values
    overridden: Collection[str]
    inherited: Collection[str]


def inherited_values(ancestors: Iterable[Values], attributes: Mapping[str, Attribute]) -> Values:
    """What comes from above, where it is not overridden; the record's own values come first."""
    found: Values = {}
    for values in ancestors:
        found.update(values)
    return {
        attribute_id: entries
        for attribute_id, entries in found.items()
        if attribute_id in attributes and attributes[attribute_id].inheritable
    }


def resolved(own: Values, inherited: Values) -> Resolved:
    """The variant's values together with those that it inherits."""
    return Resolved({**inherited, **own}, own.keys(), inherited.keys() - own.keys())
