"""What records_service asks about a transition."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from shared.http.bounds import AtMost
from workflow_service.definitions.model import STATES_MAX, CamelShape


class StepQuestion(CamelShape):
    """What records_service asks about a record: may it go there? Where may it go at all."""

    definition_version: int
    from_state_id: str
    to_state_id: str | None = None
    scores: Annotated[dict[str, int], AtMost(STATES_MAX)] = Field(default={})
