"""An attribute: what kind of value a product may have under one alias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from records_service.model_objects.model import (
    Alias,
    Body,
    Description,
    Id,
    InnerAlias,
    Kind,
    ModelObject,
    Name,
)
from shared.errors import truncated
from shared.http.bounds import AtMost
from shared.http.naming import ExternalKey, Labels
from shared.http.numbers import Number, plain_number

PATTERN_LENGTH_MAX = 1_000
DIMENSIONS_MAX = 20
GUARDS_MAX = 50
GUARD_VALUES_MAX = 200
GUARD_VALUE_BYTES_MAX = 16 << 10
SUB_ATTRIBUTES_MAX = 200
"""In one attribute, those of all levels together."""
COMPLEX_DEPTH_MAX = 5
"""How many levels of fields an attribute may have."""

UNIQUE_PENDING = "uniquePending"
"""In a stored attribute that is unique: there are values that have not been compared yet."""
UNIQUE_SINCE = "uniqueSince"

ATTRIBUTE = Kind("attributes", "attr", "Attribute", "/api/v1/attributes")


class AttributeType(StrEnum):
    """The type of the values of an attribute."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    MEDIA = "media"
    OPTION = "option"
    RELATION = "relation"
    COMPLEX = "complex"


class GuardOperator(StrEnum):
    """How a guard compares. An empty text, list or object is empty; 0 and false are not."""

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
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Read the stored form."""
        return cls(
            required=body.get("required", False),
            max_length=body.get("maxLength"),
            min=body.get("min"),
            max=body.get("max"),
            pattern=body.get("pattern"),
            unique=body.get("unique", False),
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
    target_schema_id: str | None = None
    attributes: tuple[SubAttribute, ...] = ()

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Read the stored form, with the fields below it."""
        return cls(
            alias=body["alias"],
            name=body["name"],
            type=AttributeType(body["type"]),
            validation=Validation.parse(body["validation"]),
            option_list_id=body.get("optionListId"),
            multiple=body["multiple"],
            target_schema_id=body.get("targetSchemaId"),
            attributes=tuple(map(cls.parse, body.get("attributes", ()))),
        )


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
    filterable: bool = False
    """Whether the search index has its values."""
    is_becoming_unique: bool = False
    """Whether only those values are reserved yet that were written since it is unique."""

    @classmethod
    def parse(cls, model_object: ModelObject) -> Self:
        """Read the stored form."""
        body = model_object.body
        return cls(
            id=model_object.id,
            alias=model_object.alias,
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
            attributes=tuple(map(SubAttribute.parse, body.get("attributes", ()))),
            filterable=is_filterable(body),
            is_becoming_unique=UNIQUE_PENDING in body,
        )


def is_filterable(body: Mapping[str, Any]) -> bool:
    """Whether the attribute of this stored form is filterable: by default options and unique."""
    said: bool | None = body.get("filterable")
    if said is not None:
        return said
    return body["type"] == AttributeType.OPTION or bool(body["validation"].get("unique"))


