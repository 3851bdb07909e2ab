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
    columns, counts = [], []
    by_sight: dict[object, list[tuple[int, dict[int, str]]]] = {}
    for number, facet in enumerate(facets):
        if not isinstance(facet.target, Searched):
            counts.append(
                top_values(number, facet, counted_elsewhere(facet.target, role, arguments))
            )
            continue
        visible = f"({seen(facet.target.sight, arguments, 's.')})"
        known = query.index.option_terms(facet.target)
        if known is not None and len(known) <= OPTIONS_MAX:
            arguments.reads.add("terms")
            columns.append(f", {visible} AS seen_{number}")
            by_sight.setdefault(_view(facet.target), []).append((number, known))
            continue
        arguments.reads.add("records")
        attribute = arguments.name(facet.target.attribute.id, "text")
        columns.append(
            f", CASE WHEN {visible} THEN"
            f" jsonb_build_object({attribute}, r.values -> {attribute}) END AS values_{number}"
        )
        source = values(facet.target, None, arguments, f"met.values_{number}")
        counted = f"SELECT DISTINCT met.id, v.v #>> '{{}}' AS value FROM met, {source}"  # noqa: S608
        counts.append(top_values(number, facet, counted))
    ctes = ""
    for same in by_sight.values():
        first = same[0][0]
        terms = [term for _, known in same for term in known]
        # One pass over the terms for all facets that are seen in the same records.
        ctes += (
            f", terms_{first} AS MATERIALIZED (SELECT t.t & -{BUCKETS} AS term, count(*) AS count"  # noqa: S608
            f" FROM met, unnest(met.terms) AS t (t) WHERE met.seen_{first}"
            f" AND t.t & -{BUCKETS} = ANY({arguments.name(terms, 'bigint[]')}) GROUP BY 1)"
        )
        for number, known in same:
            named = arguments.name(list(known), "bigint[]")
            texts = arguments.name(list(known.values()), "text[]")
            counts.append(
                top_values(
                    number,
                    facets[number],
                    f"SELECT k.value, c.count FROM unnest({named}, {texts}) AS k (term, value)"  # noqa: S608
                    f" JOIN terms_{first} c ON c.term = k.term",
                    are_counted=True,
                )
            )
    more = ", s.terms" if "terms" in arguments.reads else ""
    met = all_found(measured, arguments)
    text = f"""
        WITH met AS MATERIALIZED (
            SELECT s.record_id AS id, s.schema_id, {arguments.state_of("s.")} AS state_id{more}
                   {"".join(columns)}
              FROM {met}
        ){ctes}
        {" UNION ALL ".join(counts)}
        ORDER BY facet, count DESC, value
        """  # noqa: S608 - the texts are constants, values are arguments
    return text, arguments


def _view(target: Searched) -> object:
    """What is equal of two attributes that are seen in the same records."""
    return target.sight.seen, frozenset(target.sight.partly.items())
