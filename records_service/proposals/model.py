"""The operations of a change set, as workflow_service asks about them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, Json

from records_service.dimensions.model import Scope
from shared.frozen import quick
from shared.http.bounds import AtMost
from shared.http.shapes import Shape

OPERATIONS_MAX: Final = 10_000
CHANGES_MAX: Final = 1_000
INSPECTED_MAX: Final = 500
APPLY_BODY: Final = 64 << 20


class Action(StrEnum):
    """What an operation does with its record or variant."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Purpose(StrEnum):
    """Why operations are looked at, which decides what the caller has to be allowed."""

    READ = "read"
    """To show them: what the caller may not see is left out."""
    PROPOSE = "propose"
    """To store them: the caller must see every attribute that they name."""
    DECIDE = "decide"
    """To approve or reject them: the caller must be able to make the changes."""


class Made(StrEnum):
    """What of that which an operation is about is created by one before it in its change set."""

    RECORD = "record"
    VARIANT = "variant"


class _Asked(Shape):
    model_config = ConfigDict(populate_by_name=True)


class Change(_Asked):
    """One value. `attribute` is an id or an alias."""

    attribute: str
    """Id or alias of the attribute."""
    scope: Scope = Field(default_factory=dict)
    """Where the value applies."""
    old_value: Any = Field(default=None, alias="oldValue")
    """The value that the proposal is based on."""
    new_value: Any = Field(default=None, alias="newValue")
    """The value to be; null removes it."""


class Operation(_Asked):
    """One operation. With `variantId` or `parentId` it is about a variant of the record."""

    id: str
    """Id of the operation in its change set."""
    type: Annotated[Action, Field(strict=False)]
    """What it does."""
    schema_id: str | None = Field(default=None, alias="schemaId")
    """The schema of the record, as far as it is known."""
    made: Annotated[Made, Field(strict=False)] | None = None
    """What is not there yet, or is another one: operations before this one create it."""
    entity_id: str | None = Field(default=None, alias="entityId")
    """Id of the record."""
    variant_id: str | None = Field(default=None, alias="variantId")
    """Id of the variant."""
    parent_id: str | None = Field(default=None, alias="parentId")
    """What a new variant is created below."""
    changes: Annotated[list[Change], AtMost(CHANGES_MAX)] = Field(default_factory=list)
    """The values."""

    @property
    def is_of_variant(self) -> bool:
        """Whether it is about a variant and not about the record."""
        return self.variant_id is not None or self.parent_id is not None


class Inspection(_Asked):
    """Operations to look at."""

    purpose: Annotated[Purpose, Field(strict=False)]
    """Why."""
    with_values: bool = Field(default=False, alias="withValues")
    """Whether the values of now are wanted."""
    operations: Json[Annotated[list[Operation], AtMost(INSPECTED_MAX)]]
    """The operations, as JSON in a text: a body has a limit of values, which users know of their
    own bodies."""


class Application(_Asked):
    """A change set to be applied."""

    change_set_id: str = Field(alias="changeSetId")
    """Its id."""
    attempt: int
    """How often it was withdrawn before."""
    force: bool = False
    """Whether values that have changed meanwhile are overwritten."""
    operations: Json[Annotated[list[Operation], AtMost(OPERATIONS_MAX)]]
    """The approved operations in their order, as JSON in a text."""


class Withdrawal(_Asked):
    """A change set that shall not be applied as it was approved."""

    change_set_id: str = Field(alias="changeSetId")
    """Its id."""
    attempt: int
    """The attempt that must not come any more."""


@quick
class InspectedChange:
    """What a change is about: its attribute, its scope as it is stored, and the value of now."""

    attribute_id: str
    alias: str | None
    scope: dict[str, str]
    value: Any


@quick
class Inspected:
    """What an operation is about. None stands for a change that the caller may not see."""

    id: str
    exists: bool
    schema_id: str | None
    changes: list[InspectedChange | None]


@quick
class Applied:
    """What an operation did: the record, the variant, and the version afterwards."""

    id: str
    entity_id: str
    variant_id: str | None
    version: int | None

    def public(self) -> dict[str, Any]:
        """As it is answered and kept."""
        return {
            "id": self.id,
            "entityId": self.entity_id,
            "variantId": self.variant_id,
            "version": self.version,
        }
