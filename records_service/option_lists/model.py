"""An option list, such as colours, and its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from records_service.parts.model import NAME_LENGTH_MAX, Alias, Body, Id, Kind, Name, Part, whole
from shared.numbers import Number

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
    """A value as it is sent; without `sortOrder` it goes to the end."""

    id: Id | None = None
    alias: Alias
    label: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
    sort_order: Number | None = Field(default=None, alias="sortOrder")
    color: Annotated[str, Field(pattern=r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")] | None = None
    parent_id: str | None = Field(
        default=None, alias="parentId", description="Only in a hierarchical list"
    )

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
    """A list as it is sent; PUT takes all of it, but keeps the values where they are left out."""

    id: Id | None = None
    alias: Alias
    name: Name
    hierarchical: bool = False
    values: Annotated[list[OptionValueDraft], Field(max_length=VALUES_MAX)] = Field(
        default_factory=list
    )


class OptionValueAnswer(BaseModel):
    """A value as it is answered."""

    id: str
    alias: str
    label: str
    sort_order: float = Field(alias="sortOrder")
    color: str | None
    parent_id: str | None = Field(alias="parentId")


class OptionListAnswer(BaseModel):
    """A list as it is answered, values in ascending `sortOrder`."""

    id: str
    alias: str
    name: str
    hierarchical: bool
    values: list[OptionValueAnswer]
    created_at: datetime = Field(alias="createdAt")
    updated_at: datetime = Field(alias="updatedAt")
