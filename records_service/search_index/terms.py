"""What the search index holds of a record: terms and numbers of its filterable attributes.

A term is a hash of what a record has: an attribute with this value, an attribute without any value,
or its schema. So an array of terms with one index answers every equality. What is compared by size
is a number, in a row of its own. Searches hash their operands with the same functions.

Each record is in one of `BUCKETS` buckets, which is the lowest part of all of its terms. A search
for a term looks for one term per bucket, and can stop after the buckets that it needs, where the
index would otherwise read the whole list of a frequent term first (docs/adr/0057).

Values are found and compared as `search/sql.py` does it on the values of a record, in any scope.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final

from records_service.attributes.model import Attribute, AttributeType, SubAttribute
from records_service.values.entries import Entry, Values, replaced
from shared.frozen import quick

BUCKETS: Final = 64
"""A power of two. What is stored depends on it."""

_VALUE: Final = "value"
_NONE: Final = "none"
_SCHEMA: Final = "schema"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# As in `search/sql.py`: parts that are missing are zero, and a time without a zone is UTC.
_INSTANT: Final = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?)?)?"
    r"(?:Z|([+-])(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.\d+)?)?)?)?",
    re.ASCII,
)
_COMPARED_BY_SIZE: Final = (AttributeType.NUMBER, AttributeType.DATETIME)


@quick
class Indexed:
    """What the index holds of one record."""

    bucket: int
    terms: Sequence[int]
    """In descending order, each once.

    Code that stored no numbers beside the terms wrote them in ascending order. While it ran beside
    this one, it left numbers as they were that it did not know: they hold for these terms only if
    the order says so.
    """
    numbers: Sequence[tuple[int, int, float]]
    """Key of the attribute or field (`key_of`), position of the first value that is this number
    among its values, and the number: each number once."""

    @property
    def every_number(self) -> Sequence[tuple[int, int, float]]:
        """All numbers, as `numbers`; what has changed knows some of them only."""
        return self.numbers


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A filterable attribute, or a field of a complex one."""

    path: tuple[str, ...]
    """The aliases of the fields that lead to it; none for the attribute itself."""
    type: AttributeType
    key: int
    none: int
    """The term of a record without a value here, in the first bucket."""
    prefix: Any
    """The hash of all that stands before the value in a term."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the index holds of the records of one schema."""

    schema_term: int
    places: Mapping[str, tuple[Place, ...]]
    """By attribute; the attribute itself comes first."""
    nones: Mapping[str, tuple[int, ...]]
    """By attribute: the terms of a record without any value of it, in the first bucket."""


def plan_of(workspace_id: str, schema_id: str, attributes: Iterable[Attribute]) -> Plan:
    """The plan of a schema with these attributes, of which only the filterable ones count."""
    places = {
        each.id: tuple(_places(workspace_id, each.id, (), each))
        for each in attributes
        if each.filterable
    }
    return Plan(
        schema_term(workspace_id, schema_id),
        places,
        {each: tuple(place.none for place in found) for each, found in places.items()},
    )


def form_of(attribute: Attribute) -> list[tuple[tuple[str, ...], AttributeType]]:
    """What of the definition of an attribute decides what the index holds of its values."""
    if not attribute.filterable:
        return []
    return [(each.path, each.type) for each in _places("", "", (), attribute)]


def indexed(plan: Plan, record_id: str, values: Values) -> Indexed:
    """What the index holds of a record with these values."""
    bucket = bucket_of(record_id)
    terms = {plan.schema_term}
    numbers: list[tuple[int, int, float]] = []
    for attribute_id, places in plan.places.items():
        entries = values.get(attribute_id)
        if not entries:
            terms.update(plan.nones[attribute_id])
            continue
        for place in places:
            found = found_at(entries, place.path)
            if not any(map(_is_filled, found)):
                terms.add(place.none)
            if place.type in _COMPARED_BY_SIZE:
                numbers += _numbers(place, found)
            else:
                terms.update(_hashed(place.prefix, text) for text in _texts(place, found))
    return Indexed(bucket, sorted((term | bucket for term in terms), reverse=True), numbers)


def number_lists(
    numbers: Iterable[tuple[int, int, float]],
) -> tuple[list[int], list[float | None]]:
    """The keys and the numbers of a record, as they are stored beside its terms.

    The first number of a key is that of the first value, by which records are sorted; None where
    the first value is none.
    """
    keys: list[int] = []
    found: list[float | None] = []
    last = None
    for key, position, number in numbers:
        if position and key != last:
            keys.append(key)
            found.append(None)
        keys.append(key)
        found.append(number)
        last = key
    return keys, found


