"""A reference of a schema to a workflow: as it is registered, and as it is stored."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_service.definitions.model import CamelShape


class ReferenceDraft(CamelShape):
    """What records_service registers before it saves a schema."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Reference:
    """One schema's binding to one workflow, as it was at `revision`."""

    workspace_id: str
    schema_id: str
    workflow_id: str
    revision: int
