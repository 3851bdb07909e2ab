"""A search that the index answers, and the rows that its statements begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from records_service.attributes.model import AttributeType
from records_service.search.criteria import FIELDS, Searched, SortKey
from records_service.search.index_conditions import Index
from records_service.search.index_joins import Condition
from records_service.search.index_numbers import first_number
from records_service.search.index_sources import Source
from records_service.search.index_terms import is_single
from records_service.search.score_sources import score_of
from records_service.search.scored import Scored
from records_service.search.sort_sources import place_in
from records_service.search.sql import Arguments, seen, sort_key
from shared.database.paging import Key

_IN_ROW: Final = {"id": "s.record_id", "schemaId": "s.schema_id", "createdAt": "s.created_at"}
RECORD: Final = """
    CROSS JOIN LATERAL (
        SELECT r.workspace_id, r.id, r.schema_id, r.state_id, r.values, r.converted, r.created_at,
               r.updated_at, r.created_by, r.updated_by
          FROM records r WHERE r.workspace_id = $1 AND r.id = s.record_id OFFSET 0) AS r"""


@dataclass(frozen=True, slots=True)
class Query:
    """A search that the index can answer; `arguments` are those that each of its statements has."""

    index: Index
    condition: Condition
    sort: Sequence[SortKey]
    keys: Sequence[Key]
    """Of the columns `sort_0`, `sort_1`, by which it is sorted before the order of creation."""
    arguments: Arguments

    def number_key(self, target: Searched | Scored) -> int:
        """The key of the numbers by which it is sorted."""
        key = self.index.number_key(target)
        assert key is not None
        return key


def rows_found(
    source: Source, condition: str, arguments: Arguments, *, sampled: bool = False
) -> str:
    """What follows FROM: the rows `s` of a source that meet a condition, made with `arguments`."""
    rows = source.rows(arguments, with_terms="terms" in arguments.reads, sampled=sampled)
    record = RECORD if "records" in arguments.reads else ""
    return f"({rows}) AS s{record} WHERE {condition}"


def knows_order(index: Index, sort: SortKey) -> bool:
    """Whether records may be sorted by this without reading them."""
    target = sort.target
    if isinstance(target, Scored):
        return target.view is not None
    if isinstance(target, str):
        return False
    return (
        index.number_key(target) is not None
        or index.is_by_options(target)
        or index.sort_view(target, sort.scope) is not None
    )


def expression(query: Query, sort: SortKey, key: Key, arguments: Arguments) -> str:
    """By what a row `s` is sorted."""
    if isinstance(sort.target, str):
        if sort.target in _IN_ROW:
            return _IN_ROW[sort.target]
        if sort.target == "lifecycleStateId":
            return arguments.state_of("s.")
        arguments.reads.add("records")
        return f"r.{FIELDS[sort.target][0]}"
    if isinstance(sort.target, Scored):
        if sort.target.view is not None:
            return score_of(sort.target, arguments)
    elif (known := _known(query.index, sort, key, arguments)) is not None:
        return f"CASE WHEN {seen(sort.target.sight, arguments, 's.')} THEN {known} END"
    arguments.reads.add("records")
    return sort_key(sort, key.column, arguments)[1]


def _known(index: Index, sort: SortKey, key: Key, arguments: Arguments) -> str | None:
    """By what a row `s` is sorted, if the index tells it."""
    target = sort.target
    assert isinstance(target, Searched)
    view = index.sort_view(target, sort.scope)
    if view is not None:
        return place_in(view, sort, key, arguments)
    number = index.number_key(target)
    if number is not None:
        return public_number(first_number(number, arguments), target)
    if is_single(target) and index.positions(target) is not None:
        return position_of(index, target, arguments)
    return None


def position_of(index: Index, target: Searched, arguments: Arguments) -> str:
    """The position of the only option of a row `s`, or its true or false; NULL if it has none."""
    arguments.reads.add("terms")
    positions = index.positions(target) or []
    if target.type is AttributeType.BOOLEAN:
        cases = (
            f"WHEN s.terms @> ARRAY[{arguments.name(term, 'bigint')} + s.bucket] THEN {value}"
            for value, term in positions
        )
        return f"CASE {' '.join(cases)} END"
    by_term = sorted((term, position) for position, term in positions)
    terms = arguments.name([term for term, _ in by_term], "bigint[]")
    values = arguments.name([position for _, position in by_term], "int[]")
    # width_bucket looks for a term among the sorted ones by halves. In FROM itself, what unnest
    # returns would be stored first.
    return (
        f"(SELECT ({values})[t.place] FROM (SELECT u.term - s.bucket AS term,"  # noqa: S608
        f" width_bucket(u.term - s.bucket, {terms}) AS place"
        " FROM (SELECT unnest(s.terms) AS term) AS u) AS t"
        f" WHERE ({terms})[t.place] = t.term LIMIT 1)"
    )


def public_number(number: str, target: Searched) -> str:
    """The number or the time, as a search by the values has it."""
    if target.type is AttributeType.NUMBER:
        return f"{number}::text::numeric"
    return f"timestamptz 'epoch' + {number} * interval '1 microsecond'"
