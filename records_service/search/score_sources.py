"""Completeness in a search by the index: the stored scores, and those that are being worked out.

What writes have noted is behind, until a job has scored it (`search_scores/scoring.py`). Stored
scores of these records do not count: theirs are worked out in the same statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from records_service.search.criteria import Comparison
from records_service.search.index_joins import Condition, Way
from records_service.search.index_sources import Source, rows_with_terms
from records_service.search.scored import Scored
from records_service.search.sql import Arguments, of_score
from records_service.search.text_index import SCORES_BEHIND

_STORED: Final = "FROM search_scores n WHERE n.workspace_id = $1"


def rows_behind(behind: str, row: str = "r") -> str:
    """What follows SELECT: the records that are behind, and their rows `s` of the index."""
    return (
        f"FROM records {row} JOIN search_records s ON s.workspace_id = $1"
        f" AND s.created_at = {row}.created_at AND s.record_id = {row}.id"
        f" WHERE {row}.workspace_id = $1 AND {row}.id IN ({behind})"
    )


@dataclass(frozen=True, slots=True)
class Scores(Source):
    """The records whose score compares so."""

    comparison: Comparison
    target: Scored

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        sample = " AND {}.bucket = 0" if sampled else ""
        view = arguments.name(self.target.view, "bigint")
        stored = (
            f"SELECT n.record_id, n.created_at, n.schema_id, n.state_id {_STORED}"
            f" AND n.view = {view} AND {of_score(self.comparison, 'n.score', arguments)}"
            f" AND n.record_id NOT IN ({SCORES_BEHIND}){sample.format('n')}"
        )
        met = of_score(self.comparison, self.target.sql(arguments), arguments)
        behind = (
            "SELECT s.record_id, s.created_at, s.schema_id, s.state_id"
            f" {rows_behind(SCORES_BEHIND)}{sample.format('s')} AND {met}"
        )
        return rows_with_terms(f"{stored} UNION ALL {behind}", with_terms, sampled)

    def met(self, arguments: Arguments) -> str:
        """The condition that the record of a row `s` is one of them."""
        return of_score(self.comparison, score_of(self.target, arguments), arguments)


def by_score(comparison: Comparison, target: Scored) -> Condition:
    """The condition, with the way to the records that meet it if their scores are stored."""
    if target.view is None:

        def in_record(arguments: Arguments) -> str:
            arguments.reads.add("records")
            return of_score(comparison, target.sql(arguments), arguments)

        return Condition(in_record)
    source = Scores(comparison, target)
    return Condition(source.met, (Way(source, lambda _: "true"),))


def score_of(target: Scored, arguments: Arguments) -> str:
    """The score of the record of a row `s`."""
    return (
        f"CASE WHEN s.record_id IN ({SCORES_BEHIND}) THEN"  # noqa: S608
        f" (SELECT {target.sql(arguments)} FROM records r WHERE r.workspace_id = $1"
        " AND r.id = s.record_id OFFSET 0)"
        f" ELSE (SELECT n.score {_STORED} AND n.created_at = s.created_at"
        f" AND n.record_id = s.record_id AND n.view = {arguments.name(target.view, 'bigint')}"
        " OFFSET 0) END"
    )
