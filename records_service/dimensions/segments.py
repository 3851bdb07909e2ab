"""Validates the segments of a dimension, and determines its default segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from records_service.dimensions.model import Dimension, DimensionDraft
from records_service.model_objects.naming import said, settled
from shared.errors import ValidationError, Violation, truncated
from shared.ids import new_id

SCOPES_MAX = 10_000


def body_of(draft: DimensionDraft, old: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The dimension as it is stored and answered; raises `ValidationError`.

    A segment that is sent without id is the one of `old` with that alias, if there is one.
    """
    known = {} if old is None else {one["alias"]: one["id"] for one in old["segments"]}
    sent_ids = {segment.id for segment in draft.segments}
    segments = [
        {
            "id": segment.id or _unclaimed(known.get(segment.alias), sent_ids) or new_id("seg"),
            "alias": segment.alias,
            "name": segment.name,
            **said(segment),
        }
        for segment in draft.segments
    ]
    ValidationError.check(_repetitions(segments))
    default = _default_segment_id(draft, segments)
    body = {
        "name": draft.name,
        **said(draft),
        "defaultSegmentId": default,
        "segments": [{**segment, "isDefault": segment["id"] == default} for segment in segments],
    }
    return settled(body, old)


def scope_matrix(dimensions: Sequence[Dimension]) -> list[dict[str, str]]:
    """Every combination of their segments; one empty scope for no dimension."""
    combinations = prod(len(dimension.segments) for dimension in dimensions)
    if combinations > SCOPES_MAX:
        raise ValidationError.at(
            "/dimensionIds",
            f"The matrix would have {combinations} scopes, at most {SCOPES_MAX} are allowed",
        )
    choices = [
        [(dimension.id, segment.id) for segment in dimension.segments] for dimension in dimensions
    ]
    return [dict(pairs) for pairs in product(*choices)]


def removed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The ids of segments that the new body no longer has."""
    kept = {segment["id"] for segment in new["segments"]}
    return [segment["id"] for segment in old["segments"] if segment["id"] not in kept]


def _default_segment_id(draft: DimensionDraft, segments: Sequence[Mapping[str, str]]) -> str:
    """`defaultSegmentId`, or else the segment with `isDefault`; both must not disagree."""
    marked = [
        segment["id"]
        for segment, sent in zip(segments, draft.segments, strict=True)
        if sent.is_default
    ]
    if len(marked) > 1:
        raise ValidationError.at(
            "/segments", f"Only one segment can be the default, 'isDefault' marks {len(marked)}"
        )
    if draft.default_segment_id is None:
        if not marked:
            raise ValidationError.at("/defaultSegmentId", "Field 'defaultSegmentId' is required")
        return marked[0]
    named = _named(draft.default_segment_id, segments)
    if named is None:
        raise ValidationError.at(
            "/defaultSegmentId",
            "Field 'defaultSegmentId' must be one of the segments,"
            f" got '{truncated(draft.default_segment_id)}'",
        )
    if marked and marked != [named]:
        raise ValidationError.at(
            "/defaultSegmentId",
            f"Field 'defaultSegmentId' is '{truncated(named)}',"
            f" but 'isDefault' marks '{truncated(marked[0])}'",
        )
    return named


def _named(name: str, segments: Sequence[Mapping[str, str]]) -> str | None:
    """The id of the segment with this id or alias."""
    for key in ("id", "alias"):
        for segment in segments:
            if segment[key] == name:
                return segment["id"]
    return None


def _unclaimed(known_id: str | None, sent_ids: set[str | None]) -> str | None:
    """The id, unless another of the sent segments has it."""
    return None if known_id in sent_ids else known_id


def _repetitions(segments: Sequence[Mapping[str, str]]) -> Iterator[Violation]:
    for name in ("id", "alias"):
        seen: set[str] = set()
        for index, segment in enumerate(segments):
            if segment[name] in seen:
                yield Violation(
                    f"/segments/{index}/{name}",
                    f"Segment {name} '{truncated(segment[name])}' is used twice",
                )
            seen.add(segment[name])
