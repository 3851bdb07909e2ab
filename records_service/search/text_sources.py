"""A part of a text as a condition of a search by the index: what the index of texts finds."""

from __future__ import annotations

from dataclasses import dataclass

from records_service.attributes.model import AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.search.criteria import Comparison, Searched
from records_service.search.index_sources import Source, rows_with_terms
from records_service.search.sql import Arguments, exists, pattern
from records_service.search.text_index import BEHIND
from records_service.search_texts.documents import GRAM, gram_hashes
from records_service.search_texts.layouts import layout_in


@dataclass(frozen=True, slots=True)
class PartsOfTexts(Source):
    """The records in which a text of an attribute contains, begins with or ends with another."""

    workspace_id: str
    comparison: Comparison
    target: Searched

    @property
    def has_grams(self) -> bool:
        """Whether the text is long enough to be looked for."""
        return len(self.comparison.operands[0]) >= GRAM

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        text = self.comparison.operands[0]
        hashes = gram_hashes(self.workspace_id, self.target.attribute.id, text, sampled=sampled)
        parts = (
            "SELECT t.record_id, t.created_at FROM search_texts t WHERE t.workspace_id = $1"  # noqa: S608
            f" AND t.grams @> {arguments.name(hashes, 'int[]')}"
            f" AND {self._indexed(arguments)} AND t.record_id NOT IN ({BEHIND})"
            " UNION ALL SELECT r.id, r.created_at FROM records r WHERE r.workspace_id = $1"
            f" AND r.id IN ({BEHIND}) AND {exists(self.comparison, self.target, arguments)}"
        )
        found = (
            f"SELECT s.* FROM ({parts}) AS p CROSS JOIN LATERAL ("  # noqa: S608
            "SELECT s.record_id, s.created_at, s.schema_id, s.state_id FROM search_records s"
            " WHERE s.workspace_id = $1 AND s.created_at = p.created_at"
            f" AND s.record_id = p.record_id{' AND s.bucket = 0' if sampled else ''} OFFSET 0) AS s"
        )
        return rows_with_terms(found, with_terms, sampled)

    def met(self, arguments: Arguments) -> str:
        """The condition that the record of a row `s` is one of them."""
        return (
            "(EXISTS (SELECT FROM search_texts t WHERE t.workspace_id = $1"  # noqa: S608
            " AND t.created_at = s.created_at AND t.record_id = s.record_id"
            f" AND {self._indexed(arguments)} OFFSET 0) AND s.record_id NOT IN ({BEHIND})"
            f" OR s.record_id IN ({BEHIND}) AND EXISTS (SELECT FROM records r"
            " WHERE r.workspace_id = $1 AND r.id = s.record_id"
            f" AND {exists(self.comparison, self.target, arguments)} OFFSET 0))"
        )

    def _indexed(self, arguments: Arguments) -> str:
        sought = pattern(self.comparison.operation, self.comparison.operands[0])
        attribute = arguments.name(self.target.attribute.id, "text")
        return (
            "EXISTS (SELECT FROM unnest(t.folded_of, t.folded) AS p (of, p)"
            f" WHERE p.of = {attribute} AND p.p LIKE {arguments.name(sought, 'text')})"
        )


def parts_of_texts(
    blueprint: Blueprint, comparison: Comparison, target: Searched
) -> PartsOfTexts | None:
    """Where the records with this part are; None if the index of texts does not know it."""
    layout = layout_in(blueprint)
    if (
        layout is None
        or target.fields
        or target.type is not AttributeType.TEXT
        or target.attribute.id not in layout.filterable
    ):
        return None
    return PartsOfTexts(blueprint.workspace_id, comparison, target)
