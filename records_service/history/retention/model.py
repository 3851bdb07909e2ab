"""How long the history of a workspace is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from shared.http.shapes import Shape

DAYS_MAX: Final = 36_500
Days = Annotated[int, Field(strict=True, ge=1, le=DAYS_MAX)]


@dataclass(frozen=True, slots=True)
class Retention:
    """`days` is None for ever; so it is, and nobody has chosen it, until somebody does."""

    days: int | None = None
    updated_at: datetime | None = None
    updated_by: str | None = None


class RetentionDraft(Shape):
    """How long the history is to be kept."""

    days: Days | None = Field(examples=[365])
    """What happened longer ago than so many days is removed; null keeps everything, for ever."""


class RetentionAnswer(Shape):
    """How long the history of the workspace is kept."""

    days: int | None
    """What happened longer ago than so many days is removed; null keeps everything, for ever."""
    updated_at: datetime | None = Field(alias="updatedAt")
    """When this was chosen; null if it never was."""
    updated_by: str | None = Field(alias="updatedBy")
    """Id of the user or API key that chose it; null if nobody did."""
