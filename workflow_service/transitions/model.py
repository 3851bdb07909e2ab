"""What records_service asks about a transition."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from shared.http.bounds import AtMost
from workflow_service.definitions.model import STATES_MAX, CamelShape

STEPS_MAX = 1_000


class StepQuestion(CamelShape):
    """What records_service asks about a record: may it go there? Where may it go at all."""

    definition_version: int
    from_state_id: str
    to_state_id: str | None = None
    scores: Annotated[dict[str, int], AtMost(STATES_MAX)] = Field(default={})
    role_id: str | None = None
    """The role that the gates judge, where it is not the caller's."""


class Step(CamelShape):
    """Where a record is, and its score for the state where it is to go."""

    from_state_id: str
    score: int


class StepsQuestion(CamelShape):
    """What records_service asks about many records that are to go to one state."""

    definition_version: int
    to_state_id: str
    steps: Annotated[list[Step], AtMost(STEPS_MAX)]
