"""Checks whose names the labels of a model object are: segments of the workspace.

Any dimension may be the one for the language, so any segment may have a label. A segment that goes
leaves its labels behind: they are not shown to anybody who asks by segment, and can be sent back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from records_service.model_objects import store
from records_service.model_objects.naming import INSIDE, LABELS
from shared.database import Conn
from shared.errors import ValidationError, Violation, truncated


async def check_labels(
    conn: Conn,
    workspace_id: str,
    draft: BaseModel,
    old: Mapping[str, Any] | None = None,
    *,
    own: Collection[str] = (),
) -> None:
    """Raise `ValidationError` for labels of segments that do not exist.

    Allowed besides are those that `old` has, and the object's `own`, where it is a dimension.
    """
    sent = {
        (pointer, segment_id)
        for pointer, labels in _labels_in(draft, "")
        for segment_id in labels
        if segment_id not in own
    }
    if not sent:
        return
    asked = {segment_id for _, segment_id in sent}
    unknown = asked - await store.segments_among(conn, workspace_id, asked)
    if unknown and old is not None:
        unknown -= _labelled(old)
    ValidationError.check(
        Violation(
            f"{pointer}/{segment_id}",
            f"Field 'labels': Segment '{truncated(segment_id)}' not found",
        )
        for pointer, segment_id in sorted(sent)
        if segment_id in unknown
    )


def _labels_in(draft: BaseModel, pointer: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every object of labels in a draft that has some, and where it is."""
    for name, info in type(draft).model_fields.items():
        value = getattr(draft, name)
        place = f"{pointer}/{info.alias or name}"
        if name == LABELS and value:
            yield place, value
        elif isinstance(value, list):
            for index, member in enumerate(value):
                if isinstance(member, BaseModel):
                    yield from _labels_in(member, f"{place}/{index}")


def _labelled(body: Mapping[str, Any]) -> set[str]:
    """The segments of which a stored object, or something in it, has a label."""
    found = set(body.get(LABELS, ()))
    for name in (*INSIDE, "values"):
        for member in body.get(name, ()):
            found |= _labelled(member)
    return found
