"""The numbers of a record in its row `s` of the search index.

A row that an older version has written does not have them, or those from before: they are looked up
in `search_numbers`. The order of its terms tells it (`search_index/terms.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from records_service.search.sql import Arguments

_HOLD: Final = "s.number_keys IS NOT NULL AND s.terms[1] > s.terms[2]"
"""One term has no order: that of a record with nothing filterable but numbers, which are looked up
by one more index then."""


def first_number(key: int, arguments: Arguments) -> str:
    """The number by which the record is sorted: that of its first value."""
    arguments.reads.add("terms")
    named = arguments.name(key, "bigint")
    return (
        f"CASE WHEN {_HOLD} THEN {_first(named)}"  # noqa: S608
        f" ELSE (SELECT n.number FROM search_numbers n WHERE {_looked_up(named)}"
        " AND n.entry = 0 OFFSET 0) END"
    )


def number_met(
    key: int,
    compares: Callable[[str, Arguments], str],
    arguments: Arguments,
    *,
    is_single: bool,
) -> str:
    """The condition that a number of the record compares so.

    `is_single`: a record has one number of the key at most.
    """
    arguments.reads.add("terms")
    named = arguments.name(key, "bigint")
    any_compares = compares("n.number", arguments)
    if is_single:
        beside = f"coalesce({compares(_first(named), arguments)}, false)"
    else:
        beside = (
            "EXISTS (SELECT FROM unnest(s.number_keys, s.numbers) AS n (key, number)"
            f" WHERE n.key = {named} AND {any_compares})"
        )
    return (
        f"CASE WHEN {_HOLD} THEN {beside}"
        f" ELSE EXISTS (SELECT FROM search_numbers n WHERE {_looked_up(named)}"
        f" AND {any_compares} OFFSET 0) END"
    )


def _first(key: str) -> str:
    return f"s.numbers[array_position(s.number_keys, {key})]"


def _looked_up(key: str) -> str:
    return (
        "n.workspace_id = $1 AND n.created_at = s.created_at AND n.record_id = s.record_id"
        f" AND n.attribute_key = {key}"
    )
