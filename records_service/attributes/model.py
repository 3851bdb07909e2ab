"""An attribute: what kind of value a product may have under one alias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from records_service.parts.model import Alias, Body, Description, Id, Kind, Name, Part, whole
from shared.numbers import Number

PATTERN_LENGTH_MAX = 1_000
DIMENSIONS_MAX = 20
GUARDS_MAX = 50
GUARD_VALUES_MAX = 200
GUARD_VALUE_BYTES_MAX = 16 << 10
SUB_ATTRIBUTES_MAX = 200

ATTRIBUTE = Kind("attributes", "attr", "Attribute", "/api/v1/attributes")


class AttributeType(StrEnum):
    """The eight value types (section 2.2)."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    MEDIA = "media"
    OPTION = "option"
    RELATION = "relation"
    COMPLEX = "complex"


class GuardOperator(StrEnum):
    """The five operators of a guard (section 2.3)."""

    EQUALS = "equals"
    NOT_EQUALS = "notEquals"
    IS_EMPTY = "isEmpty"
    IS_NOT_EMPTY = "isNotEmpty"
    IN = "in"


@dataclass(frozen=True, slots=True)
class Validation:
    """What a value must keep to, besides its type."""

    required: bool = False
    max_length: int | None = None
    min: float | None = None
    max: float | None = None
    pattern: str | None = None
    unique: bool = False

    @classmethod
    def parse(cls, told: Mapping[str, Any]) -> Self:
        """Read the stored form."""
        return cls(
            required=told.get("required", False),
            max_length=told.get("maxLength"),
            min=told.get("min"),
            max=told.get("max"),
            pattern=told.get("pattern"),
            unique=told.get("unique", False),
        )


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on another attribute, under which this one counts."""

    attribute_id: str
    operator: GuardOperator
    value: Any = None


@dataclass(frozen=True, slots=True)
class SubAttribute:
    """One field of a complex value."""

    alias: str
    name: str
    type: AttributeType
    validation: Validation
    option_list_id: str | None
    multiple: bool


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute, read for checking values."""

    id: str
    alias: str
    name: str
    type: AttributeType
    dimension_ids: tuple[str, ...]
    validation: Validation
    guards: tuple[Guard, ...]
    inheritable: bool
    option_list_id: str | None
    multiple: bool
    target_schema_id: str | None
    attributes: tuple[SubAttribute, ...]

    @classmethod
    def parse(cls, part: Part) -> Self:
        """Read the stored form."""
        body = part.body
        return cls(
            id=part.id,
            alias=part.alias,
            name=body["name"],
            type=AttributeType(body["type"]),
            dimension_ids=tuple(body["dimensionIds"]),
            validation=Validation.parse(body["validation"]),
            guards=tuple(
                Guard(g["attributeId"], GuardOperator(g["operator"]), g.get("value"))
                for g in body["guards"]
            ),
            inheritable=body["inheritable"],
            option_list_id=body.get("optionListId"),
            multiple=body["multiple"],
            target_schema_id=body.get("targetSchemaId"),
            attributes=tuple(
                SubAttribute(
                    alias=sub["alias"],
                    name=sub["name"],
                    type=AttributeType(sub["type"]),
                    validation=Validation.parse(sub["validation"]),
                    option_list_id=sub.get("optionListId"),
                    multiple=sub["multiple"],
                )
                for sub in body.get("attributes", ())
            ),
        )


class ValidationDraft(Body):
    """Rules for values; each belongs to certain types."""

    required: bool | None = None
    max_length: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, alias="maxLength"
    )
    min: Number | None = None
    max: Number | None = None
    pattern: Annotated[str, Field(min_length=1, max_length=PATTERN_LENGTH_MAX)] | None = Field(
        default=None, description="RE2 syntax, found anywhere unless anchored"
    )
    unique: bool | None = None

    def stored(self) -> dict[str, Any]:
        """Only what is said."""
        said: dict[str, Any] = self.model_dump(by_alias=True, exclude_none=True)
        return {
            name: whole(value) if isinstance(value, float) else value
            for name, value in said.items()
        }


class GuardDraft(Body):
    """A condition on another attribute."""

    attribute_id: str = Field(alias="attributeId")
    operator: Annotated[GuardOperator, Field(strict=False)]
    value: Any = None


class SubAttributeDraft(Body):
    """One field of a complex value, as it is sent."""

    alias: Alias
    name: Name | None = None
    type: Annotated[AttributeType, Field(strict=False)]
    validation: ValidationDraft = Field(default_factory=ValidationDraft)
    option_list_id: str | None = Field(default=None, alias="optionListId")
    multiple: bool = False


class AttributeDraft(Body):
    """An attribute as it is sent; PUT takes all of it."""

    id: Id | None = None
    alias: Alias
    name: Name
    description: Description | None = None
    type: Annotated[AttributeType, Field(strict=False)]
    dimension_ids: Annotated[list[str], Field(max_length=DIMENSIONS_MAX)] = Field(
        default_factory=list, alias="dimensionIds"
    )
    validation: ValidationDraft | None = None
    guards: Annotated[list[GuardDraft], Field(max_length=GUARDS_MAX)] = Field(default_factory=list)
    inheritable: bool = True
    option_list_id: str | None = Field(default=None, alias="optionListId")
    multiple: bool = False
    target_schema_id: str | None = Field(default=None, alias="targetSchemaId")
    attributes: Annotated[list[SubAttributeDraft], Field(max_length=SUB_ATTRIBUTES_MAX)] | None = (
        None
    )


class ValidationAnswer(BaseModel):
    """The rules that were set."""

    required: bool | None
    max_length: int | None = Field(alias="maxLength")
    min: float | None
    max: float | None
    pattern: str | None
    unique: bool | None


class GuardAnswer(BaseModel):
    """A guard as it is answered."""

    attribute_id: str = Field(alias="attributeId")
    operator: GuardOperator
    value: Any


class SubAttributeAnswer(BaseModel):
    """One field of a complex value."""

    alias: str
    name: str
    type: AttributeType
    validation: ValidationAnswer
    option_list_id: str | None = Field(alias="optionListId")
    multiple: bool


class AttributeAnswer(BaseModel):
    """An attribute as it is answered."""

    id: str
    alias: str
    name: str
    description: str | None
    type: AttributeType
    dimension_ids: list[str] = Field(alias="dimensionIds")
    validation: ValidationAnswer
    guards: list[GuardAnswer]
    inheritable: bool
    option_list_id: str | None = Field(alias="optionListId")
    multiple: bool
    target_schema_id: str | None = Field(alias="targetSchemaId")
    attributes: list[SubAttributeAnswer] | None
    created_at: datetime = Field(alias="createdAt")
    updated_at: datetime = Field(alias="updatedAt")
