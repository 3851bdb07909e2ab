"""A schema: which attributes a kind of product has, in which groups, with which workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field

from records_service.parts.model import Alias, Body, Description, Id, Kind, Name, Part
from shared.numbers import Number

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
    """A group as it is sent; without `sortOrder` it stays where it is sent."""

    id: Id | None = None
    name: Name
    sort_order: Number | None = Field(default=None, alias="sortOrder")
    attribute_ids: Annotated[list[str], Field(max_length=ATTRIBUTES_PER_GROUP_MAX)] = Field(
        default_factory=list, alias="attributeIds"
    )


class SchemaDraft(Body):
    """A schema as it is sent; PUT takes all of it, but keeps a workflow and groups left out."""

    id: Id | None = None
    alias: Alias
    name: Name
    description: Description | None = None
    icon: Annotated[str, Field(max_length=200)] | None = None
    variant_enabled: bool = Field(alias="variantEnabled")
    workflow_id: str | None = Field(default=None, alias="workflowId")
    attribute_groups: Annotated[list[AttributeGroupDraft], Field(max_length=GROUPS_MAX)] = Field(
        default_factory=list, alias="attributeGroups"
    )


class AttributeGroupAnswer(BaseModel):
    """A group as it is answered."""

    id: str
    name: str
    sort_order: float = Field(alias="sortOrder")
    attribute_ids: list[str] = Field(alias="attributeIds")


class SchemaAnswer(BaseModel):
    """A schema as it is answered."""

    id: str
    alias: str
    name: str
    description: str | None
    icon: str | None
    variant_enabled: bool = Field(alias="variantEnabled")
    workflow_id: str | None = Field(alias="workflowId")
    attribute_groups: list[AttributeGroupAnswer] = Field(alias="attributeGroups")
    created_at: datetime = Field(alias="createdAt")
    updated_at: datetime = Field(alias="updatedAt")


class Names(BaseModel):
    """Another service asks what schemas and attributes these are."""

    schemas: Annotated[list[str], Field(max_length=NAMES_MAX)] = Field(default_factory=list)
    attributes: Annotated[list[str], Field(max_length=NAMES_MAX)] = Field(default_factory=list)
