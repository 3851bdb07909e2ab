"""Transitions as they are asked for and answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, ConfigDict, Field
from typing_extensions import TypeAliasType

from records_service.completeness.model import MissingIn
from shared.http.shapes import Shape

COMMENT_LENGTH_MAX = 2_000


class TransitionRequest(Shape):
    """The state to move the record to."""

    model_config = ConfigDict(populate_by_name=True)

    to_state_id: str = Field(
        alias="toStateId",
        validation_alias=AliasChoices("toStateId", "targetStateId", "stateId", "to_state_id"),
        examples=["state-review"],
    )
    """Id or alias of the state."""
    comment: Annotated[str, Field(max_length=COMMENT_LENGTH_MAX)] | None = None
    """Stored in the history."""


BlockingCode = TypeAliasType(
    "BlockingCode",
    Annotated[
        Literal["ROLE", "COMPLETENESS"],
        Field(
            description="`ROLE`: the role does not allow it. `COMPLETENESS`: the score is too low."
        ),
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
    """The display name."""
    allowed: bool
    """Whether the caller may make this transition now."""
    reason: str | None
    """The message of the first reason."""
    reasons: list[BlockingReason]
    """Every reason why it is not allowed."""
