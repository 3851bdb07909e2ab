"""What is known of a deleted attribute whose values are being removed."""

from __future__ import annotations

from dataclasses import dataclass

from shared.database.listing import Position


@dataclass(frozen=True, slots=True)
class Removal:
    """A deleted attribute whose values are being removed from the records of some schemas.

    First come the records of all these schemas, then their variants. `schemas_done` of the first or
    the second are finished, counted on, and the next one up to the position `after`. What was
    written after the entry `last_change` of the history may have got values back.
    """

    attribute_id: str
    schema_ids: list[str]
    last_change: int
    schemas_done: int = 0
    after: Position | None = None
