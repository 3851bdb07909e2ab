"""How a write tells the job of the index of texts what it has written.

Words, orders and scores take too long to be stored in a write. So a write notes which records it
has written, one row for all of them, and the job brings the rest up to date. Searches read the
values of what is noted.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from records_service.attributes.model import AttributeType
from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.search_scores.scoring import scores_may_differ
from records_service.search_texts.sort_keys import sorts_may_differ
from records_service.values.entries import Values, replaced

INDEXED: Final = (AttributeType.TEXT, AttributeType.OPTION)
_INDEXED: Final = "search_texts"


class Note(IntEnum):
    """What of a record the job may have to store anew after a write."""

    NOTHING = 0
    SCORES = 1
    """Nothing but scores: the usual case where a value that is not a text is filled in."""
    EVERYTHING = 2


def note_of(schema: CompiledSchema, old: Values, new: Values) -> Note:
    """What may be another one with the new values: the index of texts, orders, scores."""
    if not schema.is_indexed:
        return Note.NOTHING
    differing = {i for i in replaced(old, new) if old.get(i) != new.get(i)}
    if not _indexed(schema).isdisjoint(differing) or sorts_may_differ(schema, differing):
        return Note.EVERYTHING
    return Note.SCORES if scores_may_differ(schema, old, new, differing) else Note.NOTHING


def _indexed(schema: CompiledSchema) -> frozenset[str]:
    """The attributes whose values the index holds."""
    indexed: frozenset[str] | None = schema.derived.get(_INDEXED)
    if indexed is None:
        indexed = frozenset(each.id for each in schema.attributes.values() if each.type in INDEXED)
        schema.derived[_INDEXED] = indexed
    return indexed


def noted(source: str, note: Note = Note.EVERYTHING) -> str:
    """The part of a statement that notes the records of `source`: `id` and `created_at`."""
    return f"""
        with_texts AS (
            INSERT INTO search_texts_behind (workspace_id, records, record_ids, created_at,
                                             scores_only)
            SELECT $1, count(*), array_agg(written.id), array_agg(written.created_at),
                   {str(note is Note.SCORES).lower()}
              FROM {source} AS written
            HAVING count(*) > 0
            RETURNING 1
        )"""  # noqa: S608 - constants
