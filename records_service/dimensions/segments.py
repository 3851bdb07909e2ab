"""Which segments does a dimension have, and which one is the default?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from records_service.dimensions.model import Dimension, DimensionDraft
from shared.errors import ValidationError
from shared.ids import new_id

SCOPES_MAX = 10_000


def body_of(draft: DimensionDraft) -> dict[str, Any]:
    """The dimension as it is stored and answered; raises `ValidationError`.

    `defaultSegmentId` rules; where only `isDefault` is sent, it is derived from that; where both
    disagree, or nothing says which one, the request is refused (C14).
    """
    segments = [
        {"id": segment.id or new_id("seg"), "alias": segment.alias, "name": segment.name}
        for segment in draft.segments
    ]
    _check_distinct(segments, "id")
    _check_distinct(segments, "alias")
    marked = [
        segment["id"]
        for segment, sent in zip(segments, draft.segments, strict=True)
        if sent.is_default
    ]
    default = draft.default_segment_id
    if default is None:
        if len(marked) != 1:
            raise ValidationError.at(
                "/defaultSegmentId",
                "Field 'defaultSegmentId' is required"
                if not marked
                else f"Only one segment can be the default, got {len(marked)}",
            )
        default = marked[0]
    elif default not in [segment["id"] for segment in segments]:
        raise ValidationError.at(
            "/defaultSegmentId",
            f"Field 'defaultSegmentId' must be one of the segments, got '{default[:128]}'",
        )
    elif marked and marked != [default]:
        raise ValidationError.at(
            "/defaultSegmentId",
            f"Field 'defaultSegmentId' is '{default}', but 'isDefault' marks '{marked[0]}'",
        )
    return {
        "name": draft.name,
        "defaultSegmentId": default,
        "segments": [{**segment, "isDefault": segment["id"] == default} for segment in segments],
    }


def scope_matrix(dimensions: Sequence[Dimension]) -> list[dict[str, str]]:
    """Every combination of their segments; one empty scope for no dimension."""
    combinations = prod(len(dimension.segments) for dimension in dimensions)
    if combinations > SCOPES_MAX:
        raise ValidationError.at(
            "/dimensionIds",
            f"The matrix would have {combinations} scopes, at most {SCOPES_MAX} are answered",
        )
    choices = [
        [(dimension.id, segment.id) for segment in dimension.segments] for dimension in dimensions
    ]
    return [dict(pairs) for pairs in product(*choices)]


def removed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The ids of segments that the new body no longer has."""
    kept = {segment["id"] for segment in new["segments"]}
    return [segment["id"] for segment in old["segments"] if segment["id"] not in kept]


def _check_distinct(segments: Sequence[Mapping[str, str]], name: str) -> None:
    seen: set[str] = set()
    for index, segment in enumerate(segments):
        if segment[name] in seen:
            raise ValidationError.at(
                f"/segments/{index}/{name}", f"Segment {name} '{segment[name]}' is used twice"
            )
        seen.add(segment[name])
