"""A full-text query as SELECTs over the index of texts.

They find the same as the condition of `full_text`, which is used on records that the index has not
reached yet. Rows of the index are named `t`; with a role that states hide attributes from, `r` is
their record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from records_service.attributes.model import AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.permissions.rules import Role
from records_service.search.full_text import full_text, large_lists, options_of
from records_service.search.sql import Arguments, pattern
from records_service.search.text_options import OPTIONS_MAX, has_chosen, options_labelled
from records_service.search.text_samples import Part
from records_service.search.text_sight import IS_LOST, TextSight
from records_service.search_texts.documents import (
    OF_VARIANT,
    keys_of_part,
    languages_of,
    level_in_sql,
    mark_of,
    option_key,
)
from records_service.search_texts.folding import folding_in
from records_service.search_texts.layouts import layout_in
from records_service.search_texts.store import quoted
from records_service.search_texts.words import PART_MIN, Term, tsquery
from shared.database import Conn, fetch_planned

SCORES_BEHIND: Final = (
    "SELECT unnest(b.record_ids) AS id FROM search_texts_behind b WHERE b.workspace_id = $1"
)
"""Records with any note: their stored scores may be outdated."""
BEHIND: Final = f"{SCORES_BEHIND} AND NOT b.scores_only"
"""Those of them that the index of texts and the orders have not reached."""

ASKED: Final = f"ARRAY[EXISTS ({BEHIND}), {IS_LOST}]"
"""What each statement asks of the workspace (`TextIndex.is_right`)."""
_EXPECTED: Final = "texts_expected"
_WORDS: Final = "SELECT unnest(t.attributes) AS of, unnest(t.words) AS w OFFSET 0"
_WORDS_ALONE: Final = "SELECT unnest(t.words) AS w OFFSET 0"
_FOLDED: Final = "SELECT unnest(t.folded_of) AS of, unnest(t.folded) AS f OFFSET 0"
"""What a row `t` has. In FROM itself, the function would take three times as long."""


class Expected(NamedTuple):
    """What a statement must be right for, though it may not be so."""

    is_behind: bool
    """Whether there are records that the index has not reached."""
    is_lost: bool
    """Whether rows may have texts that their schema has not (`IS_LOST`)."""


ANYTHING: Final = Expected(is_behind=True, is_lost=True)


@dataclass(frozen=True, slots=True)
class _Keys:
    """Expressions of `tsquery` over the keys of a row."""

    all: str
    """What all rows have that are found."""
    words: Sequence[str]
    """For each term, its words; of a phrase in any order."""
    others: Sequence[str]
    """For each term, by what else it may be found: nothing, or options and parts of codes."""


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
        self._sight = TextSight(blueprint, role)
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
        self.is_behind = True
        """Whether there may be records that the index has not reached."""
        self.expect(blueprint.derived.get(_EXPECTED, ANYTHING))
        layout = layout_in(blueprint)
        self.is_ready = (
            layout is not None
            and layout.languages == languages
            and layout.codes.issuperset(self._codes)
        )
        """Whether the index knows what is asked."""

    @property
    def expected(self) -> Expected:
        """For which workspaces the statements are made."""
        return Expected(self.is_behind, self._sight.is_lost)

    def expect(self, expected: Expected) -> None:
        """Make statements for a workspace of which this is so.

        If nothing is behind, and nothing lost, they are planned in half the time. So a search
        expects what the one before it was told, and asks in each statement whether it is true.
        """
        self.is_behind, self._sight.is_lost = expected

    def is_right(self, expected: Expected, told: Sequence[bool]) -> bool:
        """Whether a statement made for what was `expected` is right, where `ASKED` says `told`.

        If it is not, one that is made anew is right in any case.
        """
        is_behind, is_lost = told
        self._blueprint.derived[_EXPECTED] = Expected(is_behind, is_lost)
        is_right = is_behind <= expected.is_behind and is_lost <= expected.is_lost
        self.expect(Expected(is_behind, is_lost) if is_right else ANYTHING)
        return is_right

    async def learn(self, conn: Conn) -> bool:
        """Find the options of large lists whose labels have the terms.

        False if a term is in the labels of too many options to look for them.
        """
        lists = sorted(set(self._large.values()))
        for term in self._terms if lists else ():
            arguments = Arguments([self._blueprint.workspace_id])
            arguments.folding = folding_in(self._blueprint)
            rows = await fetch_planned(conn, options_labelled(term, lists, arguments), *arguments)
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

    def arguments(self, *, with_state: bool) -> Arguments:
        """The first arguments of a statement that reads the state of records, or does not."""
        moves = self._blueprint.state_moves if with_state or self._sight.needs_state else {}
        return Arguments.of(
            self._blueprint.workspace_id,
            moves,
            settles=bool(self._blueprint.settling),
            folding=folding_in(self._blueprint),
        )

    def found(self, arguments: Arguments) -> str:
        """A SELECT of `id` and `created_at` of all that the index finds."""
        queries = self._queries(arguments)
        keys = self._keys(0, queries, arguments)
        condition = self._condition(queries, keys, arguments, are_candidates=True)
        return (
            "SELECT t.record_id AS id, t.created_at"  # noqa: S608
            f" FROM {self._sight.rows(arguments, is_asked_once=True)}"
            f" WHERE t.workspace_id = $1 AND t.keys @@ ({keys.all}) AND {condition}"
        )

    def some(self, part: Part, candidates_max: int, arguments: Arguments) -> str:
        """A SELECT of what the index finds among so many candidates of a part of a sample."""
        queries = self._queries(arguments)
        keys = self._keys(part.level, queries, arguments)
        rows = (
            "SELECT t.* FROM search_texts t"  # noqa: S608
            f" WHERE {self._in_part(part, keys, arguments)} LIMIT {candidates_max}"
        )
        return (
            f"SELECT 1 AS one FROM {self._sight.rows(arguments, f'({rows}) AS t')}"  # noqa: S608
            f" WHERE {self._condition(queries, keys, arguments, are_candidates=True)}"
        )

    def ranked(self, part: Part | None, arguments: Arguments) -> str:
        """A SELECT of `id`, `created_at` and `rank` of what the index finds, or finds in a part."""
        queries = self._queries(arguments)
        keys = self._keys(0 if part is None else part.level, queries, arguments)
        condition = self._condition(queries, keys, arguments, are_known=True)
        where = f"t.workspace_id = $1 AND t.keys @@ ({keys.all})"
        if part is not None:
            where = self._in_part(part, keys, arguments)
        return f"{self._with_rank(queries, arguments)} WHERE {where} AND {condition}"

    def _in_part(self, part: Part, keys: _Keys, arguments: Arguments) -> str:
        """The condition that a row `t` is a candidate of a part of a sample.

        PostgreSQL combines both indexes for it, unless it took the keys for rarer than they are: as
        of a value that it does not know, it expects them in one of a thousand rows.
        """
        return (
            f"{self._in_schema('t', arguments)}t.workspace_id = $1"
            f" AND {part.inside('t')} AND t.keys @@ (SELECT {keys.all})"
        )

    def _with_rank(self, queries: Sequence[str], arguments: Arguments) -> str:
        ranks = " + ".join(f"coalesce(h.rank_{number}, 0)" for number in self._wanted())
        return (
            f"SELECT t.record_id AS id, t.created_at, ({ranks})::float8 AS rank"  # noqa: S608
            f" FROM {self._sight.rows(arguments)}"
            f" CROSS JOIN LATERAL ({self._ranks(queries)} OFFSET 0) AS h"
        )

    def candidates(self, part: Part, arguments: Arguments) -> str:
        """A SELECT of `id` and `created_at` of what has the words, in any order, in a part."""
        # An argument that stands nowhere has no type.
        queries = ["" if term.excluded else self._query(term, arguments) for term in self._terms]
        keys = self._keys(part.level, queries, arguments)
        return (
            "SELECT t.record_id AS id, t.created_at FROM search_texts t"  # noqa: S608
            f" WHERE {self._in_part(part, keys, arguments)}"
        )

    def walked(self, position: str, rows: int, arguments: Arguments) -> str:
        """A SELECT of `id`, `created_at` and `is_candidate`, oldest first, after a position."""
        queries = ["" if term.excluded else self._query(term, arguments) for term in self._terms]
        keys = self._keys(0, queries, arguments)
        return (
            "SELECT t.record_id AS id, t.created_at,"  # noqa: S608
            f" {self._in_schema('t', arguments)}t.keys @@ ({keys.all}) AS is_candidate"
            f" FROM search_texts t WHERE t.workspace_id = $1{position}"
            f" ORDER BY t.created_at, t.record_id LIMIT {rows}"
        )

    def met(self, row: str, arguments: Arguments) -> str:
        """A SELECT of `id` and `created_at` of a candidate of this row, if it is found."""
        queries = self._queries(arguments)
        keys = self._keys(0, queries, arguments, of_words=True)
        return (
            f"SELECT t.record_id AS id, t.created_at FROM {self._sight.rows(arguments)}"  # noqa: S608
            f" WHERE {_same(row)} AND {self._condition(queries, keys, arguments)}"
        )

    def outside(self, part: Part, arguments: Arguments) -> str:
        """A SELECT of `id` and `created_at` of what is found outside of a part of a sample.

        It has no condition for the index of keys, and can be walked in the order of creation.
        """
        queries = self._queries(arguments)
        keys = self._keys(0, queries, arguments, of_words=True)
        return (
            f"SELECT t.record_id AS id, t.created_at FROM {self._sight.rows(arguments)}"  # noqa: S608
            f" WHERE t.workspace_id = $1 AND {part.outside('t.level', 't.record_id')}"
            f" AND {self._condition(queries, keys, arguments)}"
        )

    def behind(self, arguments: Arguments, *, with_rank: bool = True) -> str:
        """A SELECT of `id`, `created_at`, `level` and `rank`, of what the index has not reached."""
        if not self.is_behind:
            return (
                "SELECT NULL::text AS id, NULL::timestamptz AS created_at, 0 AS level,"
                " 0::float8 AS rank WHERE false"
            )
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

    def _queries(self, arguments: Arguments) -> list[str]:
        """Each term as an expression of a `tsquery`."""
        return [self._query(term, arguments) for term in self._terms]

    def _query(self, term: Term, arguments: Arguments) -> str:
        return tsquery(term, self._configurations, arguments.name(term.text, "text"))

    def _keys(
        self,
        level: int,
        queries: Sequence[str],
        arguments: Arguments,
        *,
        of_words: bool = False,
    ) -> _Keys:
        """The keys in a sample: all, or those of words alone."""
        mark = mark_of(self._blueprint.workspace_id, level)
        named = arguments.name(mark, "text")
        words, others, found = [], [], []
        for term, query in zip(self._terms, queries, strict=True):
            # The words of a phrase, without its order, and each of them under the mark.
            unordered = f"regexp_replace(({query})::text, '<(-|[0-9]+)>', '&', 'g')"
            marked = f"regexp_replace({unordered}, '''([^'']+)''', '''' || {named} || '\\1''', 'g')"
            words.append(f"{marked}::tsquery")
            if term.excluded or of_words:
                others.append("")
                continue
            ways = [quoted(option_key(mark, each)) for each in self._options[term]]
            if len(term.part) >= PART_MIN and self._codes:
                ways.append(f"({' & '.join(map(quoted, keys_of_part(mark, term.part)))})")
            others.append(f"{arguments.name(' | '.join(ways), 'text')}::tsquery" if ways else "")
            found.append(f"({words[-1]} || {others[-1]})" if ways else words[-1])
        return _Keys(" && ".join(found), words, others)

    def _condition(
        self,
        queries: Sequence[str],
        keys: _Keys,
        arguments: Arguments,
        *,
        are_known: bool = False,
        are_candidates: bool = False,
    ) -> str:
        """The condition that a row `t` has all terms, as far as its record is seen.

        `are_known`: a row `h` has the ranks of words. `are_candidates`: it has `keys.all`.
        """
        conditions = []
        for number, (term, query) in enumerate(zip(self._terms, queries, strict=True)):
            # Options first: to look at the keys or words of a row takes several times as long.
            ways = has_chosen(self._options[term], self._sight.visible, arguments)
            if are_known and not term.excluded:
                ways.append(f"h.rank_{number} IS NOT NULL")
            else:
                # A word, not a phrase, is in some text that is seen, if all are seen: its key tells
                # it in less time.
                is_told = f"({query})::text !~ '[&<]' AND {self._sight.are_all_seen}"
                key = f"t.keys @@ {keys.words[number]}"
                if are_candidates and not term.excluded:
                    key = self._by_its_words(key, keys.others[number])
                ways.append(f"CASE WHEN {is_told} THEN {key} ELSE {self._words(query)} END")
            if len(term.part) >= PART_MIN and self._codes:
                part = arguments.name(pattern("contains", term.part), "text")
                codes = arguments.name(self._codes, "text[]")
                attribute = f"ltrim(f.of, '{OF_VARIANT}')"
                ways.append(
                    f"EXISTS (SELECT FROM ({_FOLDED}) AS f"
                    f" WHERE f.f LIKE {part} AND {attribute} = ANY({codes})"
                    f" AND {self._sight.visible(attribute)})"
                )
            found = f"({' OR '.join(ways)})"
            conditions.append(f"NOT {found}" if term.excluded else found)
        behind = f"t.record_id NOT IN ({BEHIND}) AND " if self.is_behind else ""
        return f"{self._in_schema('t', arguments)}{behind}{' AND '.join(conditions)}"

    @staticmethod
    def _by_its_words(key: str, others: str) -> str:
        """The condition that a candidate has the keys of the words of a term.

        It has no others where no record at all has them: then its keys need not be read.
        """
        if not others:
            return "true"
        some = f"SELECT FROM search_texts o WHERE o.workspace_id = $1 AND o.keys @@ {others}"
        return f"(NOT EXISTS ({some}) OR {key})"

    def _wanted(self) -> list[int]:
        return [number for number, term in enumerate(self._terms) if not term.excluded]

    def _ranks(self, queries: Sequence[str]) -> str:
        """A SELECT of the rank of each term in the words of a row `t`; NULL where it is in none."""
        ranks = ", ".join(
            f"sum(ts_rank(w.w, {queries[number]})) FILTER (WHERE w.w @@ {queries[number]})"
            f" AS rank_{number}"
            for number in self._wanted()
        )
        if self._sight.is_plain:
            return f"SELECT {ranks} FROM ({_WORDS_ALONE}) AS w"  # noqa: S608
        return (
            f"SELECT {ranks} FROM ({_WORDS}) AS w"  # noqa: S608
            f" WHERE v.are_all_seen OR {self._sight.visible('w.of')}"
        )

    def _words(self, query: str) -> str:
        """The condition that a row `t` has words that are seen."""
        if self._sight.is_plain:
            return f"EXISTS (SELECT FROM ({_WORDS_ALONE}) AS w WHERE w.w @@ {query})"
        visible = self._sight.visible("w.of")
        return f"EXISTS (SELECT FROM ({_WORDS}) AS w WHERE w.w @@ {query} AND {visible})"

    def _in_schema(self, row: str, arguments: Arguments) -> str:
        if self._schema_id is None:
            return ""
        return f"{row}.schema_id = {arguments.name(self._schema_id, 'text')} AND "


def _same(row: str) -> str:
    """The condition that a row `t` is of the record of another row."""
    return f"t.workspace_id = $1 AND t.created_at = {row}.created_at AND t.record_id = {row}.id"
