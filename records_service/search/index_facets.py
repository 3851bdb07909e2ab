"""Counts the values of what was found from the terms of the search index.

What the index does not have of a facet, or not within reason, is counted from the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from records_service.permissions.rules import Role
from records_service.search.criteria import Searched
from records_service.search.facets import Facet, counted_elsewhere, top_values
from records_service.search.index_query import Query
from records_service.search.index_store import Measured, all_found
from records_service.search.sql import Arguments, seen, values
from records_service.search_index.terms import BUCKETS

OPTIONS_MAX: Final = 2_000
"""Of a list, beyond which the values of its options are read instead."""


def statement(
    facets: Sequence[Facet], query: Query, measured: Measured, role: Role | None
) -> tuple[str, Arguments]:
    """A SELECT of (facet, value, label, count) over all that the query finds, and its arguments."""
    arguments = Arguments(query.arguments)
    columns: dict[str, str] = {}
    counts, ctes = [], ""
    by_sight: dict[object, list[tuple[int, dict[int, str]]]] = {}
    for number, facet in enumerate(facets):
        if not isinstance(facet.target, Searched):
            columns |= {"id": "s.record_id", "schema_id": "s.schema_id"}
            columns["state_id"] = arguments.state_of("s.")
            counted = counted_elsewhere(facet.target, role, arguments)
            counts.append(top_values(number, facet, counted))
            continue
        known = query.index.option_terms(facet.target)
        if known is not None and len(known) <= OPTIONS_MAX:
            by_sight.setdefault(_view(facet.target), []).append((number, known))
            continue
        arguments.reads.add("records")
        visible = seen(facet.target.sight, arguments, "s.")
        attribute = arguments.name(facet.target.attribute.id, "text")
        columns["id"] = "s.record_id"
        columns[f"values_{number}"] = (
            f"CASE WHEN {visible} THEN jsonb_build_object({attribute}, r.values -> {attribute}) END"
        )
        source = values(facet.target, None, arguments, f"met.values_{number}")
        counted = f"SELECT DISTINCT met.id, v.v #>> '{{}}' AS value FROM met, {source}"  # noqa: S608
        counts.append(top_values(number, facet, counted))
    for same in by_sight.values():
        first = same[0][0]
        target = facets[first].target
        assert isinstance(target, Searched)
        arguments.reads.add("terms")
        columns["terms"] = "s.terms"
        columns[f"seen_{first}"] = seen(target.sight, arguments, "s.")
        terms = [term for _, known in same for term in known]
        # One pass over the terms for all facets that are seen in the same records.
        ctes += (
            f", terms_{first} AS (SELECT t.t & -{BUCKETS} AS term, count(*) AS count"  # noqa: S608
            f" FROM met, unnest(met.terms) AS t (t) WHERE met.seen_{first}"
            f" AND t.t & -{BUCKETS} = ANY({arguments.name(terms, 'bigint[]')}) GROUP BY 1)"
        )
        counts += [
            _top_terms(number, facets[number], known, first, arguments) for number, known in same
        ]
    found = all_found(measured, arguments)
    text = f"""
        WITH met AS (
            SELECT {", ".join(f"{column} AS {name}" for name, column in columns.items())}
              FROM {found}
        ){ctes}
        {" UNION ALL ".join(counts)}
        ORDER BY facet, count DESC, value
        """  # noqa: S608 - the texts are constants, values are arguments
    return text, arguments


def _top_terms(
    number: int, facet: Facet, known: dict[int, str], counted_in: int, arguments: Arguments
) -> str:
    named = arguments.name(list(known), "bigint[]")
    texts = arguments.name(list(known.values()), "text[]")
    counted = (
        f"SELECT k.value, c.count FROM unnest({named}, {texts}) AS k (term, value)"  # noqa: S608
        f" JOIN terms_{counted_in} c ON c.term = k.term"
    )
    return top_values(number, facet, counted, are_counted=True)


def _view(target: Searched) -> object:
    """What is equal of two attributes that are seen in the same records."""
    return target.sight.seen, frozenset(target.sight.partly.items())
