"""What is granted, asked and answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.identity import Identity

GRANTEES = ("workflow_service",)
"""The services that act for absent users and API keys."""

Absence = Literal["deleted", "disabled", "noGrant"]
"""Why nobody can be acted for: gone; disabled, or a deactivated key; never granted."""


SubjectKind = Literal["user", "api_key"]
"""Who can grant."""


class GrantDraft(BaseModel):
    """The caller lets this service act for it from now on."""

    service: Literal["workflow_service"]


class ActingQuestion(BaseModel):
    """A service wants to act for this user or API key."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    workspace_id: Annotated[str, Field(min_length=1, max_length=128)]
    kind: SubjectKind
    id: Annotated[str, Field(min_length=1, max_length=128)]


Lent = Identity | Absence
