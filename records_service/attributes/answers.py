"""An attribute as it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
from pydantic import Field

from records_service.attributes.model import (
    UNIQUE_PENDING,
    UNIQUE_SINCE,
    AttributeType,
    GuardOperator,
    is_filterable,
)
from records_service.model_objects.answers import public_object
from records_service.model_objects.model import ModelObject
from shared.database import Record
from shared.http import to_json
from shared.http.naming import Labels
from shared.http.shapes import Shape


class ValidationAnswer(Shape):
    """The rules that are set."""

    required: bool | None
    """Whether completeness counts the attribute in every lifecycle state. Records without it are
    accepted."""
    max_length: int | None = Field(alias="maxLength")
    """The largest number of characters. For `text`."""
    min: float | None
    """The smallest number. For `number`."""
    max: float | None
    """The largest number. For `number`."""
    pattern: str | None
    """A regular expression (RE2) that must match somewhere in the value; anchor it with `^` and
    `$`. For `text`."""
    unique: bool | None
    """Whether each record must have a different value. For `text` and `number`."""


class GuardAnswer(Shape):
    """A condition on another attribute."""

    attribute_id: str = Field(alias="attributeId")
    """Id of the other attribute."""
    operator: GuardOperator
    """The comparison."""
    value: Any
    """The value to compare with: a list for `in`, nothing for `isEmpty` and `isNotEmpty`."""


class SubAttributeAnswer(Shape):
    """One field of a complex value."""

    alias: str
    """The name in values. Unique in the attribute."""
    name: str
    """The display name."""
    labels: Labels
    """The name in other languages."""
    external_key: str | None = Field(alias="externalKey")
    """What another system calls it. Unique in the attribute."""
    type: AttributeType
    """The type of the field."""
    validation: ValidationAnswer
    """Validation rules for the field."""
    option_list_id: str | None = Field(alias="optionListId")
    """Id of the option list."""
    multiple: bool
    """Whether the field is a list."""
    target_schema_id: str | None = Field(alias="targetSchemaId")
    """Id of the schema that related records must have. For `relation`."""
    attributes: list[SubAttributeAnswer] | None
    """The fields of a value. For `complex`."""


class AttributeAnswer(Shape):
    """An attribute: a typed property of records."""

    id: str
    """The id. It never changes."""
    alias: str
    """The name in URLs and values. Unique in the workspace; it may be changed."""
    name: str
    """The display name."""
    labels: Labels
    """The name in other languages."""
    external_key: str | None = Field(alias="externalKey")
    """What another system calls it. Unique among attributes."""
    description: str | None
    """What the attribute is for."""
    type: AttributeType
    """The type of the values."""
    dimension_ids: list[str] = Field(alias="dimensionIds")
    """Ids of the dimensions by which values vary."""
    validation: ValidationAnswer
    """Validation rules."""
    guards: list[GuardAnswer]
    """Conditions on other attributes. Unless all are met, completeness ignores this attribute."""
    inheritable: bool
    """Whether variants inherit the value from their parent."""
    option_list_id: str | None = Field(alias="optionListId")
    """Id of the option list. For `option`."""
    multiple: bool
    """Whether a value is a list. For all types but `boolean`, and `complex`, whose values may be a
    list anyway. Rules apply to each item; with `unique`, no two records share an item."""
    filterable: bool
    """Whether searches find values by an index, once it is built."""
    filterable_since: datetime | None = Field(alias="filterableSince")
    """Since when searches use the index. Null while it is being built: searches are right then,
    but slow."""
    target_schema_id: str | None = Field(alias="targetSchemaId")
    """Id of the schema that related records must have. For `relation`."""
    attributes: list[SubAttributeAnswer] | None
    """The fields of a value. For `complex`."""
    unique_since: datetime | None = Field(alias="uniqueSince")
    """Since when, at the latest, no two records have the same value. Null unless the attribute is
    unique, and until a job has compared the values that were stored before it became unique."""
    created_at: datetime = Field(alias="createdAt")
    """When it was created."""
    updated_at: datetime = Field(alias="updatedAt")
    """When it was last changed."""


def shown(attribute: ModelObject, since: Mapping[str, datetime]) -> ModelObject:
    """The attribute with what is not in its body; `since` as in `attributes.store`."""
    filterable = is_filterable(attribute.body)
    more = {
        "filterable": filterable,
        "filterableSince": since.get(attribute.id) if filterable else None,
        UNIQUE_SINCE: _unique_since(attribute),
    }
    return replace(attribute, body={**attribute.body, **more})


def _unique_since(attribute: ModelObject) -> Any:
    """Since when it is unique: one that does not say so was, at the latest, when it was stored."""
    body = attribute.body
    if not body["validation"].get("unique") or UNIQUE_PENDING in body:
        return None
    return body.get(UNIQUE_SINCE, attribute.updated_at)


def rendered(row: Record) -> bytes:
    """The JSON of a row of `attributes.store.page`."""
    attribute = ModelObject(
        row["id"],
        row["alias"],
        orjson.loads(row["body"]),
        row["version"],
        row["created_at"],
        row["updated_at"],
    )
    since = {} if row["since"] is None else {row["id"]: row["since"]}
    return to_json(public_object(shown(attribute, since), AttributeAnswer))
