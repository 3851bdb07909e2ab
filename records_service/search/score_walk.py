# ruff: noqa: S608 - constants and numbers of parameters
"""A walk in the order of completeness, to records that meet a condition which many meet."""

from __future__ import annotations

from dataclasses import replace

from records_service.search.index_query import RECORD, Query
from records_service.search.index_sources import TERMS
from records_service.search.index_walks import WALKED_MAX, Walk
from records_service.search.score_sources import rows_behind
from records_service.search.scored import Scored
from records_service.search.sql import Arguments
from records_service.search.text_index import SCORES_BEHIND
from shared.database.paging import Place


def walk_by_score(place: Place, query: Query, target: Scored) -> Walk:
    """The page in the order of scores, each of which so many have that they are walked one by one.

    Every record that is searched has one.
    """
    arguments = Arguments(query.arguments)
    [key] = query.keys
    view = arguments.name(target.view, "bigint")
    condition = query.condition.sql(arguments)
    record = RECORD if "records" in arguments.reads else ""
    last, step = (0, -1) if key.descending else (100, 1)
    first = str(100 - last)
    group = (
        "SELECT n.record_id AS id, n.created_at, n.score FROM search_scores n"
        f" WHERE n.workspace_id = $1 AND n.view = {view} AND n.score = {{}}"
        f" AND n.record_id NOT IN ({SCORES_BEHIND})"
    )
    end = f"ORDER BY n.created_at, n.record_id LIMIT {WALKED_MAX}"
    later, rest = "", ""
    if place.after is not None:
        score, at, record_id = place.after
        at_score = arguments.name(score, "smallint")
        position = f"({arguments.name(at, 'timestamptz')}, {arguments.name(record_id, 'text')})"
        first = f"{at_score} + {step}"
        later = (
            f"(SELECT * FROM ({group.format(at_score)}"
            f" AND (n.created_at, n.record_id) > {position} {end}) AS n) UNION ALL "
        )
        sign = "<" if key.descending else ">"
        rest = (
            f" AND (b.{key.column} {sign} {at_score} OR b.{key.column} = {at_score}"
            f" AND (b.created_at, b.id) > {position})"
        )
    walked = (
        f"SELECT * FROM ({later}(SELECT n.* FROM generate_series({first}, {last}, {step})"
        f" AS g (score) CROSS JOIN LATERAL ({group.format('g.score::smallint')} {end}) AS n"
        f" LIMIT {WALKED_MAX})) AS n LIMIT {WALKED_MAX}"
    )
    source = (
        " CROSS JOIN LATERAL (SELECT s.record_id, s.created_at, s.schema_id, s.state_id,"
        f" {TERMS} FROM search_records s WHERE s.workspace_id = $1"
        f" AND s.created_at = n.created_at AND s.record_id = n.id OFFSET 0) AS s{record}"
    )
    late = (
        f"SELECT s.record_id AS id, s.created_at, ({target.sql(arguments, 'noted.')}) AS score"
        f" {rows_behind(SCORES_BEHIND, 'noted')}"
    )
    late = (
        f"SELECT n.id, n.created_at, n.score AS {key.column} FROM ({late} OFFSET 0) AS n{source}"
        f" WHERE n.score IS NOT NULL AND {condition}"
    )
    needed = place.rows if place.after is not None else place.offset + place.rows
    order = f"n.score {'DESC' if key.descending else 'ASC'}, n.created_at, n.id"
    firsts = (
        f"SELECT n.id, n.created_at, n.score FROM ({walked}) AS n{source} WHERE {condition}"
        f" ORDER BY {order} LIMIT {needed}"
    )
    both = (
        f"(SELECT b.id, b.created_at, b.{key.column}::bigint FROM"
        f" (SELECT * FROM firsts UNION ALL SELECT * FROM late) AS b"
        f" WHERE true{rest}) AS both_parts"
        " WHERE true"
    )
    page = place if place.after is None else replace(place, after=None, offset=0)
    wanted = page.select(f"id, created_at, {key.column}", both, arguments)
    return Walk(
        f"firsts (id, created_at, {key.column}) AS MATERIALIZED ({firsts}),"
        f" late (id, created_at, {key.column}) AS MATERIALIZED ({late}),"
        f" wanted AS MATERIALIZED ({wanted})",
        arguments,
        f"CASE WHEN (SELECT count(*) FROM firsts) < {needed}"
        f" THEN (SELECT count(*) FROM ({walked}) AS looked_at) ELSE 0 END",
    )