class ValidationDraft(Body):
    """Validation rules. Each rule applies to certain types only. Unknown rules are refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_known(cls, sent: Any) -> Any:
        known = {info.alias or name for name, info in cls.model_fields.items()}
        for rule in sent if isinstance(sent, dict) else ():
            if rule not in known and rule not in cls.model_fields:
                raise ValueError(
                    f"Unknown rule '{truncated(rule)}': expected one of {', '.join(sorted(known))}"
                )
        return sent

    required: bool | None = None
    """Whether completeness counts the attribute in every lifecycle state. Records without it are
    accepted."""
    max_length: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, alias="maxLength"
    )
    """The largest number of characters. For `text`."""
    min: Number | None = None
    """The smallest number. For `number`."""
    max: Number | None = None
    """The largest number. For `number`."""
    pattern: Annotated[str, Field(min_length=1, max_length=PATTERN_LENGTH_MAX)] | None = None
    """A regular expression (RE2) that must match somewhere in the value; anchor it with `^` and
    `$`. For `text`."""
    unique: bool | None = None
    """Whether each record must have a different value. For `text` and `number`."""

    def stored(self) -> dict[str, Any]:
        """Only what is said."""
        said: dict[str, Any] = self.model_dump(by_alias=True, exclude_none=True)
        return {
            name: plain_number(value) if isinstance(value, float) else value
            for name, value in said.items()
        }


class GuardDraft(Body):
    """A condition on another attribute."""

    attribute_id: str = Field(alias="attributeId")
    """Id or alias of the other attribute."""
    operator: Annotated[GuardOperator, Field(strict=False)]
    """The comparison."""
    value: Any = None
    """The value to compare with, which the other attribute can hold: a list for `in`, nothing for
    `isEmpty` and `isNotEmpty`. Options are named by id or alias."""


class SubAttributeDraft(Body):
    """One field of a complex value."""

    alias: InnerAlias
    """The name in values. Unique in the attribute."""
    name: Name | None = None
    """The display name. Default: the alias."""
    labels: Labels = Field(default_factory=dict)
    """The name in other languages. A PUT without them keeps them."""
    external_key: ExternalKey | None = Field(default=None, alias="externalKey")
    """What another system calls it. Unique in the attribute. A PUT without it keeps it; null
    removes it."""
    type: Annotated[AttributeType, Field(strict=False)]
    """The type of the field."""
    validation: ValidationDraft = Field(default_factory=ValidationDraft)
    """Validation rules for the field."""
    option_list_id: str | None = Field(default=None, alias="optionListId")
    """Id or alias of the option list. Required for `option`."""
    multiple: bool = False
    """Whether the field is a list. For all types but `boolean`, and `complex`, which may be a list
    anyway."""
    target_schema_id: str | None = Field(default=None, alias="targetSchemaId")
    """Id or alias of the schema that related records must have. For `relation`."""
    attributes: Annotated[list[SubAttributeDraft], AtMost(SUB_ATTRIBUTES_MAX)] | None = None
    """The fields of a value. For `complex`: at most 5 levels of fields, 200 fields in all."""


def _not_endless(sent: Any) -> Any:
    """Refuse fields that are far too many or too deep before each of them is read.

    Whatever is wrong on a level is looked for again on the level above: that must not multiply.
    """
    level, count = sent if isinstance(sent, list) else [], 0
    for _ in range(COMPLEX_DEPTH_MAX + 1):
        count += len(level)
        if count > 2 * SUB_ATTRIBUTES_MAX:
            raise ValueError(
                f"Field 'attributes' must have at most {SUB_ATTRIBUTES_MAX} fields on all levels"
                " together"
            )
        inner = [one.get("attributes") for one in level if isinstance(one, dict)]
        level = [one for fields in inner if isinstance(fields, list) for one in fields]
    if level:
        raise ValueError(f"Field 'attributes' must have at most {COMPLEX_DEPTH_MAX} levels")
    return sent


class AttributeDraft(Body):
    """A complete attribute, for POST and PUT."""

    id: Id | None = None
    """The id. Generated by the server if it is left out; a PUT may repeat it."""
    alias: Alias
    name: Name
    """The display name."""
    labels: Labels = Field(default_factory=dict)
    """The name in other languages. A PUT without them keeps them."""
    external_key: ExternalKey | None = Field(default=None, alias="externalKey")
    """What another system calls it. Unique among attributes. A PUT without it keeps it; null
    removes it."""
    description: Description | None = None
    """What the attribute is for."""
    type: Annotated[AttributeType, Field(strict=False)]
    """The type of the values."""
    dimension_ids: Annotated[list[str], AtMost(DIMENSIONS_MAX)] = Field(
        default_factory=list, alias="dimensionIds", json_schema_extra={"uniqueItems": True}
    )
    """Ids or aliases of the dimensions by which values vary, most important first."""
    validation: ValidationDraft | None = None
    """Validation rules."""
    guards: Annotated[list[GuardDraft], AtMost(GUARDS_MAX)] = Field(default_factory=list)
    """Conditions on other attributes. Unless all are met, completeness ignores this attribute."""
    inheritable: bool = True
    """Whether variants inherit the value from their parent."""
    option_list_id: str | None = Field(default=None, alias="optionListId")
    """Id or alias of the option list. Required for `option`."""
    multiple: bool = False
    """Whether a value is a list. For all types but `boolean`, and `complex`, whose values may be a
    list anyway. Rules apply to each item; with `unique`, no two records share an item."""
    filterable: bool | None = None
    """Whether searches find values by an index, also those of its fields. Default: true for
    `option` and with `unique`, otherwise false. A PUT without it keeps it."""
    target_schema_id: str | None = Field(default=None, alias="targetSchemaId")
    """Id or alias of the schema that related records must have. For `relation`."""
    attributes: Annotated[
        Annotated[list[SubAttributeDraft], AtMost(SUB_ATTRIBUTES_MAX)] | None,
        BeforeValidator(_not_endless),
    ] = None
    """The fields of a value. For `complex`: at most 5 levels of fields, 200 fields in all."""
