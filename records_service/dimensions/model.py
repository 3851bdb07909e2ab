"""A dimension, such as language or market, and its segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Self

from pydantic import Field
from typing_extensions import TypeAliasType

from records_service.parts.model import Alias, Body, Id, Kind, Name, Part
from shared.bounds import AtMost
from shared.shapes import Shape

SEGMENTS_MAX = 1_000
SELECTED_MAX = 50
DIMENSIONS_NAMED_MAX = 100

RESERVED_IDS = frozenset({"scope-matrix"})
"""At their paths is another endpoint."""

DIMENSION = Kind("dimensions", "dim", "Dimension", "/api/v1/dimensions")


Scope = TypeAliasType(
    "Scope",
    Annotated[
        dict[str, str],
        AtMost(DIMENSIONS_NAMED_MAX),
        Field(
            description=(
                "Where a value holds: dimension id -> segment id. `{}` is everywhere. A request may"
                " name both by alias."
            ),
            examples=[{"dim-language": "seg-en"}],
        ),
    ],
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One value of a dimension."""

    id: str
    alias: str
    name: str


@dataclass(frozen=True)
class Dimension:
    """Where values may differ; the default segment stands in when a scope names none."""

    id: str
    alias: str
    name: str
    default_segment_id: str
    segments: tuple[Segment, ...]

    @classmethod
    def parse(cls, part: Part) -> Self:
        """Read the stored form."""
        return cls(
            id=part.id,
            alias=part.alias,
            name=part.body["name"],
            default_segment_id=part.body["defaultSegmentId"],
            segments=tuple(Segment(s["id"], s["alias"], s["name"]) for s in part.body["segments"]),
        )

    @cached_property
    def segment_ids(self) -> frozenset[str]:
        """One set for all attributes that vary by it."""
        return frozenset(segment.id for segment in self.segments)

    @cached_property
    def segment_ids_by_name(self) -> Mapping[str, str]:
        """Id or alias of a segment -> its id; an alias that is also an id means that id."""
        return {
            **{segment.alias: segment.id for segment in self.segments},
            **{segment.id: segment.id for segment in self.segments},
        }


class SegmentDraft(Body):
    """A segment of a dimension."""

    id: Id | None = None
    """The id. Made by the server when it is left out."""
    alias: Alias
    name: Name
    """Shown to people."""
    is_default: bool | None = Field(default=None, alias="isDefault")
    """Whether this is the default segment; at most one is."""


class DimensionDraft(Body):
    """A whole dimension, for POST and PUT alike."""

    id: Id | None = None
    """The id. Made by the server when it is left out; a PUT may repeat it."""
    alias: Alias
    name: Name
    """Shown to people."""
    default_segment_id: str | None = Field(default=None, alias="defaultSegmentId")
    """Id or alias of the segment that counts when a scope names none. Required unless one of the
    segments has `isDefault`."""
    segments: Annotated[list[SegmentDraft], Field(min_length=1), AtMost(SEGMENTS_MAX)]
    """The segments, in order."""


class SegmentAnswer(Shape):
    """A segment of a dimension."""

    id: str
    """The id. It never changes."""
    alias: str
    """The name in URLs. Unique in the dimension."""
    name: str
    """Shown to people."""
    is_default: bool = Field(alias="isDefault")
    """Whether it is the default segment."""


class DimensionAnswer(Shape):
    """A dimension by which values may differ, and its segments."""

    id: str
    """The id. It never changes."""
    alias: str
    """The name in URLs and values. Unique in the workspace; it may be changed."""
    name: str
    """Shown to people."""
    default_segment_id: str = Field(alias="defaultSegmentId")
    """Id of the segment that counts when a scope names none."""
    segments: list[SegmentAnswer]
    """The segments, in order."""
    created_at: datetime = Field(alias="createdAt")
    """When it was created."""
    updated_at: datetime = Field(alias="updatedAt")
    """When it was last changed."""


class ScopeMatrixRequest(Body):
    """The dimensions to combine."""

    dimension_ids: Annotated[
        list[str],
        AtMost(SELECTED_MAX),
        Field(alias="dimensionIds", examples=[["dim-language", "dim-market"]]),
    ]
    """Ids or aliases of dimensions."""
