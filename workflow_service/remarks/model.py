"""Messages and annotations as they are stored and returned."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import Field

from shared.http.shapes import Shape

REMARKS_MAX: Final = 1_000
"""Annotations, and messages, of one change set."""
SHOWN_MAX: Final = 50
"""Messages in the answer with a change set; its list of messages has all."""
ANNOTATED_BYTES_MAX: Final = 2 << 20
"""Of the texts and comments of the annotations of one change set: all are in answers with it."""


class MessageAnswer(Shape):
    """A message about a change set."""

    id: str
    """The id."""
    text: str
    """The message."""
    created_by: str = Field(alias="createdBy")
    """Id of its author."""
    created_at: datetime = Field(alias="createdAt")
    """When it was written."""


class AnnotationAnswer(Shape):
    """A remark about a piece of a proposed text."""

    id: str
    """The id."""
    operation_id: str = Field(alias="operationId")
    """Id of the operation."""
    attribute: str
    """Alias of the attribute at that time."""
    text: str
    """The piece of text that it is about."""
    start: int | None
    """Where the piece begins, in characters."""
    end: int | None
    """Where it ends."""
    comment: str
    """The remark."""
    created_by: str = Field(alias="createdBy")
    """Id of its author."""
    created_at: datetime = Field(alias="createdAt")
    """When it was written."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    id: str
    text: str
    created_by: str
    created_at: datetime

    def public(self) -> dict[str, Any]:
        """As it is answered."""
        return {
            "id": self.id,
            "text": self.text,
            "createdBy": self.created_by,
            "createdAt": self.created_at,
        }


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation."""

    id: str
    operation_id: str
    attribute_id: str
    attribute: str
    text: str
    start: int | None
    stop: int | None
    comment: str
    created_by: str
    created_at: datetime

    def public(self) -> dict[str, Any]:
        """As it is answered."""
        return {
            "id": self.id,
            "operationId": self.operation_id,
            "attribute": self.attribute,
            "text": self.text,
            "start": self.start,
            "end": self.stop,
            "comment": self.comment,
            "createdBy": self.created_by,
            "createdAt": self.created_at,
        }
