"""How a write tells the index of texts what it has written.

Words take too long to be indexed in a write. So a write notes which records it has written, one row
for all of them, and a job brings the index up to date. Searches read the values of what is noted.
"""

from __future__ import annotations

from typing import Final

from records_service.attributes.model import AttributeType
from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.search_scores.scoring import scores_may_differ
from records_service.search_texts.sort_keys import sorts_may_differ
from records_service.values.entries import Values, replaced

INDEXED: Final = (AttributeType.TEXT, AttributeType.OPTION)
_INDEXED: Final = "search_texts"


def is_noted(schema: CompiledSchema, old: Values, new: Values) -> bool:
    """Whether the index of texts, a score or an order may be another one with the new values."""
    if not schema.is_indexed:
        return False
    differing = {i for i in replaced(old, new) if old.get(i) != new.get(i)}
    return (
        not _indexed(schema).isdisjoint(differing)
        or scores_may_differ(schema, old, new, differing)
        or sorts_may_differ(schema, differing)
    )


def _indexed(schema: CompiledSchema) -> frozenset[str]:
    """The attributes whose values the index holds."""
    indexed: frozenset[str] | None = schema.derived.get(_INDEXED)
    if indexed is None:
        indexed = frozenset(each.id for each in schema.attributes.values() if each.type in INDEXED)
        schema.derived[_INDEXED] = indexed
    return indexed


def noted(source: str) -> str:
    """The part of a statement that notes the records of `source`: `id` and `created_at`."""
    return f"""
        with_texts AS (
            INSERT INTO search_texts_behind (workspace_id, records, record_ids, created_at)
            SELECT $1, count(*), array_agg(written.id), array_agg(written.created_at)
              FROM {source} AS written
            HAVING count(*) > 0
            RETURNING 1
        )"""  # noqa: S608 - constants
