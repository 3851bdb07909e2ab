"""What is known of an attribute whose stored values are being reserved, or released."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from records_service.schema_walks.model import Meanwhile, Walk

NO_WALK: Final = Walk(())
NOTHING_LEFT: Final = Meanwhile()


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
    """An attribute that is becoming unique, or was, and how far its values are reserved."""

    attribute_id: str
    phase: Phase
    walk: Walk = NO_WALK
    meanwhile: Meanwhile = NOTHING_LEFT
    duplicates: int = 0
