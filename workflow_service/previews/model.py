"""A preview as it is answered; records_service counts it."""

from __future__ import annotations

from pydantic import Field

from shared.http.shapes import Shape


class WorkflowPreviewSampleAnswer(Shape):
    """A record that a change would affect."""

    entity_id: str = Field(alias="entityId")
    """Id of the record."""
    reason: str
    """What the change would do to it, for people."""


class WorkflowPreviewCompletenessAnswer(Shape):
    """How many records would get another completeness in their lifecycle state."""

    rising: int
    """Records whose score would be higher."""
    falling: int
    """Records whose score would be lower."""


class WorkflowPreviewAnswer(Shape):
    """What a PUT of a workflow with the same body would do to records."""

    records: int
    """How many records were looked at."""
    losing_values: int = Field(alias="losingValues")
    """Always 0: a workflow takes no values away."""
    failing_validation: int = Field(alias="failingValidation")
    """Always 0: a workflow has no rules for values."""
    unique_conflicts: int = Field(alias="uniqueConflicts")
    """Always 0."""
    changing_state: int = Field(alias="changingState")
    """Records in a state that would not exist any more: the PUT is refused while there are any."""
    completeness: WorkflowPreviewCompletenessAnswer
    """Records whose completeness would change, in the default scope."""
    samples: list[WorkflowPreviewSampleAnswer]
    """Some of the affected records: at most five for each figure."""
    complete: bool
    """False if there was no time to look at all records, so the figures are too small."""
