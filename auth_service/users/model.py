"""A user, and what is told about one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, Field


@dataclass(frozen=True, slots=True)
class User:
    """A person with one role in one workspace. The password's hash stays in the store."""

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

    def public(self) -> dict[str, str]:
        """What a client is told about a user."""
        return {"id": self.id, "email": self.email, "name": self.name, "roleId": self.role_id}


class UserAnswer(BaseModel):
    """A user as clients see one."""

    id: str = Field(examples=["user-admin"])
    email: str = Field(examples=["admin@sigma.io"])
    name: str = Field(examples=["Admin User"])
    roleId: str = Field(examples=["role-admin"])  # noqa: N815 - the name in the JSON


class TenantAnswer(BaseModel):
    """A workspace and those of its users whom a login screen may offer."""

    id: str = Field(examples=["ws-demo"])
    name: str = Field(examples=["Demo"])
    users: list[UserAnswer]
