"""Records and variants as they are stored, what a write leaves behind, and why it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from records_service.attributes.unique_keys import UniqueKey
from records_service.search_index.changes import IndexChange
from records_service.search_index.parts import Held
from records_service.search_index.terms import Indexed
from records_service.search_texts.notes import Note
from records_service.values.entries import Values
from shared.events import TRACE, Event
from shared.frozen import quick


@quick
class Record:
    """One stored record; `values` are keyed by attribute id."""

    workspace_id: str
    id: str
    schema_id: str
    state_id: str | None
    version: int
    values: Values
    created_at: datetime
    updated_at: datetime
    created_by: str
    updated_by: str
    external_key: str | None

    @property
    def held(self) -> Held:
        """The record as the search index has it."""
        return Held(self.created_at, self.id, self.schema_id, self.state_id)


@dataclass(frozen=True, slots=True)
class Variant:
    """One stored variant; `values` are those that it overrides, by attribute id.

    `parent_id` is the variant above it, None directly below the record. `path` leads from the
    record's own variant down to its parent; neither ever changes.
    """

    workspace_id: str
    id: str
    record_id: str
    schema_id: str
    parent_id: str | None
    path: Sequence[str]
    level: int
    version: int
    values: Values
    created_at: datetime
    updated_at: datetime
    created_by: str
    updated_by: str


@dataclass(frozen=True, slots=True)
class VariantsDelete:
    """What the deletion of variants of one record leaves behind, but for what differs by variant.

    `event` is the document of an event, completed for each variant by the statement that deletes
    it. `aliases` are id and alias of each attribute whose values its history tells, in order.
    """

    schema_id: str
    user_id: str
    at: datetime
    event: bytes
    aliases: Sequence[tuple[str, str]]


@quick
class Write:
    """What one write of a record or variant leaves behind besides it; `changes` is JSON."""

    action: str
    user_id: str
    at: datetime
    changes: bytes
    event: Event
    from_state_id: str | None = None
    to_state_id: str | None = None
    comment: str | None = None


@quick
class PendingCreate:
    """A new record with all that is stored beside it; `document` is its values as JSON.

    An id that a client chose may have been another record's before; a generated one was not. The
    statement makes the event of the record and of `changes`, which are JSON.
    """

    record: Record
    id_was_asked: bool
    document: bytes
    unique_keys: Sequence[UniqueKey]
    changes: bytes
    event_id: str
    indexed: Indexed | None = None
    """None where the workspace has no search index."""
    traceparent: str | None = field(default_factory=TRACE.get)
    """Of whoever creates it: the statement may be that of many."""


@quick
class PendingUpdate:
    """The next version of a record with all that is stored beside it.

    `record` is as it is afterwards, its version one more than the one read. `changed` are the
    entries of the attributes that are not as they were, by attribute id, and `removed` the ids of
    those that have none any more, None for no attribute; both are JSON.
    """

    record: Record
    changed: bytes
    removed: bytes | None
    released: Sequence[UniqueKey]
    added: Sequence[UniqueKey]
    write: Write
    index_change: IndexChange | None = None
    """None where nothing changes in the search index, or its state alone."""
    note: Note = Note.NOTHING
    """What the job of the index of texts may have to store anew."""


@dataclass(frozen=True, slots=True)
class PendingDelete:
    """A record that goes, as it was read, with all that is stored beside its end."""

    record: Record
    write: Write
    variants: VariantsDelete


class StaleModel(Exception):
    """The data model changed since the values were checked; the command starts again."""


class StaleRecord(Exception):
    """The record changed since it was read; the command starts again."""


class StripeExhausted(Exception):
    """This stripe of the counter has no place left; others may."""


class QuotaExceeded(Exception):
    """There is room for fewer records than are to be stored; `places` says for how many."""

    def __init__(self, places: int = 0) -> None:
        super().__init__(places)
        self.places = places
