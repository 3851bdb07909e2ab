"""A record, as it is stored and as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, Json
from typing_extensions import TypeAliasType

from records_service.dimensions.model import Scope
from records_service.records.scopes import Values
from shared.bounds import AtMost
from shared.ids import ID_PATTERN
from shared.shapes import DescribedAs, Shape
from shared.web import Page

COMMENT_LENGTH_MAX = 2_000
ATTRIBUTES_SENT_MAX = 1_000

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


class _Body(Shape):
    model_config = ConfigDict(populate_by_name=True)


class ValueEntry(Shape):
    """A value, and the scope in which it holds."""

    scope: Scope = Field(default_factory=dict)
    """Where the value holds."""
    value: Any = Field(examples=["Coastal Windbreaker"])
    """The value, of the type of the attribute; null stands for no value."""


ValueEntries = TypeAliasType(
    "ValueEntries",
    Annotated[list[ValueEntry], Field(description="The values of one attribute, one for a scope.")],
)
RecordValues = TypeAliasType(
    "RecordValues",
    Annotated[dict[str, ValueEntries], Field(description="Attribute alias -> its values.")],
)
RecordValuesDraft = TypeAliasType(
    "RecordValuesDraft",
    Annotated[
        dict[str, ValueEntries | None],
        AtMost(ATTRIBUTES_SENT_MAX),
        Field(
            description="Attribute id or alias -> its values. Null or `[]` clears the attribute."
        ),
    ],
)
SentValues = Annotated[
    dict[str, Any],
    AtMost(ATTRIBUTES_SENT_MAX),
    DescribedAs(RecordValuesDraft),
    Field(examples=[{"product-name": [{"scope": {}, "value": "Coastal Windbreaker"}]}]),
]
Score = Annotated[int, Field(ge=0, le=100)]


class RecordDraft(_Body):
    """A record to create."""

    id: Id | None = None
    """The id. Made by the server when it is left out."""
    schema_id: str = Field(alias="schemaId", examples=["schema-apparel"])
    """Id of the schema."""
    values: SentValues = Field(default_factory=dict)
    """The values."""
    lifecycle_state_id: str | None = Field(default=None, alias="lifecycleStateId")
    """The state to start in. Only the default state of the workflow is accepted."""


class RecordChanges(_Body):
    """New values. Attributes that are not named stay as they are."""

    id: str | None = None
    """The id, if it is sent; it cannot change."""
    values: SentValues
    """The new values."""
    schema_id: str | None = Field(default=None, alias="schemaId")
    """Id of the schema, if it is sent; it cannot change."""
    lifecycle_state_id: str | None = Field(default=None, alias="lifecycleStateId")
    """The current state, if it is sent; it changes by transitions only."""


class ValueChange(_Body):
    """A value for one scope."""

    scope: Scope | None = Field(default=None, examples=[{"dim-market": "seg-dk"}])
    """Where the value holds; everywhere when it is left out."""
    value: Any = Field(examples=[549])
    """The value, of the type of the attribute; null removes it."""


class TransitionRequest(_Body):
    """The state to move the record to."""

    to_state_id: str = Field(
        alias="toStateId",
        validation_alias=AliasChoices("toStateId", "targetStateId", "stateId", "to_state_id"),
        examples=["state-review"],
    )
    """Id or alias of the state."""
    comment: Annotated[str, Field(max_length=COMMENT_LENGTH_MAX)] | None = None
    """Kept in the history."""


class RecordFilter(Page):
    """Which records a list shows."""

    schema_id: str | None = Field(default=None, alias="schemaId")
    """Only records of this schema (id or alias)."""
    lifecycle_state_id: str | None = Field(default=None, alias="lifecycleStateId")
    """Only records in this lifecycle state (id or alias)."""


class CompletenessQuery(_Body):
    """For which state and scope."""

    state_id: str | None = Field(default=None, alias="stateId")
    """The lifecycle state (id or alias); the current one when it is left out."""
    scope: Annotated[str, DescribedAs(Json[Scope])] | None = Field(
        default=None, examples=['{"dim-language":"seg-da"}']
    )
    """The scope as a JSON object; default segments stand in for what it leaves out."""


class RecordAnswer(Shape):
    """A record. Attributes that are hidden from the caller are left out."""

    id: str
    """The id. It never changes."""
    schema_id: str = Field(alias="schemaId")
    """Id of its schema."""
    lifecycle_state_id: str | None = Field(alias="lifecycleStateId")
    """Id of its lifecycle state; null without a workflow."""
    created_at: datetime = Field(alias="createdAt")
    """When it was created."""
    updated_at: datetime = Field(alias="updatedAt")
    """When it was last changed."""
    created_by: str = Field(alias="createdBy")
    """Id of the user or API key that created it."""
    updated_by: str = Field(alias="updatedBy")
    """Id of the user or API key that changed it last."""
    values: RecordValues
    """The values."""


class RecordPage(Shape):
    """One page of a list of records."""

    items: list[RecordAnswer]
    """The records."""
    total: int
    """How many there are in all."""
    offset: int
    """How many were skipped."""
    limit: int
    """How many at most are in `items`."""


class MissingIn(Shape):
    """An attribute without a value, and the scope that was looked at: set it there."""

    attribute: str
    """Alias of the attribute."""
    scope: Scope
    """Where a value is missing."""


class StateCompleteness(Shape):
    """The completeness for one lifecycle state."""

    state_id: str = Field(alias="stateId")
    """Id of the state."""
    score: Score
    """The share of required attributes that have a value, in percent, rounded down."""
    filled: list[str]
    """Aliases of required attributes that have a value."""
    missing: list[str]
    """Aliases of required attributes that have no value."""
    missing_in: list[MissingIn] = Field(alias="missingIn")
    """The same attributes, each with the scope in which a value is missing."""


class CompletenessAnswer(Shape):
    """How complete a record is."""

    entity_id: str = Field(alias="entityId")
    """Id of the record."""
    state_id: str | None = Field(alias="stateId")
    """Id of the state that was asked for; null without a workflow."""
    score: Score
    """The share of required attributes that have a value, in percent, rounded down."""
    required: int
    """How many attributes are required."""
    filled: list[str]
    """Aliases of required attributes that have a value."""
    missing: list[str]
    """Aliases of required attributes that have no value."""
    missing_in: list[MissingIn] = Field(alias="missingIn")
    """The same attributes, each with the scope in which a value is missing."""
    states: list[StateCompleteness]
    """The same for each state of the workflow."""


BlockingCode = TypeAliasType(
    "BlockingCode",
    Annotated[
        Literal["ROLE", "COMPLETENESS"],
        Field(description="`ROLE`: the role may not. `COMPLETENESS`: the score is too low."),
    ],
)


class BlockingReason(Shape):
    """Why a transition is not allowed."""

    code: BlockingCode
    """The kind of the reason."""
    message: str
    """For people."""
    score: int | None
    """The score of the record for the target state."""
    minimum: float | None
    """The score that the transition requires."""
    missing: list[str] | None
    """Aliases of required attributes that have no value."""
    missing_in: list[MissingIn] | None = Field(alias="missingIn")
    """The same attributes, each with the scope in which a value is missing."""


class AvailableTransitionAnswer(Shape):
    """One transition from the current state of a record."""

    to_state_id: str = Field(alias="toStateId")
    """Id of the state that it leads to."""
    name: str | None
    """Shown to people."""
    allowed: bool
    """Whether the caller may take it now."""
    reason: str | None
    """The message of the first reason."""
    reasons: list[BlockingReason]
    """Every reason why it is not allowed."""
