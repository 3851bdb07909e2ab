"""One entry of the history of a record and its variants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from records_service.dimensions.model import Scope
from shared.database.paging import Paged, PageQuery
from shared.http.shapes import Shape

AuditAction = TypeAliasType(
    "AuditAction",
    Annotated[
        Literal["create", "update", "delete", "transition"],
        Field(description="What happened to a record or variant."),
    ],
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened once; `changes` are those of records_service.writes.changes."""

    id: int
    record_id: str
    variant_id: str | None
    version: int | None
    action: str
    user_id: str
    at: datetime
    changes: list[dict[str, Any]]
    from_state_id: str | None
    to_state_id: str | None
    comment: str | None
    change_set_id: str | None


class AuditFilter(PageQuery):
    """Which part of the history of the workspace to show."""

    entity_id: str | None = Field(default=None, alias="entityId")
    """Only changes of this record and its variants, or of this variant."""
    user_id: str | None = Field(default=None, alias="userId")
    """Only changes by this user or API key."""
    action: AuditAction | None = None
    """Only changes of this kind. `delete` and `transition` are found by an index. The others are
    looked for from the newest entry on, which takes seconds if millions of other ones are newer."""


class AuditChangeAnswer(Shape):
    """One value before and after."""

    attribute: str
    """Alias of the attribute at that time; `externalKey` for the external key of the record."""
    scope: Scope
    """The scope of the value."""
    old_value: Any = Field(alias="oldValue")
    """The value before; null for none."""
    new_value: Any = Field(alias="newValue")
    """The value after; null for none."""


class AuditEntryAnswer(Shape):
    """One change of one record, or of one of its variants."""

    id: str
    """The id. It never changes."""
    entity_id: str = Field(alias="entityId")
    """Id of the record."""
    variant_id: str | None = Field(alias="variantId")
    """Id of the variant of the record that changed; null if the record itself did."""
    version: int | None
    """The version of the record that the change made, to read or restore it; of a change of a
    variant, the version that its record had. Null for entries from before versions were kept."""
    action: AuditAction
    """What happened."""
    user_id: str = Field(alias="userId")
    """Id of the user or API key that made the change."""
    timestamp: datetime
    """When it happened."""
    changes: list[AuditChangeAnswer]
    """The values that changed."""
    from_state_id: str | None = Field(alias="fromStateId")
    """Id of the state before. For `transition`."""
    to_state_id: str | None = Field(alias="toStateId")
    """Id of the state after. For `transition`."""
    comment: str | None
    """The caller's comment. For `transition`."""
    change_set_id: str | None = Field(alias="changeSetId")
    """Id of the change set that was applied; null for a change that was made directly."""


class AuditPage(Paged):
    """One page of history, newest first."""

    items: list[AuditEntryAnswer]
    """The changes."""
