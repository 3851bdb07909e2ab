"""A full-text query as SELECTs over the index of texts.

They find the same as the condition of `full_text`, which is used on records that the index has not
reached yet. Rows of the index are named `t`; with a role that states hide attributes from, `r` is
their record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from records_service.attributes.model import AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.permissions.rules import Role
from records_service.search.full_text import (
    full_text,
    labelled,
    large_lists,
    options_of,
    views,
)
from records_service.search.sql import Arguments, pattern
from records_service.search_texts.documents import (
    OF_VARIANT,
    languages_of,
    level_in_sql,
    mark_of,
    option_key,
    part_keys,
)
from records_service.search_texts.layouts import layout_in
from records_service.search_texts.store import quoted
from records_service.search_texts.words import PART_MIN, Term, tsquery
from shared.database import Conn, fetch_planned

OPTIONS_MAX: Final = 2_000
"""Options of which the labels have a term. Where there are more, records are read instead."""
BEHIND: Final = (
    "SELECT unnest(b.record_ids) AS id FROM search_texts_behind b WHERE b.workspace_id = $1"
)


class TextIndex:
    """What one caller asks in one version of the data model."""

    def __init__(
        self,
        terms: Sequence[Term],
        blueprint: Blueprint,
        role: Role | None,
        schema_id: str | None,
    ) -> None:
        self._terms = terms
        self._blueprint = blueprint
        self._role = role
        self._schema_id = schema_id
        self._seen, self._hidden = views(blueprint, role)
        languages = languages_of(blueprint.dimensions.values())
        self._configurations = sorted(
            {"simple", *(name for segments in languages.values() for name in segments.values())}
        )
        self._options = {term: options_of(blueprint, term) for term in terms}
        self._large = large_lists(blueprint)
        self._codes = sorted(
            each.id
            for each in blueprint.attributes.values()
            if each.type is AttributeType.TEXT and each.validation.unique
        )
        layout = layout_in(blueprint)
        self.is_ready = (
            layout is not None
            and layout.languages == languages
            and layout.codes.issuperset(self._codes)
        )
        """Whether the index knows what is asked."""

    async def learn(self, conn: Conn) -> bool:
        """Find the options of large lists whose labels have the terms.

        False if a term is in the labels of too many options to look for them.
        """
        lists = sorted(set(self._large.values()))
        for term in self._terms if lists else ():
            arguments = Arguments([self._blueprint.workspace_id])
            rows = await fetch_planned(conn, self._labelled(term, lists, arguments), *arguments)
            self._options[term] = [
                *options_of(self._blueprint, term),
                *(
                    f"{attribute}={row['id']}"
                    for attribute, list_id in self._large.items()
                    for row in rows
                    if row["list_id"] == list_id
                ),
            ]
        return all(len(options) <= OPTIONS_MAX for options in self._options.values())

    def _labelled(self, term: Term, lists: Sequence[str], arguments: Arguments) -> str:
        """A SELECT of the options of these lists whose labels have the term."""
        word = arguments.name(pattern("contains", term.words[0]), "text")
        # A label of ASCII alone needs no folding: for nearly all of them that is told at once.
        plain = f"(octet_length(l.label) <> length(l.label) OR lower(l.label) LIKE {word})"
        return (
            "SELECT o.list_id, o.id FROM option_values o"  # noqa: S608
            f" WHERE o.workspace_id = $1 AND o.list_id = ANY({arguments.name(lists, 'text[]')})"
            " AND EXISTS (SELECT FROM (SELECT o.label UNION ALL"
            " SELECT each.value FROM jsonb_each_text(o.labels) AS each) AS l (label)"
            f" WHERE {plain} AND {labelled(term, arguments)}) LIMIT {OPTIONS_MAX + 1}"
        )

    def arguments(self, *, with_state: bool) -> Arguments:
        """The first arguments of a statement that reads the state of records, or does not."""
        moves = self._blueprint.state_moves if with_state or self._hidden else {}
        return Arguments.of(
            self._blueprint.workspace_id, moves, settles=bool(self._blueprint.settling)
        )

    def indexed(self, level: int, arguments: Arguments, *, with_rank: bool = True) -> str:
        """A SELECT of `id`, `created_at` and `rank` of what the index finds in a sample of it."""
        queries = self._queries(arguments)
        source = self._from(arguments)
        rank = ""
        if with_rank:
            source += f" CROSS JOIN LATERAL ({self._words_found(queries)} OFFSET 0) AS h"
            ranks = (f"h.rank_{number}" for number in self._wanted())
            rank = f", ({' + '.join(ranks)})::float8 AS rank"
        keys, words = self._keys(level, queries, arguments)
        condition = self._condition(queries, arguments, are_known=with_rank, keys=words)
        return (
            f"SELECT t.record_id AS id, t.created_at{rank} FROM {source}"  # noqa: S608
            f" WHERE t.workspace_id = $1 AND t.keys @@ ({keys}) AND {condition}"
        )

    def candidates(self, level: int, arguments: Arguments) -> str:
        """A SELECT of `id` and `created_at` of what has all words, in any order, in a sample."""
        # An argument that stands nowhere has no type.
        queries = ["" if term.excluded else self._query(term, arguments) for term in self._terms]
        keys, _ = self._keys(level, queries, arguments)
        return (
            "SELECT t.record_id AS id, t.created_at FROM search_texts t"  # noqa: S608
            f" WHERE {self._in_schema('t', arguments)}t.workspace_id = $1 AND t.keys @@ ({keys})"
        )

    def met(self, row: str, arguments: Arguments) -> str:
        """A SELECT of `id` and `created_at` of a candidate of this row, if it is found."""
        return (
            f"SELECT t.record_id AS id, t.created_at FROM {self._from(arguments)}"  # noqa: S608
            f" WHERE t.workspace_id = $1 AND t.created_at = {row}.created_at"
            f" AND t.record_id = {row}.id"
            f" AND {self._condition(self._queries(arguments), arguments)}"
        )

    def outside(self, level: int, arguments: Arguments) -> str:
        """A SELECT of `id` and `created_at` of what is found outside of a sample.

        It has no condition for the index of keys, and can be walked in the order of creation.
        """
        queries = self._queries(arguments)
        return (
            f"SELECT t.record_id AS id, t.created_at FROM {self._from(arguments)}"  # noqa: S608
            f" WHERE t.workspace_id = $1 AND t.level < {level}"
            f" AND {self._condition(queries, arguments)}"
        )

    def behind(self, arguments: Arguments, *, with_rank: bool = True) -> str:
        """A SELECT of `id`, `created_at`, `level` and `rank`, of what the index has not reached."""
        found = full_text(self._terms, self._blueprint, self._role, arguments)
        rank = f", {found.rank} AS rank" if with_rank else ""
        return (
            f"SELECT r.id, r.created_at, {level_in_sql('r.id')} AS level"  # noqa: S608
            f"{rank}"
            f" FROM (SELECT DISTINCT id FROM ({BEHIND}) AS noted) AS noted"
            " JOIN records r ON r.workspace_id = $1 AND r.id = noted.id"
            f" {found.source}"
            f" WHERE {self._in_schema('r', arguments)}{found.condition}"
        )

    def _from(self, arguments: Arguments) -> str:
        """The rows `t`, each with `v`: which attributes are seen of it, and which are hidden."""
        source = "search_texts t"
        views = f"{_document(self._seen, arguments)} -> t.schema_id AS seen"
        if self._hidden:
            source += " JOIN records r ON r.workspace_id = $1 AND r.id = t.record_id"
            place = f"t.schema_id || ' ' || coalesce({arguments.state}, '')"
            views += f", {_document(self._hidden, arguments)} -> ({place}) AS hidden"
        return f"{source} CROSS JOIN LATERAL (SELECT {views} OFFSET 0) AS v"

    def _queries(self, arguments: Arguments) -> list[str]:
        """Each term as an expression of a `tsquery`."""
        return [self._query(term, arguments) for term in self._terms]

    def _query(self, term: Term, arguments: Arguments) -> str:
        return tsquery(term, self._configurations, arguments.name(term.text, "text"))

    def _keys(
        self, level: int, queries: Sequence[str], arguments: Arguments
    ) -> tuple[str, list[str]]:
        """A `tsquery` of the keys that all have that are found; and for each term, of its words."""
        mark = mark_of(self._blueprint.workspace_id, level)
        named = arguments.name(mark, "text")
        found, of_words = [], []
        for term, query in zip(self._terms, queries, strict=True):
            if term.excluded:
                of_words.append("")
                continue
            # The words of a phrase, without its order, and each of them under the mark.
            words = f"regexp_replace(({query})::text, '<(-|[0-9]+)>', '&', 'g')"
            marked = (
                f"regexp_replace({words}, '''([^'']+)''', '''' || {named} || '\\1''', 'g')::tsquery"
            )
            of_words.append(marked)
            ways = [quoted(option_key(mark, each)) for each in self._options[term]]
            if len(term.part) >= PART_MIN and self._codes:
                ways.append(f"({' & '.join(map(quoted, sorted(part_keys(mark, term.part))))})")
            if ways:
                marked = f"({marked} || {arguments.name(' | '.join(ways), 'text')}::tsquery)"
            found.append(marked)
        return " && ".join(found), of_words

    def _condition(
        self,
        queries: Sequence[str],
        arguments: Arguments,
        *,
        are_known: bool = False,
        keys: Sequence[str] = (),
    ) -> str:
        """The condition that a row `t` has all terms, as far as its record is seen.

        `are_known`: a row `h` tells which of them are words of it. `keys` are those of their words.
        """
        conditions = []
        for number, (term, query) in enumerate(zip(self._terms, queries, strict=True)):
            is_known = are_known and not term.excluded
            ways = [f"h.has_{number}" if is_known else self._words(f"w.w @@ {query}")]
            if not is_known and keys and keys[number] and not self._hidden:
                # A word, not a phrase, is in some text that is seen, if all are seen: its key tells
                # it in less time.
                is_word = f"({query})::text !~ '[&<]'"
                whole = f"{is_word} AND v.seen ?& t.attributes AND t.keys @@ {keys[number]}"
                ways.insert(0, whole)
            options = self._options[term]
            if options:
                named = arguments.name(options, "text[]")
                visible = self._visible("split_part(o.o, '=', 1)")
                ways.append(
                    f"EXISTS (SELECT FROM unnest(t.options) AS o (o)"
                    f" WHERE o.o = ANY({named}) AND {visible})"
                )
            if len(term.part) >= PART_MIN and self._codes:
                part = arguments.name(pattern("contains", term.part), "text")
                codes = arguments.name(self._codes, "text[]")
                attribute = f"ltrim(f.of, '{OF_VARIANT}')"
                ways.append(
                    "EXISTS (SELECT FROM unnest(t.folded_of, t.folded) AS f (of, f)"
                    f" WHERE f.f LIKE {part} AND {attribute} = ANY({codes})"
                    f" AND {self._visible(attribute)})"
                )
            found = f"({' OR '.join(ways)})"
            conditions.append(f"NOT {found}" if term.excluded else found)
        behind = f"t.record_id NOT IN ({BEHIND})"
        return f"{self._in_schema('t', arguments)}{behind} AND {' AND '.join(conditions)}"

    def _wanted(self) -> list[int]:
        return [number for number, term in enumerate(self._terms) if not term.excluded]

    def _words_found(self, queries: Sequence[str]) -> str:
        """A SELECT of which terms are words of a row `t`, and of their ranks, in one pass."""
        found = ", ".join(
            f"coalesce(sum(ts_rank(w.w, {query})), 0) AS rank_{number},"
            f" coalesce(bool_or(w.w @@ {query}), false) AS has_{number}"
            for number, query in enumerate(queries)
            if number in self._wanted()
        )
        return (
            f"SELECT {found} FROM unnest(t.attributes, t.words) AS w (of, w)"  # noqa: S608
            f" WHERE {self._visible('w.of')}"
        )

    def _words(self, condition: str) -> str:
        return (
            "EXISTS (SELECT FROM unnest(t.attributes, t.words) AS w (of, w)"
            f" WHERE {condition} AND {self._visible('w.of')})"
        )

    def _visible(self, attribute: str) -> str:
        """The condition that the caller sees this attribute of the record of `t`."""
        hidden = f" AND v.hidden ? {attribute} IS NOT TRUE" if self._hidden else ""
        return f"v.seen ? {attribute}{hidden}"

    def _in_schema(self, row: str, arguments: Arguments) -> str:
        if self._schema_id is None:
            return ""
        return f"{row}.schema_id = {arguments.name(self._schema_id, 'text')} AND "


def _document(value: object, arguments: Arguments) -> str:
    return f"{arguments.name(orjson.dumps(value).decode(), 'text')}::jsonb"
