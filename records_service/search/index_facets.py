"""Counts the values of what was found from the terms of the search index.

What the index does not have of a facet, or not within reason, is counted from the values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from records_service.permissions.rules import Role
from records_service.search.beside import beside
from records_service.search.criteria import Searched
from records_service.search.facets import VALUES_MAX, Facet, counted_elsewhere, top_values
from records_service.search.index_measure import Measured
from records_service.search.index_query import Query
from records_service.search.index_sources import Terms
from records_service.search.index_store import all_found
from records_service.search.sql import Arguments, seen, values
from records_service.search_index.terms import BUCKETS
from shared.database import Conn, Database, Record, fetch_planned

OPTIONS_MAX: Final = 2_000
"""Of a list, beyond which the values of its options are read instead."""


async def count(
    conn: Conn,
    database: Database,
    facets: Sequence[Facet],
    query: Query,
    measured: Measured,
    role: Role | None,
) -> Sequence[Any]:
    """Rows of facet, value, label and count over all that the query finds, the most frequent first.

    Where many records are read for it, two connections read half of them each, if one is free.
    """
    source = measured.way.source
    if measured.is_few or not isinstance(source, Terms) or not _are_terms(facets, query):
        text, arguments = _statement(facets, query, measured, role)
        return await fetch_planned(conn, text, *arguments)
    halves = [
        partial(
            _counted, facets=facets, query=query, measured=_in(measured, source, buckets), role=role
        )
        for buckets in (range(BUCKETS // 2), range(BUCKETS // 2, BUCKETS))
    ]
    async with beside(database, conn, halves[1]) as other:
        return _together([*await halves[0](conn), *await other()])


def _are_terms(facets: Sequence[Facet], query: Query) -> bool:
    return all(
        isinstance(each.target, Searched)
        and (known := query.index.option_terms(each.target)) is not None
        and len(known) <= OPTIONS_MAX
        for each in facets
    )


def _in(measured: Measured, source: Terms, buckets: range) -> Measured:
    return replace(measured, way=replace(measured.way, source=replace(source, buckets=buckets)))


async def _counted(
    conn: Conn, *, facets: Sequence[Facet], query: Query, measured: Measured, role: Role | None
) -> list[Record]:
    """What is counted of all values among a part of the records."""
    text, arguments = _statement(facets, query, measured, role, is_part=True)
    return await fetch_planned(conn, text, *arguments)


def _together(rows: Iterable[Record]) -> list[dict[str, Any]]:
    counts: dict[tuple[int, str], int] = {}
    for row in rows:
        place = row["facet"], row["value"]
        counts[place] = counts.get(place, 0) + row["count"]
    found = sorted(counts, key=lambda place: (place[0], -counts[place], place[1].encode()))
    shown: Counter[int] = Counter()
    kept = []
    for facet, value in found:
        shown[facet] += 1
        if shown[facet] <= VALUES_MAX:
            count = counts[facet, value]
            kept.append({"facet": facet, "value": value, "label": None, "count": count})
    return kept


def _statement(
    facets: Sequence[Facet],
    query: Query,
    measured: Measured,
    role: Role | None,
    *,
    is_part: bool = False,
) -> tuple[str, Arguments]:
    """A SELECT of (facet, value, label, count) over all that the query finds, and its arguments.

    `is_part`: of all values, because other statements count the rest of the records.
    """
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
        held = f"{arguments.values_of('r')} -> {attribute}"
        columns[f"values_{number}"] = (
            f"CASE WHEN {visible} THEN jsonb_build_object({attribute}, {held}) END"
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
            f", terms_{first} AS (SELECT t.term, count(*) AS count"  # noqa: S608
            f" FROM (SELECT unnest(met.terms) & -{BUCKETS} AS term FROM met"
            f" WHERE met.seen_{first}) AS t"
            f" WHERE t.term = ANY({arguments.name(terms, 'bigint[]')}) GROUP BY 1)"
        )
        counts += [
            _top_terms(number, facets[number], known, first, arguments, is_part=is_part)
            for number, known in same
        ]
    found, condition = all_found(measured, arguments)
    # What the condition says already is not looked at again for each record.
    columns |= {name: "true" for name, each in columns.items() if each == condition}
    text = f"""
        WITH met AS (
            SELECT {", ".join(f"{column} AS {name}" for name, column in columns.items())}
              FROM {found}
        ){ctes}
        SELECT * FROM ({" UNION ALL ".join(counts)}) AS counted
        ORDER BY facet, count DESC, value COLLATE "C"
        """  # noqa: S608 - the texts are constants, values are arguments
    return text, arguments


def _top_terms(
    number: int,
    facet: Facet,
    known: dict[int, str],
    counted_in: int,
    arguments: Arguments,
    *,
    is_part: bool,
) -> str:
    named = arguments.name(list(known), "bigint[]")
    texts = arguments.name(list(known.values()), "text[]")
    counted = (
        f"SELECT k.value, c.count FROM unnest({named}, {texts}) AS k (term, value)"  # noqa: S608
        f" JOIN terms_{counted_in} c ON c.term = k.term"
    )
    if is_part:
        return f"(SELECT {number} AS facet, k.value, k.count FROM ({counted}) AS k)"  # noqa: S608
    return top_values(number, facet, counted, are_counted=True)


def _view(target: Searched) -> object:
    """What is equal of two attributes that are seen in the same records."""
    return target.sight.seen, frozenset(target.sight.partly.items())
