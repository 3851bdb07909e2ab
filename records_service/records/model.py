"""A record, as it is stored and as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from records_service.records.scopes import Values
from shared.ids import ID_PATTERN
from shared.web import Page

COMMENT_LENGTH_MAX = 2_000

Id = Annotated[str, Field(pattern=ID_PATTERN)]


@dataclass(frozen=True, slots=True)
class Record:
    """One stored record; `values` are keyed by attribute id."""

    workspace_id: str
    id: str
    schema_id: str
    state_id: str | None
    version: int
    values: Values
    created_at: datetime
    updated_at: datetime
    created_by: str
    updated_by: str


class _Body(BaseModel):
    model_config = ConfigDict(populate_by_name=True)


class Entry(BaseModel):
    """A value and where it holds; `{}` is everywhere, null stands for no value."""

    scope: dict[str, str] = Field(
        default_factory=dict,
        description="Dimension id -> segment id",
        examples=[{"dim-language": "seg-en"}],
    )
    value: Any = Field(examples=["Coastal Windbreaker"])


SentValues = Annotated[
    dict[str, Any],
    Field(
        description="Attribute alias -> list of {scope, value}; null or [] clears the attribute",
        examples=[{"product-name": [{"scope": {}, "value": "Coastal Windbreaker"}]}],
    ),
]


class RecordDraft(_Body):
    """A record to create."""

    id: Id | None = None
    schema_id: str = Field(alias="schemaId", examples=["schema-apparel"])
    values: SentValues = Field(default_factory=dict)
    lifecycle_state_id: str | None = Field(
        default=None,
        alias="lifecycleStateId",
        description="Where it begins, which its workflow decides: any other state is refused",
    )


class RecordChanges(_Body):
    """New values; an attribute that is not named stays as it is."""

    values: SentValues
    schema_id: str | None = Field(default=None, alias="schemaId")
    lifecycle_state_id: str | None = Field(default=None, alias="lifecycleStateId")


class ValueChange(_Body):
    """One value in one scope; null removes it."""

    scope: dict[str, str] | None = Field(default=None, examples=[{"dim-market": "seg-dk"}])
    value: Any = Field(examples=[549])


class TransitionRequest(_Body):
    """Where the record should go."""

    to_state_id: str = Field(
        alias="toStateId",
        validation_alias=AliasChoices("toStateId", "targetStateId", "stateId", "to_state_id"),
        examples=["state-review"],
    )
    comment: Annotated[str, Field(max_length=COMMENT_LENGTH_MAX)] | None = None


class RecordFilter(Page):
    """Which records a list shows."""

    schema_id: str | None = Field(default=None, alias="schemaId")
    lifecycle_state_id: str | None = Field(default=None, alias="lifecycleStateId")


class CompletenessQuery(_Body):
    """For which state and scope; without a state the current one, without a scope the default."""

    state_id: str | None = Field(default=None, alias="stateId")
    scope: str | None = Field(
        default=None, description='JSON object, such as {"dim-language": "seg-da"}'
    )


class RecordAnswer(BaseModel):
    """A record as clients see it: what is hidden from them is left out."""

    id: str
    schema_id: str = Field(alias="schemaId")
    lifecycle_state_id: str | None = Field(alias="lifecycleStateId")
    created_at: datetime = Field(alias="createdAt")
    updated_at: datetime = Field(alias="updatedAt")
    created_by: str = Field(alias="createdBy")
    updated_by: str = Field(alias="updatedBy")
    values: dict[str, list[Entry]]


class RecordPage(BaseModel):
    """One page of a list of records."""

    items: list[RecordAnswer]
    total: int
    offset: int
    limit: int


class MissingIn(BaseModel):
    """An attribute without a value, and the scope that was looked at: set it there."""

    attribute: str
    scope: dict[str, str]


class StateCompleteness(BaseModel):
    """The score for one lifecycle state."""

    state_id: str = Field(alias="stateId")
    score: Annotated[int, Field(ge=0, le=100)]
    filled: list[str]
    missing: list[str]
    missing_in: list[MissingIn] = Field(alias="missingIn")


class CompletenessAnswer(BaseModel):
    """The score, and the aliases of required attributes that have or lack a value."""

    entity_id: str = Field(alias="entityId")
    state_id: str | None = Field(alias="stateId")
    score: Annotated[int, Field(ge=0, le=100)]
    required: int
    filled: list[str]
    missing: list[str]
    missing_in: list[MissingIn] = Field(alias="missingIn")
    states: list[StateCompleteness]


class BlockingReason(BaseModel):
    """Why a transition is blocked: a role, or a score below its minimum."""

    code: str
    message: str
    score: int | None
    minimum: float | None
    missing: list[str] | None
    missing_in: list[MissingIn] | None = Field(alias="missingIn")


class TransitionAnswer(BaseModel):
    """One transition from the current state."""

    to_state_id: str = Field(alias="toStateId")
    name: str | None
    allowed: bool
    reason: str | None
    reasons: list[BlockingReason]
