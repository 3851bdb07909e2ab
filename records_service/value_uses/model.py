"""What a mark says: that an attribute may have values, anywhere or in a segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from records_service.model_objects.search_store import ValueTable

ANY_SCOPE: Final = ""
"""Stands for dimension and segment where a mark is about all values of an attribute."""


class Use(NamedTuple):
    """Records, or variants, may have values of this attribute in this segment."""

    table: ValueTable
    attribute_id: str
    dimension_id: str = ANY_SCOPE
    segment_id: str = ANY_SCOPE


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks that a question is about. What has none has no value.

    What has one may have lost its values since.
    """

    attribute_ids: Mapping[ValueTable, frozenset[str]]
    witnesses: Mapping[ValueTable, Sequence[str]]
    """Records and variants that had such a value when they were last heard of."""
    since: datetime | None
    """A time before which no such value was written; None where that is not known."""

    @property
    def all_attribute_ids(self) -> frozenset[str]:
        """The attributes with values in a record or a variant."""
        return frozenset().union(*self.attribute_ids.values())
