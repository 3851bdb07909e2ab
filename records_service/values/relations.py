"""Relations of a record, and its values without relations to deleted records.

A relation is an attribute, or a field of a complex one. What it names may be deleted later, and the
id may be used again by a record of another schema: then the name stays stored and is no value, for
whoever reads, scores, guards or writes. All of them ask `Related`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from records_service.attributes.model import Attribute, AttributeType, SubAttribute
from records_service.values.entries import Entries, Entry, Values


@dataclass(frozen=True, slots=True)
class Relation:
    """One place where an attribute names records."""

    fields: tuple[str, ...]
    """The fields that lead there, from the outside; none where the whole value does."""
    name: str
    """What messages call it: `related`, or `parts.product`."""
    target_schema_id: str | None = None

    def named(self, entries: Iterable[Entry]) -> Iterator[str]:
        """The ids that these entries name here."""
        for entry in entries:
            yield from _ids_at(entry["value"], self.fields)


Relations = Mapping[str, tuple[Relation, ...]]
"""Attribute id -> where it names records; only attributes that do."""


def relations_of(attribute: Attribute) -> tuple[Relation, ...]:
    """Where values of the attribute name records."""
    return tuple(_relations_in(attribute, (), attribute.alias))


def _relations_in(
    form: Attribute | SubAttribute, fields: tuple[str, ...], name: str
) -> Iterator[Relation]:
    if form.type is AttributeType.RELATION:
        yield Relation(fields, name, form.target_schema_id)
    for field in form.attributes:
        yield from _relations_in(field, (*fields, field.alias), f"{name}.{field.alias}")


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
        left = self._left(entry["value"], place.fields, place)
        return {"scope": entry["scope"], "value": left} if left else None

    def _left(self, value: Any, fields: tuple[str, ...], place: Relation) -> Any:
        """The value without deleted records; nothing, or an empty one, if nothing remains.

        `fields` lead from here to the relation.
        """
        if not fields:
            if isinstance(value, list):
                return [one for one in value if not self._is_gone(one, place)]
            return None if self._is_gone(value, place) else value
        if isinstance(value, list):
            return [left for one in value if (left := self._left(one, fields, place))]
        if not isinstance(value, dict) or fields[0] not in value:
            return value
        parts = {**value, fields[0]: self._left(value[fields[0]], fields[1:], place)}
        return {name: part for name, part in parts.items() if name != fields[0] or part}

    def _is_gone(self, record_id: Any, place: Relation) -> bool:
        if not isinstance(record_id, str) or record_id not in self.asked:
            return False
        schema_id = (self.schemas or {}).get(record_id)
        return schema_id is None or place.target_schema_id not in (None, schema_id)


NOTHING_LOOKED_FOR = Related()
"""For a record that names no other."""


def _ids_at(value: Any, fields: tuple[str, ...]) -> Iterator[str]:
    """The ids at the end of this path.

    A field that came later than the value may find something else there, which is no relation.
    """
    if isinstance(value, list):
        for one in value:
            yield from _ids_at(one, fields)
    elif fields and isinstance(value, dict):
        yield from _ids_at(value.get(fields[0]), fields[1:])
    elif not fields and isinstance(value, str):
        yield value
