"""A preview as it is answered, and the figures that it counts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from shared.http.bounds import AtMost
from shared.http.shapes import Shape

SAMPLES_PER_FIGURE: Final = 5
DEFINITION_FIELDS_MAX: Final = 100


class Figure(StrEnum):
    """What a record can count as, in the order in which samples are shown."""

    LOSING = "losing"
    FAILING = "failing"
    CONFLICTING = "conflicting"
    MOVING = "moving"
    RISING = "rising"
    FALLING = "falling"


class PreviewSampleAnswer(Shape):
    """A record that a change would affect."""

    entity_id: str = Field(alias="entityId")
    """Id of the record."""
    reason: str
    """What the change would do to it, for people."""


class PreviewCompletenessAnswer(Shape):
    """How many records would get another completeness in their lifecycle state."""

    rising: int
    """Records whose score would be higher."""
    falling: int
    """Records whose score would be lower."""


class PreviewAnswer(Shape):
    """What a PUT with the same body would do to records. A record can count in several figures."""

    records: int
    """How many records were looked at."""
    losing_values: int = Field(alias="losingValues")
    """Records that hold values which would have to go: the PUT is refused while there are any."""
    failing_validation: int = Field(alias="failingValidation")
    """Records, or those with a variant, whose stored values would break a rule that they keep now.
    They stay stored as they are; the next write of such a value is refused."""
    unique_conflicts: int = Field(alias="uniqueConflicts")
    """Records that share a value with another one: the PUT is refused while there are any."""
    changing_state: int = Field(alias="changingState")
    """Records that would get another lifecycle state. A PUT of a workflow is refused while there
    are any."""
    completeness: PreviewCompletenessAnswer
    """Records whose completeness would change, in the default scope."""
    samples: list[PreviewSampleAnswer]
    """Some of the affected records: at most five for each figure."""
    complete: bool
    """False if there was no time to look at all records, so the figures are too small."""


class WorkflowRevision(BaseModel):
    """The definition that a workflow is about to get, as workflow_service would publish it."""

    definition: Annotated[dict[str, Any], AtMost(DEFINITION_FIELDS_MAX)]
