"""A full-text query as a condition and a rank, over the row `r` of `records`.

A record is found if each term is in some value that the caller sees of it: in a text, in the label
of an option, or as a part of a unique value such as a SKU. Texts are looked at as they are and in
the language of their segment. What a variant has of its own finds its record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from records_service.attributes.model import Attribute, AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.option_lists.model import Option
from records_service.permissions.rules import Role
from records_service.search.sight import sight_of
from records_service.search.sql import Arguments, pattern
from records_service.search_texts.documents import TEXT_MAX, languages_of
from records_service.search_texts.folding import folded_in_sql, folding_in
from records_service.search_texts.words import (
    PART_MIN,
    Term,
    separated,
    separated_in_sql,
    spaced_in_sql,
    tsquery,
)

LABELS_KEPT: Final = 20_000
"""Labels of options whose words a process remembers: those of a model are joined by version."""
_LABELS: Final = "words_of_labels"
_VIEWS: Final = "text_views"
TYPES: Final = (AttributeType.TEXT, AttributeType.OPTION)
"""Of the attributes in which is searched."""


@dataclass(frozen=True, slots=True)
class FullText:
    """`source` follows `records r` in FROM; `condition` and `rank` look at both."""

    source: str
    condition: str
    rank: str


def full_text(
    terms: Sequence[Term], blueprint: Blueprint, role: Role | None, arguments: Arguments
) -> FullText:
    """The query as its caller may ask it."""
    seen, hidden = views(blueprint, role)
    languages = languages_of(blueprint.dimensions.values())
    configurations = sorted({"simple", *_values(languages)})
    attributes = blueprint.attributes
    kinds = {
        schema_id: {each: _kind(attributes[each]) for each in attribute_ids}
        for schema_id, attribute_ids in seen.items()
    }

    def document(value: Any) -> str:
        return f"{arguments.name(orjson.dumps(value).decode(), 'text')}::jsonb"

    # Where words have no other forms, a text that has none of them need not be taken apart.
    every = [] if languages else [pattern("contains", max(t.words, key=len)) for t in terms]
    source = _source(
        document(kinds),
        document(hidden),
        document(languages) if languages else "",
        f"f.folded LIKE ANY({arguments.name(every, 'text[]')})" if every else "true",
        arguments,
    )
    large = large_lists(blueprint)
    conditions, queries = [], []
    verbatim: list[str] = []
    for term in terms:
        text = arguments.name(term.text, "text")
        query = tsquery(term, configurations, text)
        ways = [f"EXISTS (SELECT FROM unnest(held.texts) AS t (t) WHERE t.t @@ {query})"]
        options = options_of(blueprint, term)
        if options:
            ways.append(f"coalesce(held.options && {arguments.name(options, 'text[]')}, false)")
        if large:
            ways.append(_chosen(term, document(large), arguments))
        if len(term.part) >= PART_MIN:
            part = arguments.name(pattern("contains", term.part), "text")
            ways.append(f"EXISTS (SELECT FROM unnest(held.codes) AS c (c) WHERE c.c LIKE {part})")
        found = f"({' OR '.join(ways)})"
        conditions.append(f"NOT {found}" if term.excluded else found)
        if not term.excluded:
            queries.append(query)
            if not languages and not options and not large:
                verbatim += [pattern("contains", word) for word in term.words]
    if verbatim:
        # Where words have no other forms, they stand in the document as they are: a tenth of the
        # time is enough to leave out a record that has not all of them, and no variants either.
        document_text = folded_in_sql(f"{arguments.values_of('r')}::text", arguments.folding)
        conditions.insert(
            0,
            f"({document_text} LIKE ALL({arguments.name(verbatim, 'text[]')}) OR EXISTS ("
            "SELECT FROM variants o WHERE o.workspace_id = $1 AND o.record_id = r.id))",
        )
    rank = " + ".join(
        f"coalesce((SELECT sum(ts_rank(t.t, {query})) FROM unnest(held.texts) AS t (t)"  # noqa: S608
        f" WHERE t.t @@ {query}), 0)"
        for query in queries
    )
    return FullText(source, f"({' AND '.join(conditions)})", f"({rank or '0'})::float8")


def _kind(attribute: Attribute) -> str:
    if attribute.type is AttributeType.OPTION:
        return "o"
    return "u" if attribute.validation.unique else "t"


def _source(
    kinds: str, hidden: str, languages: str, is_looked_at: str, arguments: Arguments
) -> str:
    """`is_looked_at` is the condition that a text, `f.folded`, may have one of the words."""
    state, own, of_variant = arguments.state, arguments.values_of("r"), arguments.values_of("o")
    text = f"left(v #>> '{{}}', {TEXT_MAX})"
    # What is not needed takes most of the time.
    stemmed = (
        f"""LEFT JOIN LATERAL (
                   SELECT {languages} -> place.key ->> place.value AS name
                     FROM jsonb_each_text(e -> 'scope') AS place
                    WHERE {languages} -> place.key ? place.value
                    LIMIT 1) AS l ON true"""  # noqa: S608 - the argument is a number
        if languages
        else "CROSS JOIN (SELECT NULL::text AS name) AS l"
    )
    return f"""
        CROSS JOIN LATERAL (
            SELECT array_agg(w.plain) FILTER (WHERE s.text IS NOT NULL)
                   || array_agg(w.stemmed) FILTER (WHERE s.text IS NOT NULL AND l.name IS NOT NULL)
                   AS texts,
                   array_agg(a.id || '=' || (v #>> '{{}}')) FILTER (WHERE a.kind = 'o') AS options,
                   array_agg(f.folded) FILTER (WHERE a.kind = 'u') AS codes
              FROM (SELECT each.key AS id, each.value AS entries, seen.kinds ->> each.key AS kind
                      FROM (SELECT {kinds} -> r.schema_id AS kinds,
                                   {hidden} -> (r.schema_id || ' ' || coalesce({state}, ''))
                                   AS hidden OFFSET 0) AS seen
                     CROSS JOIN (SELECT {own} AS own
                                  UNION ALL
                                 SELECT {of_variant} FROM variants o
                                  WHERE o.workspace_id = $1 AND o.record_id = r.id) AS document
                     CROSS JOIN LATERAL jsonb_each(document.own) AS each
                     WHERE seen.kinds ? each.key AND seen.hidden ? each.key IS NOT TRUE) AS a
             CROSS JOIN LATERAL jsonb_array_elements(a.entries) AS e
             CROSS JOIN LATERAL jsonb_path_query(e -> 'value', '$[*]') AS v
             {stemmed}
             CROSS JOIN LATERAL (
                   SELECT CASE WHEN a.kind <> 'o'
                               THEN {folded_in_sql(text, arguments.folding)} END AS folded
                   OFFSET 0) AS f
             CROSS JOIN LATERAL (
                   SELECT CASE WHEN {is_looked_at}
                               THEN {spaced_in_sql("f.folded")} END AS text
                   OFFSET 0) AS s
             CROSS JOIN LATERAL (
                   SELECT to_tsvector('simple'::regconfig, s.text) AS plain,
                          CASE WHEN l.name IS NOT NULL
                               THEN to_tsvector(l.name::regconfig, s.text) END AS stemmed
                   ) AS w
        ) AS held"""  # noqa: S608 - the texts are constants, values are arguments


def views(
    blueprint: Blueprint, role: Role | None
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Schema -> what is searched in it; `schema state` -> what its state hides."""
    if role is None and (known := blueprint.derived.get(_VIEWS)) is not None:
        return known  # type: ignore[no-any-return]
    seen: dict[str, list[str]] = {}
    hidden: dict[str, list[str]] = {}
    for attribute in blueprint.attributes.values():
        if attribute.type not in TYPES:
            continue
        sight = sight_of(blueprint, role, attribute.id)
        for schema_id in sight.seen:
            seen.setdefault(schema_id, []).append(attribute.id)
        for states, schema_ids in sight.partly.items():
            for schema_id in schema_ids:
                seen.setdefault(schema_id, []).append(attribute.id)
                for state in states:
                    hidden.setdefault(f"{schema_id} {state}", []).append(attribute.id)
    if role is None:
        blueprint.derived[_VIEWS] = seen, hidden
    return seen, hidden


def _values(languages: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {each for segments in languages.values() for each in segments.values()}


def _chosen(term: Term, lists: str, arguments: Arguments) -> str:
    """The condition that the label of a chosen option has the term; `lists` are the large ones."""
    return f"""EXISTS (
        SELECT FROM unnest(held.options) AS c (c)
          JOIN option_values o
            ON o.workspace_id = $1 AND o.list_id = {lists} ->> split_part(c.c, '=', 1)
               AND o.id = substr(c.c, strpos(c.c, '=') + 1)
         CROSS JOIN LATERAL (SELECT o.label UNION ALL
                             SELECT each.value FROM jsonb_each_text(o.labels) AS each) AS l (label)
         WHERE {labelled(term, arguments)})"""  # noqa: S608


def large_lists(blueprint: Blueprint) -> dict[str, str]:
    """Attribute -> its list, of those lists whose options the model does not hold."""
    return {
        each.id: option_list.id
        for each in blueprint.attributes.values()
        if each.type is AttributeType.OPTION
        and (option_list := blueprint.option_lists.get(each.option_list_id or "")) is not None
        and option_list.is_large
    }


def labelled(term: Term, arguments: Arguments) -> str:
    """The condition that `l.label` has the term."""
    words = separated_in_sql("l.label", arguments.folding)
    sought = pattern("contains", f" {term.text}" if term.is_prefix else f" {term.text} ")
    return f"' ' || {words} || ' ' LIKE {arguments.name(sought, 'text')}"


@lru_cache(LABELS_KEPT)
def _words_of(label: str, folding: int) -> str:
    return separated(label, folding)


def _labels(blueprint: Blueprint) -> Sequence[tuple[str, str, str]]:
    """List, option and the words of its labels, of all options that the model holds."""
    known: Sequence[tuple[str, str, str]] | None = blueprint.derived.get(_LABELS)
    if known is None:
        folding = folding_in(blueprint)

        def words(option: Option) -> str:
            labels = (option.label, *(option.labels or {}).values())
            # Two spaces: no term begins in one label and ends in the next.
            return f" {'  '.join(_words_of(label, folding) for label in labels)} "

        known = [
            (option_list.id, option.id, words(option))
            for option_list in blueprint.option_lists.values()
            for option in option_list.values
        ]
        blueprint.derived[_LABELS] = known
    return known


def options_of(blueprint: Blueprint, term: Term) -> list[str]:
    """`attribute=option` for each option whose label has the term."""
    found: dict[str, list[str]] = {}
    sought = f" {term.text}" if term.is_prefix else f" {term.text} "
    for list_id, option_id, words in _labels(blueprint):
        if sought in words:
            found.setdefault(list_id, []).append(option_id)
    return [
        f"{attribute.id}={option}"
        for attribute in blueprint.attributes.values()
        if attribute.type is AttributeType.OPTION
        for option in found.get(attribute.option_list_id or "", ())
    ]
