"""One object of the data model: a dimension, an option list, an attribute or a schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from shared.http.shapes import Shape
from shared.ids import ALIAS_PATTERN, ID_PATTERN

NAME_LENGTH_MAX = 500
DESCRIPTION_LENGTH_MAX = 10_000

Id = Annotated[str, Field(pattern=ID_PATTERN)]
Alias = Annotated[
    str,
    Field(
        pattern=ALIAS_PATTERN,
        description="The name in URLs and values. Unique in the workspace; it may be changed.",
    ),
]
InnerAlias = Annotated[str, Field(pattern=ALIAS_PATTERN)]
"""The alias of something inside an object, such as an option; each field describes it."""
Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
Description = Annotated[str, Field(max_length=DESCRIPTION_LENGTH_MAX)]


class Body(Shape):
    """A request body. Public names are camelCase; unknown fields are ignored."""

    model_config = ConfigDict(populate_by_name=True)


@dataclass(frozen=True, slots=True)
class Kind:
    """What model objects of one kind are called: table, prefix of their ids, public name, place."""

    table: str
    prefix: str
    title: str
    path: str
    present: str = "true"
    """SQL: a row is an object, and not one that was deleted and is still being removed."""


@dataclass(frozen=True, slots=True)
class ModelObject:
    """One stored object; `body` is its public object without id, alias and times."""

    id: str
    alias: str
    body: Mapping[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime

    def to_public(self) -> dict[str, Any]:
        """The public object."""
        return {
            "id": self.id,
            "alias": self.alias,
            **self.body,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        }
