"""A schema: which attributes a kind of product has, in which groups, with which workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field

from records_service.parts.model import Alias, Body, Description, Id, Kind, Name, Part
from shared.bounds import AtMost
from shared.numbers import Number
from shared.shapes import Shape

GROUPS_MAX = 200
ATTRIBUTES_PER_GROUP_MAX = 500
NAMES_MAX = 10_000

SCHEMA = Kind("schemas", "schema", "Schema", "/api/v1/schemas")


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema, read for checking records; attributes are in the order they are shown in."""

    id: str
    alias: str
    name: str
    variant_enabled: bool
    workflow_id: str | None
    attribute_ids: tuple[str, ...]

    @classmethod
    def parse(cls, part: Part) -> Self:
        """Read the stored form."""
        return cls(
            id=part.id,
            alias=part.alias,
            name=part.body["name"],
            variant_enabled=part.body["variantEnabled"],
            workflow_id=part.body.get("workflowId"),
            attribute_ids=tuple(
                attribute_id
                for group in part.body["attributeGroups"]
                for attribute_id in group["attributeIds"]
            ),
        )


class AttributeGroupDraft(Body):
    """A group of attributes, as they are shown together."""

    id: Id | None = None
    """The id. Made by the server when it is left out."""
    name: Name
    """Shown to people."""
    sort_order: Number | None = Field(default=None, alias="sortOrder")
    """The place among the groups, ascending. In the order of the list when it is left out."""
    attribute_ids: Annotated[list[str], AtMost(ATTRIBUTES_PER_GROUP_MAX)] = Field(
        default_factory=list, alias="attributeIds", json_schema_extra={"uniqueItems": True}
    )
    """Ids or aliases of attributes, in order. Each attribute once in a schema."""


class SchemaDraft(Body):
    """A whole schema. A PUT keeps a workflow and groups that are left out."""

    id: Id | None = None
    """The id. Made by the server when it is left out; a PUT may repeat it."""
    alias: Alias
    name: Name
    """Shown to people."""
    description: Description | None = None
    """What the schema is for."""
    icon: Annotated[str, Field(max_length=200)] | None = None
    """The name of an icon, for display."""
    variant_enabled: bool = Field(alias="variantEnabled")
    """Whether records of this schema may have variants."""
    workflow_id: str | None = Field(default=None, alias="workflowId")
    """Id of the workflow of its records; null if they have no lifecycle."""
    attribute_groups: Annotated[list[AttributeGroupDraft], AtMost(GROUPS_MAX)] = Field(
        default_factory=list, alias="attributeGroups"
    )
    """The attributes, in groups."""


class AttributeGroupAnswer(Shape):
    """A group of attributes."""

    id: str
    """The id. It never changes."""
    name: str
    """Shown to people."""
    sort_order: float = Field(alias="sortOrder")
    """The place among the groups, ascending."""
    attribute_ids: list[str] = Field(alias="attributeIds")
    """Ids of the attributes, in order."""


class SchemaAnswer(Shape):
    """A schema: the attributes of one kind of product."""

    id: str
    """The id. It never changes."""
    alias: str
    """The name in URLs and values. Unique in the workspace; it may be changed."""
    name: str
    """Shown to people."""
    description: str | None
    """What the schema is for."""
    icon: str | None
    """The name of an icon, for display."""
    variant_enabled: bool = Field(alias="variantEnabled")
    """Whether records of this schema may have variants."""
    workflow_id: str | None = Field(alias="workflowId")
    """Id of the workflow of its records; null if they have no lifecycle."""
    attribute_groups: list[AttributeGroupAnswer] = Field(alias="attributeGroups")
    """The attributes, in groups."""
    created_at: datetime = Field(alias="createdAt")
    """When it was created."""
    updated_at: datetime = Field(alias="updatedAt")
    """When it was last changed."""


class Names(BaseModel):
    """Another service asks what schemas and attributes these are."""

    schemas: Annotated[list[str], AtMost(NAMES_MAX)] = Field(default_factory=list)
    attributes: Annotated[list[str], AtMost(NAMES_MAX)] = Field(default_factory=list)
