"""A schema: which attributes a kind of product has, in which groups, with which workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from records_service.parts.model import Alias, Body, Description, Id, Kind, Name, Part
from shared.ids import new_id

GROUPS_MAX = 200
ATTRIBUTES_PER_GROUP_MAX = 500

SCHEMA = Kind("schemas", "schema", "Schema")


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
        groups = sorted(part.body["attributeGroups"], key=lambda group: group["sortOrder"])
        return cls(
            id=part.id,
            alias=part.alias,
            name=part.body["name"],
            variant_enabled=part.body["variantEnabled"],
            workflow_id=part.body.get("workflowId"),
            attribute_ids=tuple(
                attribute_id for group in groups for attribute_id in group["attributeIds"]
            ),
        )


class AttributeGroupDraft(Body):
    """A group as it is sent; without `sortOrder` it keeps its place."""

    id: Id | None = None
    name: Name
    sort_order: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        default=None, alias="sortOrder"
    )
    attribute_ids: Annotated[list[str], Field(max_length=ATTRIBUTES_PER_GROUP_MAX)] = Field(
        default_factory=list, alias="attributeIds"
    )


class SchemaDraft(Body):
    """A schema as it is sent; PUT takes all of it."""

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

    def stored(self) -> dict[str, Any]:
        """The schema as it is stored and answered."""
        body: dict[str, Any] = {
            "name": self.name,
            "variantEnabled": self.variant_enabled,
            "attributeGroups": [
                {
                    "id": group.id or new_id("grp"),
                    "name": group.name,
                    "sortOrder": place if group.sort_order is None else group.sort_order,
                    "attributeIds": group.attribute_ids,
                }
                for place, group in enumerate(self.attribute_groups)
            ],
        }
        for name, value in (
            ("description", self.description),
            ("icon", self.icon),
            ("workflowId", self.workflow_id),
        ):
            if value is not None:
                body[name] = value
        return body


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
    description: str | None = None
    icon: str | None = None
    variant_enabled: bool = Field(alias="variantEnabled")
    workflow_id: str | None = Field(default=None, alias="workflowId")
    attribute_groups: list[AttributeGroupAnswer] = Field(alias="attributeGroups")
    created_at: datetime = Field(alias="createdAt")
    updated_at: datetime = Field(alias="updatedAt")
