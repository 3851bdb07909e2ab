"""What is known of an attribute whose stored values are being reserved, or released."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.database.listing import Position


class Phase(StrEnum):
    """What the job of an attribute is at."""

    CLAIMING = "claiming"
    """Stored values are reserved, one schema after the other."""
    SETTLING = "settling"
    """What was written meanwhile is looked at once more; then it is said how it ended."""
    RELEASING = "releasing"
    """The attribute is not unique any more, and values are still reserved."""


@dataclass(frozen=True, slots=True)
class Check:
    """An attribute that is becoming unique, or was.

    First come the records of all these schemas, then their variants. `schemas_done` of the first or
    the second are finished, counted on, and the next one up to the position `after`. What was
    written after the entry `last_change` of the history is looked at once more at the end.
    """

    attribute_id: str
    phase: Phase
    schema_ids: Sequence[str] = ()
    last_change: int = 0
    schemas_done: int = 0
    after: Position | None = None
    duplicates: int = 0
