"""One entry of the history of a record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.web import Page

Action = Literal["create", "update", "delete", "transition"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened once; `changes` are those of records_service.records.changes."""

    id: int
    record_id: str
    action: str
    user_id: str
    at: datetime
    changes: list[dict[str, Any]]
    from_state_id: str | None
    to_state_id: str | None
    comment: str | None


class AuditFilter(Page):
    """Which part of the workspace's history to show."""

    entity_id: str | None = Field(default=None, alias="entityId")
    user_id: str | None = Field(default=None, alias="userId")
    action: Action | None = None


class ChangeAnswer(BaseModel):
    """One value before and after."""

    attribute: str
    scope: dict[str, str]
    old_value: Any = Field(alias="oldValue")
    new_value: Any = Field(alias="newValue")


class EntryAnswer(BaseModel):
    """One entry as clients see it."""

    id: str
    entity_id: str = Field(alias="entityId")
    action: Action
    user_id: str = Field(alias="userId")
    timestamp: datetime
    changes: list[ChangeAnswer]
    from_state_id: str | None = Field(alias="fromStateId")
    to_state_id: str | None = Field(alias="toStateId")
    comment: str | None


class EntryPage(BaseModel):
    """One page of history, newest first."""

    items: list[EntryAnswer]
    total: int
    offset: int
    limit: int
