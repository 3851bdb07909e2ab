"""An API key as it is asked for, as clients see it, and as it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.identity import Permission
from shared.ids import ID_PATTERN

PermissionName = Literal["read", "update-data", "delete-data", "update-model", "delete-model"]


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class ApiKeyDraft(_Shape):
    """A key to be made."""

    id: Annotated[str, Field(pattern=ID_PATTERN)] | None = Field(
        default=None, description="Made by the server when it is left out"
    )
    name: Annotated[str, Field(min_length=1, max_length=255)] = Field(examples=["Nightly export"])
    permissions: Annotated[list[PermissionName], Field(min_length=1, max_length=100)] = Field(
        description="None of them implies another", examples=[["read", "update-data"]]
    )


class ApiKeyAnswer(_Shape):
    """A key as clients see it: never the key itself, nor its hash."""

    id: str
    name: str
    permissions: list[PermissionName]
    active: bool
    created_at: datetime
    last_used_at: datetime | None = Field(description="To the minute; null before the first use")


class NewApiKeyAnswer(ApiKeyAnswer):
    """The one answer that holds the key itself."""

    key: str = Field(description="Shown this once", examples=["sigma_sk_live_…"])


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is stored."""

    workspace_id: str
    id: str
    name: str
    permissions: tuple[Permission, ...]
    key_hash: bytes
    active: bool
    version: int
    created_by: str
    created_at: datetime
    last_used_at: datetime | None

    def public(self) -> dict[str, Any]:
        """The object that clients see."""
        return {
            "id": self.id,
            "name": self.name,
            "permissions": self.permissions,
            "active": self.active,
            "createdAt": self.created_at,
            "lastUsedAt": self.last_used_at,
        }
