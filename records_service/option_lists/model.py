"""An option list, such as colours, and its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field

from records_service.parts.model import NAME_LENGTH_MAX, Alias, Body, Id, Kind, Name, Part, whole
from shared.bounds import AtMost
from shared.numbers import Number
from shared.shapes import Shape

VALUES_MAX = 10_000

OPTION_LIST = Kind("option_lists", "ol", "Option list", "/api/v1/option-lists")
VALUE_PREFIX = "val"
VALUE_TITLE = "Option value"


@dataclass(frozen=True, slots=True)
class OptionValue:
    """One thing to choose."""

    id: str
    alias: str
    label: str
    sort_order: float
    color: str | None
    parent_id: str | None

    @classmethod
    def parse(cls, told: Mapping[str, Any]) -> Self:
        """Read the public object."""
        return cls(
            id=told["id"],
            alias=told["alias"],
            label=told["label"],
            sort_order=told["sortOrder"],
            color=told.get("color"),
            parent_id=told.get("parentId"),
        )

    def shown(self) -> dict[str, Any]:
        """The public object."""
        return {
            "id": self.id,
            "alias": self.alias,
            "label": self.label,
            "sortOrder": whole(self.sort_order),
            "color": self.color,
            "parentId": self.parent_id,
        }


@dataclass(frozen=True)
class OptionList:
    """What an option attribute lets one choose from, in order."""

    id: str
    alias: str
    name: str
    hierarchical: bool
    values: tuple[OptionValue, ...]

    @classmethod
    def parse(cls, part: Part) -> Self:
        """Read the list with its values."""
        return cls(
            id=part.id,
            alias=part.alias,
            name=part.body["name"],
            hierarchical=part.body["hierarchical"],
            values=tuple(OptionValue.parse(value) for value in part.body["values"]),
        )

    @cached_property
    def ids_by_name(self) -> Mapping[str, str]:
        """The id behind each id or, failing that, alias; one lookup for all who choose from it."""
        return {
            **{value.alias: value.id for value in reversed(self.values)},
            **{value.id: value.id for value in self.values},
        }


class OptionValueDraft(Body):
    """A whole option, for POST and PUT alike."""

    id: Id | None = None
    """The id. Made by the server when it is left out; a PUT may repeat it."""
    alias: Alias
    label: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
    """Shown to people."""
    sort_order: Number | None = Field(default=None, alias="sortOrder")
    """The place among the options, ascending. At the end when it is left out."""
    color: Annotated[str, Field(pattern=r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")] | None = None
    """For display, such as `#1d4ed8`."""
    parent_id: str | None = Field(default=None, alias="parentId")
    """Id of the option above it. Only in a hierarchical list."""

    def value(self, value_id: str, place: float) -> OptionValue:
        """The value with this id; `place` is where it goes unless it says so itself."""
        return OptionValue(
            id=value_id,
            alias=self.alias,
            label=self.label,
            sort_order=place if self.sort_order is None else self.sort_order,
            color=self.color,
            parent_id=self.parent_id,
        )


class OptionListDraft(Body):
    """A whole option list, for POST and PUT alike. A PUT without `values` keeps the options."""

    id: Id | None = None
    """The id. Made by the server when it is left out; a PUT may repeat it."""
    alias: Alias
    name: Name
    """Shown to people."""
    hierarchical: bool = False
    """Whether options may have a parent."""
    values: Annotated[list[OptionValueDraft], AtMost(VALUES_MAX)] = Field(default_factory=list)
    """The options."""


class OptionValueAnswer(Shape):
    """One option of a list."""

    id: str
    """The id. It never changes."""
    alias: str
    """The name in values. Unique in the list; it may be changed."""
    label: str
    """Shown to people."""
    sort_order: float = Field(alias="sortOrder")
    """The place among the options, ascending."""
    color: str | None
    """For display."""
    parent_id: str | None = Field(alias="parentId")
    """Id of the option above it."""


class OptionListAnswer(Shape):
    """An option list."""

    id: str
    """The id. It never changes."""
    alias: str
    """The name in URLs and values. Unique in the workspace; it may be changed."""
    name: str
    """Shown to people."""
    hierarchical: bool
    """Whether options may have a parent."""
    values: list[OptionValueAnswer]
    """The options, in ascending `sortOrder`."""
    created_at: datetime = Field(alias="createdAt")
    """When it was created."""
    updated_at: datetime = Field(alias="updatedAt")
    """When it was last changed."""
