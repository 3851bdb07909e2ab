"""A dimension, such as language or market, and its segments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Self

from pydantic import BaseModel, Field

from records_service.parts.model import Alias, Body, Id, Kind, Name, Part

SEGMENTS_MAX = 1_000
SELECTED_MAX = 50

DIMENSION = Kind("dimensions", "dim", "Dimension", "/api/v1/dimensions")


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


class SegmentDraft(Body):
    """A segment as it is sent."""

    id: Id | None = None
    alias: Alias
    name: Name
    is_default: bool | None = Field(default=None, alias="isDefault")


class DimensionDraft(Body):
    """A dimension as it is sent; PUT takes all of it."""

    id: Id | None = None
    alias: Alias
    name: Name
    default_segment_id: str | None = Field(default=None, alias="defaultSegmentId")
    segments: Annotated[list[SegmentDraft], Field(min_length=1, max_length=SEGMENTS_MAX)]


class SegmentAnswer(BaseModel):
    """A segment as it is answered."""

    id: str
    alias: str
    name: str
    is_default: bool = Field(alias="isDefault")


class DimensionAnswer(BaseModel):
    """A dimension as it is answered."""

    id: str
    alias: str
    name: str
    default_segment_id: str = Field(alias="defaultSegmentId")
    segments: list[SegmentAnswer]
    created_at: datetime = Field(alias="createdAt")
    updated_at: datetime = Field(alias="updatedAt")


class ScopeMatrixRequest(Body):
    """Which dimensions to combine."""

    dimension_ids: Annotated[list[str], Field(alias="dimensionIds", max_length=SELECTED_MAX)]
