"""How a change set is applied, as it is sent."""

from __future__ import annotations

from pydantic import Field

from workflow_service.proposals.model import Body


class ApplicationDraft(Body):
    """How a change set is applied."""

    force: bool = Field(default=False, strict=True)
    """Whether values that have changed since they were proposed are overwritten."""
