"""What workflow_service asks about the records of a channel."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from records_service.dimensions.model import Scope
from shared.http.bounds import AtMost
from shared.http.shapes import Shape

ATTRIBUTES_MAX: Final = 500
RECORDS_AT_ONCE: Final = 100
BYTES_AT_ONCE: Final = 4 << 20
"""Of the documents of a page; a record whose variants go beyond it stands alone on its page."""
ROWS_BODY: Final = 32 << 20

Attributes = Annotated[list[str], AtMost(ATTRIBUTES_MAX)]


class _Asked(Shape):
    model_config = ConfigDict(populate_by_name=True)

    schema_id: str | None = Field(default=None, alias="schemaId")
    """Id or alias of the schema."""
    scope: Scope = Field(default_factory=dict)
    """Dimension -> segment, by id or alias."""


class ChannelNames(_Asked):
    """The names in a channel, to be looked up."""

    catalog_id: str | None = Field(default=None, alias="catalogId")
    """Id or alias of the catalog."""
    attributes: Attributes
    """Ids or aliases of attributes, in the order of the mappings."""


class ChannelQuery(ChannelNames):
    """Which records of a channel are read, and what of them."""

    after: tuple[datetime, str] | None = None
    """Where the last page ended."""
    limit: Annotated[int, Field(ge=1, le=RECORDS_AT_ONCE)] = RECORDS_AT_ONCE
    """At most so many records."""


class ChannelRow(Shape):
    """A record to be written: the values of attributes, null for one to be cleared."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    """Id of the record; it is created where there is none."""
    values: Annotated[dict[str, Any], AtMost(ATTRIBUTES_MAX)]
    """Attribute id or alias -> value."""
    own_values: Annotated[dict[str, Any], AtMost(ATTRIBUTES_MAX)] = Field(
        default_factory=dict, alias="ownValues"
    )
    """The same, for a record without variants: of one that has some they are left out."""
    whole: Annotated[dict[str, Any], AtMost(ATTRIBUTES_MAX)] | None = None
    """The same of all attributes, for a record that was there: one that was deleted is made of
    them, where `values` alone would make a part of it."""


class ChannelRows(_Asked):
    """Records of one schema to be created and updated, in one scope."""

    labelled: Attributes = Field(default_factory=list)
    """Ids of attributes whose options are labels in this scope before they are ids and aliases."""
    rows: Annotated[list[ChannelRow], AtMost(RECORDS_AT_ONCE)]
    """The records."""
