"""Completeness as it is asked for and answered."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, Json

from records_service.dimensions.model import Scope
from shared.http.shapes import DescribedAs, Shape

Score = Annotated[int, Field(ge=0, le=100)]


class CompletenessQuery(Shape):
    """For which state and scope."""

    model_config = ConfigDict(populate_by_name=True)

    state_id: str | None = Field(default=None, alias="stateId")
    """The lifecycle state (id or alias). Default: the current state."""
    scope: Annotated[str, DescribedAs(Json[Scope])] | None = Field(
        default=None, examples=['{"dim-language":"seg-da"}']
    )
    """The scope as a JSON object. A dimension that is left out has its default segment."""


class MissingIn(Shape):
    """A required attribute, and the scope in which its value is missing."""

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
