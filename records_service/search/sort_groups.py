"""A page that is sorted by several keys, of very many records that meet a condition.

The first key tells among which records the page is: a walk in its order alone finds the value
that the last of them has. All that have a value up to that are a set, mostly a small one, which is
sorted by all keys. Where very many have the same option, the page is looked for among these, by the
other keys, and ends with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple

from records_service.attributes.model import AttributeType
from records_service.search.criteria import Comparison, Searched
from records_service.search.index_conditions import Index
from records_service.search.index_joins import Condition, Sql, Way, all_of
from records_service.search.index_numbers import number_met
from records_service.search.index_query import Query, expression
from records_service.search.index_sources import Numbers, Source, rows_with_terms
from records_service.search.index_terms import is_single
from records_service.search.sort_sources import is_text, rows_in_order
from records_service.search.sql import Arguments
from records_service.search.text_index import BEHIND
from records_service.search_index.terms import number_of
from shared.database.paging import Place

_LAST: Final = datetime.max.replace(tzinfo=UTC)
"""After all times of creation."""


def by_first_key(query: Query) -> Query:
    """The same search, sorted by its first key."""
    return replace(query, sort=query.sort[:1], keys=query.keys[:1])


def tells_groups(query: Query) -> bool:
    """Whether a value of the first key is a criterion."""
    [sort, *_] = query.sort
    if not isinstance(sort.target, Searched):
        return sort.target == "createdAt"
    return (
        query.index.sort_view(sort.target, sort.scope) is not None
        or query.index.number_key(sort.target) is not None
        or query.index.positions(sort.target) is not None
    )


def place_by_first_key(place: Place) -> Place | None:
    """Where to look for the value with which a page ends; None if its records have no value.

    The page begins among records with the value of its cursor, of which any number may come before
    it: so as many as it wants are looked for after these.
    """
    after = place.after
    if after is None:
        needed = place.offset + place.rows
    elif after[0] is None:
        return None
    else:
        needed, after = place.rows, (after[0], _LAST, "")
    order = (place.order[0], *place.order[-2:])
    return replace(place, order=order, offset=0, limit=needed - 1, after=after)


def up_to(query: Query, place: Place, last: Any) -> Query:
    """The same search among the records with a value from that of the cursor up to the last one.

    It may find more than these, which are not on the page.
    """
    [sort, *_] = query.sort
    first = None if place.after is None else place.after[0]
    low, high = (last, first) if place.order[0].descending else (first, last)
    source: Source
    met: Sql
    if not isinstance(sort.target, Searched):
        times = _Range(low, high, "timestamptz")
        met = partial(times.has, "s.created_at")
        source = query.index.everything(met)
    elif (view := query.index.sort_view(sort.target, sort.scope)) is not None:
        column = "text" if is_text(sort.target) else "number"
        source = Between(view, column, _range_of(sort.target, low, high))
        met = source.met
    elif (key := query.index.number_key(sort.target)) is not None:
        numbers, single = _range_of(sort.target, low, high), is_single(sort.target)
        met = partial(number_met, key, numbers.has, is_single=single)
        source = Numbers(key, partial(numbers.has, "n.number"), single)
    else:
        chosen = _chosen(query.index, sort.target, low, high)
        return replace(query, condition=all_of([query.condition, chosen]))
    found = Condition(met, (Way(source, lambda _: "true"),))
    return replace(query, condition=all_of([query.condition, found]))


class Group(NamedTuple):
    """A search among the records with one value of the first key, sorted by the other keys."""

    query: Query
    place: Place


def with_value(query: Query, place: Place, value: Any) -> Group | None:
    """The page among those with a value, or without any; None unless a record has one option.

    It begins at the cursor if that has the same value, or with the first.
    """
    [sort, *sorts], [key, *keys] = query.sort, query.keys
    if not isinstance(sort.target, Searched) or not is_single(sort.target):
        return None
    positions = query.index.positions(sort.target)
    if positions is None:
        return None
    if value is None:

        def lacks(arguments: Arguments) -> str:
            return f"({expression(query, sort, key, arguments)}) IS NULL"

        found = Condition(lacks, (Way(query.index.lacking(sort.target), lacks, checks=True),))
    else:
        found = _chosen(query.index, sort.target, value, value)
    after = place.after
    return Group(
        replace(query, condition=all_of([query.condition, found]), sort=sorts, keys=keys),
        replace(
            place,
            order=place.order[1:],
            offset=0,
            after=after[1:] if after is not None and after[0] == value else None,
            counts=False,
        ),
    )


def _chosen(index: Index, target: Searched, low: Any, high: Any) -> Condition:
    """The condition that a record has an option in these positions."""
    values = _values(index, target)
    ids = [
        value
        for (position, _), value in zip(index.positions(target) or (), values, strict=True)
        if (low is None or position >= low) and (high is None or position <= high)
    ]
    return index.condition(Comparison(target, "in", False, tuple(ids), None))


def _values(index: Index, target: Searched) -> list[Any]:
    """The options, or false and true, in their order."""
    if target.type is AttributeType.BOOLEAN:
        return [False, True]
    return list((index.option_terms(target) or {}).values())


@dataclass(frozen=True, slots=True)
class _Range:
    """Values from one to another, both included; None: no bound."""

    low: Any
    high: Any
    kind: str

    def has(self, value: str, arguments: Arguments) -> str:
        """The condition that the value of an expression is one of them."""
        bounds = ((">=", self.low), ("<=", self.high))
        return " AND ".join(
            f"{value} {sign} {arguments.name(bound, self.kind)}"
            for sign, bound in bounds
            if bound is not None
        )


def _range_of(target: Searched, low: Any, high: Any) -> _Range:
    """As an order or the numbers of the index have the values."""
    kind = "text" if is_text(target) else "float8"
    return _Range(_raw(target, low), _raw(target, high), kind)


def _raw(target: Searched, value: Any) -> Any:
    if isinstance(value, (str, bool)):
        return value if isinstance(value, str) else float(value)
    return None if value is None else number_of(target.type, value)


@dataclass(frozen=True, slots=True)
class Between(Source):
    """The records with such a value in a stored order, and all that are behind."""

    view: int
    column: str
    values: _Range
    is_counted: bool = True

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        rows = rows_in_order(self._between(arguments), sampled=sampled)
        return rows_with_terms(rows, with_terms, sampled)

    def met(self, arguments: Arguments) -> str:
        """The condition that the record of a row `s` is one of them."""
        return (
            f"(s.record_id IN ({BEHIND}) OR EXISTS (SELECT FROM search_sorts n"
            " WHERE n.workspace_id = $1 AND n.created_at = s.created_at"
            f" AND n.record_id = s.record_id AND {self._between(arguments)} OFFSET 0))"
        )

    def _between(self, arguments: Arguments) -> str:
        others = "n.number = 0" if self.column == "text" else "n.text = '' AND n.number < 'NaN'"
        return (
            f"n.view = {arguments.name(self.view, 'bigint')} AND {others}"
            f" AND {self.values.has(f'n.{self.column}', arguments)}"
        )
