"""A user, and its form in answers and events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from shared.http.shapes import Shape


@dataclass(frozen=True, slots=True)
class User:
    """A user, with one role in one workspace. The password's hash stays in the store."""

    workspace_id: str
    id: str
    email: str
    name: str
    role_id: str
    active: bool
    quick_login: bool
    version: int
    created_at: datetime
    updated_at: datetime
    sessions_from: int = 0
    """Epoch seconds: tokens issued before this moment are no longer good."""

    def public(self) -> dict[str, str]:
        """The user as it is returned to clients."""
        return {"id": self.id, "email": self.email, "name": self.name, "roleId": self.role_id}


class UserAnswer(Shape):
    """A user, with one role in one workspace."""

    id: str = Field(examples=["user-admin"])
    """The id. It never changes."""
    email: str = Field(examples=["admin@sigma.io"])
    """The e-mail address."""
    name: str = Field(examples=["Admin User"])
    """The display name."""
    roleId: str = Field(examples=["role-admin"])  # noqa: N815 - the name in the JSON
    """Id of the role."""


class TenantAnswer(Shape):
    """A workspace, and the users that a login screen may offer."""

    id: str = Field(examples=["ws-demo"])
    """Id of the workspace."""
    name: str = Field(examples=["Demo"])
    """The display name."""
    users: list[UserAnswer]
    """Users with quick login."""
