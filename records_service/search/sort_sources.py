# ruff: noqa: S608 - constants and numbers of parameters
"""The stored order of texts and of values in scopes: where records are in it, and which begin so.

What writes have noted is behind, until a job has stored its rows (`search_texts/sorting.py`). Rows
of these records do not count: their values are read in the same statement.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from records_service.attributes.model import AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.search.criteria import Comparison, Searched, SortKey
from records_service.search.index_sources import Source, rows_with_terms
from records_service.search.score_sources import rows_behind
from records_service.search.scored import every_object
from records_service.search.sql import Arguments, exists, sort_key
from records_service.search.text_index import BEHIND
from records_service.search_texts.sort_keys import sorted_of, view_key
from shared.database.paging import Key

BEGINNING_MAX: Final = 100
"""Characters of a beginning that is looked for in the order. Of a text the first 400 are folded for
it, which leaves more than these also where each letter has two marks."""
_SURROGATES: Final = range(0xD800, 0xE000)


def asks_for_sorts(criteria: Any, sort: Sequence[Any]) -> bool:
    """Whether a search, as it was sent, may use the stored order of an attribute."""
    return any(isinstance(each, dict) and each.get("field") is None for each in sort) or any(
        each.get("operator") == "startsWith" for each in every_object(criteria, ())
    )


def view_of(
    blueprint: Blueprint,
    sorted_schemas: Mapping[str, str],
    target: Searched,
    scope: Mapping[str, str] | None,
) -> int | None:
    """The key of the order in which all records are that show the attribute, but those behind."""
    dimension_ids = target.attribute.dimension_ids
    if dimension_ids and (scope is None or any(each not in scope for each in dimension_ids)):
        return None
    held = {each: (scope or {})[each] for each in dimension_ids}
    key = view_key(target.attribute.id, target.path, held)
    schema_ids = set(target.sight.seen).union(*target.sight.partly.values())
    for schema_id in schema_ids:
        found = sorted_of(blueprint, schema_id)
        if found is None or found.digest != sorted_schemas.get(schema_id) or key not in found.keys:
            return None
    return key if schema_ids else None


def is_text(target: Searched) -> bool:
    """Whether records are sorted by a text; by a number, otherwise."""
    return target.type in (AttributeType.TEXT, AttributeType.MEDIA)


def public(row: str, target: Searched) -> str:
    """By what a row of the order is sorted, as a search by the values has it."""
    match target.type:
        case AttributeType.NUMBER:
            return f"{row}.number::text::numeric"
        case AttributeType.DATETIME:
            return f"timestamptz 'epoch' + {row}.number * interval '1 microsecond'"
        case AttributeType.BOOLEAN:
            return f"{row}.number = 1"
    return f'{row}.text COLLATE "C"'


def place_in(view: int, sort: SortKey, key: Key, arguments: Arguments) -> str:
    """By what the record of a row `s` is sorted."""
    assert isinstance(sort.target, Searched)
    value = sort_key(sort, key.column, arguments)[1]
    return (
        f"CASE WHEN s.record_id IN ({BEHIND}) THEN (SELECT {value} FROM records r"
        " WHERE r.workspace_id = $1 AND r.id = s.record_id OFFSET 0)"
        f" ELSE (SELECT {public('n', sort.target)} FROM search_sorts n WHERE n.workspace_id = $1"
        " AND n.created_at = s.created_at AND n.record_id = s.record_id"
        f" AND n.view = {arguments.name(view, 'bigint')} AND n.number < 'NaN' OFFSET 0) END"
    )


def rows_in_order(condition: str, *, sampled: bool) -> str:
    """The records whose row `n` of a stored order meets a condition, and then all that are behind.

    It ends in the condition of the rows `s` of those, to which more may be added.
    """
    sample = " AND {}.bucket = 0" if sampled else ""
    return (
        "SELECT n.record_id, n.created_at, n.schema_id, n.state_id FROM search_sorts n"
        f" WHERE n.workspace_id = $1 AND {condition}{sample.format('n')}"
        f" AND n.record_id NOT IN ({BEHIND})"
        " UNION ALL SELECT s.record_id, s.created_at, s.schema_id, s.state_id"
        f" {rows_behind(BEHIND)}{sample.format('s')}"
    )


@dataclass(frozen=True, slots=True)
class Beginning(Source):
    """The records whose text begins so."""

    view: int
    comparison: Comparison
    target: Searched
    is_counted: bool = True

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        rows = rows_in_order(self._begins(arguments), sampled=sampled)
        rows += f" AND {exists(self.comparison, self.target, arguments)}"
        return rows_with_terms(rows, with_terms, sampled)

    def met(self, arguments: Arguments) -> str:
        """The condition that the record of a row `s` is one of them."""
        return (
            f"CASE WHEN s.record_id IN ({BEHIND}) THEN EXISTS (SELECT FROM records r"
            " WHERE r.workspace_id = $1 AND r.id = s.record_id"
            f" AND {exists(self.comparison, self.target, arguments)} OFFSET 0)"
            " ELSE EXISTS (SELECT FROM search_sorts n WHERE n.workspace_id = $1"
            " AND n.created_at = s.created_at AND n.record_id = s.record_id"
            f" AND {self._begins(arguments)} OFFSET 0) END"
        )

    def _begins(self, arguments: Arguments) -> str:
        begin = self.comparison.operands[0]
        end = _after(begin)
        later = "" if end is None else f" AND n.text < {arguments.name(end, 'text')}"
        return (
            f"n.view = {arguments.name(self.view, 'bigint')} AND n.number = 0"
            f" AND n.text >= {arguments.name(begin, 'text')}{later}"
        )


def beginning(view: int | None, comparison: Comparison, target: Searched) -> Beginning | None:
    """Where the records with this beginning are; None if the order does not tell.

    It has the first of several values only.
    """
    if (
        view is None
        or not is_text(target)
        or target.fields
        or target.attribute.multiple
        or not comparison.operands
        or len(comparison.operands[0]) > BEGINNING_MAX
    ):
        return None
    return Beginning(view, comparison, target)


def _after(text: str) -> str | None:
    """The first text after all that begin with this one; None if there is none."""
    for length in range(len(text), 0, -1):
        point = ord(text[length - 1]) + 1
        if point in _SURROGATES:
            point = _SURROGATES.stop
        if point <= sys.maxunicode:
            return text[: length - 1] + chr(point)
    return None