def is_same(plan: Plan, old: Values, new: Values) -> bool:
    """Whether the index holds the same of a record with either of these values."""
    return all(old.get(each) == new.get(each) for each in replaced(old, new) & plan.places.keys())


def bucket_of(record_id: str) -> int:
    """The bucket of a record."""
    return zlib.crc32(record_id.encode()) % BUCKETS


def in_buckets(term: int) -> list[int]:
    """What this term of the first bucket is in each bucket, in ascending order."""
    return [term | bucket for bucket in range(BUCKETS)]


def value_term(workspace_id: str, attribute_id: str, path: Sequence[str], value: str) -> int:
    """The term of the records that have this value there, in the first bucket.

    That is the exact text, the id of an option or of a related record, the URL of a medium, or
    `true` or `false`. `path` has the aliases of the fields that lead to a field.
    """
    return _hashed(_prefix(workspace_id, _VALUE, attribute_id, *path), value)


def none_term(workspace_id: str, attribute_id: str, path: Sequence[str] = ()) -> int:
    """The term of the records whose schema has the attribute and that have no value there.

    An empty text, list or object is no value. A relation to a record that was deleted is one.
    """
    return _hashed(_prefix(workspace_id, _NONE, attribute_id, *path), "")


def schema_term(workspace_id: str, schema_id: str) -> int:
    """The term of the records of a schema, in the first bucket."""
    return _hashed(_prefix(workspace_id, _SCHEMA), schema_id)


def key_of(attribute_id: str, path: Sequence[str] = ()) -> int:
    """The key of the numbers of an attribute, or of a field of it."""
    digest = blake2b("\0".join((attribute_id, *path)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def number_of(kind: AttributeType, value: Any) -> float | None:
    """How the index compares a number or a time by size; None for a value of another type.

    A stored number or `Decimal`, a time as stored or `datetime`: microseconds since 1970. Different
    values can be one number only where integers are beyond 2**53, or times before 1685 or after
    2255.
    """
    if kind is AttributeType.NUMBER:
        is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
        return float(value) if is_number else None
    if isinstance(value, str):
        value = _instant(value)
    return (value - _EPOCH) / _MICROSECOND if isinstance(value, datetime) else None


def _places(
    workspace_id: str,
    attribute_id: str,
    path: tuple[str, ...],
    definition: Attribute | SubAttribute,
) -> Iterator[Place]:
    yield Place(
        path,
        definition.type,
        key_of(attribute_id, path),
        none_term(workspace_id, attribute_id, path),
        _prefix(workspace_id, _VALUE, attribute_id, *path),
    )
    for field in definition.attributes:
        yield from _places(workspace_id, attribute_id, (*path, field.alias), field)


def _prefix(*parts: str) -> Any:
    return blake2b("\0".join((*parts, "")).encode(), digest_size=8)


def _hashed(prefix: Any, value: str) -> int:
    whole = prefix.copy()
    whole.update(value.encode())
    return int.from_bytes(whole.digest(), signed=True) & -BUCKETS


def found_at(entries: Iterable[Entry], path: Iterable[str]) -> list[Any]:
    """The values at the field to which these aliases lead, in the order in which they are found."""
    found = [one for entry in entries for one in _several(entry["value"])]
    for name in path:
        found = [
            inner
            for outer in found
            if isinstance(outer, dict) and name in outer
            for inner in _several(outer[name])
        ]
    return found


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else (value,)


def _is_filled(value: Any) -> bool:
    return value is not None and value not in ("", {}, [])


def _texts(place: Place, found: Iterable[Any]) -> Iterator[str]:
    """The values as they are compared; those that no term stands for are left out."""
    for value in found:
        if isinstance(value, str):
            yield value
        elif isinstance(value, bool):
            yield "true" if value else "false"
        elif place.type is AttributeType.MEDIA and isinstance(value, dict) and "url" in value:
            yield str(value["url"])


def _numbers(place: Place, found: Iterable[Any]) -> Iterator[tuple[int, int, float]]:
    seen: set[float] = set()
    for position, value in enumerate(found):
        number = number_of(place.type, value)
        if number is not None and number not in seen:
            seen.add(number)
            yield place.key, position, number


def _instant(text: str) -> datetime | None:
    parts = _INSTANT.fullmatch(text)
    if parts is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, *zone = parts.groups()
    hours, minutes, seconds = (int(each or 0) for each in zone)
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    try:
        whole = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            tzinfo=timezone(-offset if sign == "-" else offset),
        )
        # PostgreSQL keeps microseconds, and rounds.
        return whole + round(float(f"0.{fraction or 0}") * 1_000_000) * _MICROSECOND
    except (ValueError, OverflowError):
        return None
