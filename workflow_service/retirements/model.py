"""A retirement as records_service reports it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retirement:
    """States that records_service holds back for `version` of a workflow.

    `checked_at` is its mark of this very claim, to be given back as it came.
    """

    workspace_id: str
    workflow_id: str
    version: int
    checked_at: str
