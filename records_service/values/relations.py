"""Relations of a record, and its values without relations to deleted records.

A relation is an attribute, or a field of a complex one. What it names may be deleted later, and the
id may be used again by a record of another schema: then the name stays stored and is no value, for
whoever reads, scores, guards or writes. All of them ask `Related`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from records_service.attributes.model import Attribute, AttributeType
from records_service.values.entries import Entries, Entry, Values


@dataclass(frozen=True, slots=True)
class Relation:
    """One place where an attribute names records; `field` is None where the whole value does."""

    field: str | None
    name: str
    """What messages call it: `related`, or `parts.product`."""
    target_schema_id: str | None = None

    def named(self, entries: Iterable[Entry]) -> Iterator[str]:
        """The ids that these entries name here."""
        for entry in entries:
            if self.field is None:
                yield from _ids(entry["value"])
            else:
                for each in _objects(entry["value"]):
                    yield from _ids(each.get(self.field))


Relations = Mapping[str, tuple[Relation, ...]]
"""Attribute id -> where it names records; only attributes that do."""


def relations_of(attribute: Attribute) -> tuple[Relation, ...]:
    """Where values of the attribute name records."""
    if attribute.type is AttributeType.RELATION:
        return (Relation(None, attribute.alias, attribute.target_schema_id),)
    return tuple(
        Relation(field.alias, f"{attribute.alias}.{field.alias}")
        for field in attribute.attributes
        if field.type is AttributeType.RELATION
    )


def named(values: Values, relations: Relations) -> set[str]:
    """Every record that these values name."""
    return {
        record_id
        for attribute_id, places in relations.items()
        if attribute_id in values
        for place in places
        for record_id in place.named(values[attribute_id])
    }


@dataclass(frozen=True, slots=True)
class Related:
    """Which of the records that were looked for exist, each with its schema."""

    asked: frozenset[str] = frozenset()
    schemas: Mapping[str, str] | None = None

    def living(self, values: Values, relations: Relations) -> Values:
        """The values without relations to deleted records."""
        if not self.asked:
            return values
        living = dict(values)
        for attribute_id in relations.keys() & values.keys():
            left = self.living_entries(values[attribute_id], relations[attribute_id])
            if left:
                living[attribute_id] = left
            else:
                del living[attribute_id]
        return living

    def living_entries(self, entries: Entries, places: Iterable[Relation]) -> Entries:
        """The entries of one attribute that still have a value."""
        for place in places:
            entries = [
                left for entry in entries if (left := self._living_entry(entry, place)) is not None
            ]
        return entries

    def _living_entry(self, entry: Entry, place: Relation) -> Entry | None:
        if not any(self._is_gone(record_id, place) for record_id in place.named([entry])):
            return entry
        value = entry["value"]
        left: Any
        if place.field is None:
            left = self._left(value, place)
        elif isinstance(value, list):
            left = [each for one in value if (each := self._left_of_object(one, place))]
        else:
            left = self._left_of_object(value, place)
        return {"scope": entry["scope"], "value": left} if left else None

    def _left(self, value: Any, place: Relation) -> Any:
        """The value of a relation without deleted records; None or an empty list if none remain."""
        if isinstance(value, list):
            return [one for one in value if not self._is_gone(one, place)]
        return None if self._is_gone(value, place) else value

    def _left_of_object(self, value: dict[str, Any], place: Relation) -> dict[str, Any]:
        assert place.field is not None
        if place.field not in value:
            return value
        left = self._left(value[place.field], place)
        others = {name: part for name, part in value.items() if name != place.field}
        return {**others, place.field: left} if left else others

    def _is_gone(self, record_id: str, place: Relation) -> bool:
        if record_id not in self.asked:
            return False
        schema_id = (self.schemas or {}).get(record_id)
        return schema_id is None or place.target_schema_id not in (None, schema_id)


NOTHING_LOOKED_FOR = Related()
"""For a record that names no other."""


def _ids(value: Any) -> Iterable[str]:
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)


def _objects(value: Any) -> Iterable[dict[str, Any]]:
    return value if isinstance(value, list) else (value,)
