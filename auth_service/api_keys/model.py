"""An API key as it is asked for, as clients see it, and as it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from typing_extensions import TypeAliasType

from shared.bounds import AtMost
from shared.identity import Permission
from shared.ids import ID_PATTERN
from shared.shapes import Shape

ApiKeyPermission = TypeAliasType(
    "ApiKeyPermission",
    Annotated[
        Literal["read", "update-data", "delete-data", "update-model", "delete-model"],
        Field(description="What an API key may do. No permission implies another."),
    ],
)


class _Shape(Shape):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class ApiKeyDraft(_Shape):
    """An API key to create."""

    id: Annotated[str, Field(pattern=ID_PATTERN)] | None = None
    """The id. Made by the server when it is left out."""
    name: Annotated[str, Field(min_length=1, max_length=255)] = Field(examples=["Nightly export"])
    """What the key is for. Shown to people."""
    permissions: Annotated[list[ApiKeyPermission], Field(min_length=1), AtMost(100)] = Field(
        examples=[["read", "update-data"]]
    )
    """What the key may do."""


class ApiKeyAnswer(_Shape):
    """An API key, without the key itself."""

    id: str
    """The id. It never changes."""
    name: str
    """What the key is for."""
    permissions: list[ApiKeyPermission]
    """What the key may do."""
    active: bool
    """False once it is deactivated. It is refused then."""
    created_at: datetime
    """When it was created."""
    last_used_at: datetime | None
    """When it was last used, to the minute; null before the first use."""


class NewApiKeyAnswer(ApiKeyAnswer):
    """A new API key: the only answer that holds the key itself."""

    key: str = Field(examples=["sigma_sk_live_…"])
    """The key, to be sent as `X-Sigma-ApiKey`. It is shown only once."""


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
