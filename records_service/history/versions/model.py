"""Which version of a record is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from records_service.records.projection import ProjectionQuery
from shared.http.shapes import Shape
from shared.http.times import Instant

VERSION_MAX = 2**53 - 1
Version = Annotated[int, Field(ge=1, le=VERSION_MAX, examples=[1])]


class VersionQuery(ProjectionQuery):
    """Which version of a record to show, and which part of it."""

    version: Version | None = None
    """The record as it was in this version. Default: the current one."""
    as_of: Instant | None = Field(default=None, alias="asOf", examples=["2026-03-08T09:30:00Z"])
    """The record as it was at this time. Cannot be combined with `version`."""


class RestoreRequest(Shape):
    """The version whose values are written again."""

    model_config = ConfigDict(populate_by_name=True)

    version: Version
    """A version of the record that `GET /records/{id}?version=` shows."""
