"""The request and the answer of the gateway's look-up."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from typing_extensions import TypeAliasType

from auth_service.api_keys.model import ApiKeyPermission
from shared.http.shapes import Shape
from shared.identity import ALL_PERMISSIONS, Flag, Identity, Permission

CallerKind = TypeAliasType(
    "CallerKind",
    Annotated[Literal["user", "apiKey"], Field(description="What a caller is.")],
)


class IdentityQuestion(BaseModel):
    """A question: who is behind this key, or what may the user of this token do now."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    api_key_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    user_id: str | None = None
    workspace_id: str | None = None
    role_id: str | None = None
    issued_at: Annotated[int, Field(ge=0, lt=1 << 53)] | None = None

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        by_user = self.user_id is not None and self.workspace_id is not None
        if by_user == (self.api_key_hash is not None):
            raise ValueError("expected apiKeyHash, or userId and workspaceId")
        return self


class WorkspaceAnswer(Shape):
    """A workspace, and how full it is."""

    id: str = Field(examples=["ws-demo"])
    """Id of the workspace."""
    name: str = Field(examples=["Sigma Demo"])
    """The display name."""
    recordLimit: int  # noqa: N815 - the name in the JSON
    """The maximum number of records."""
    records: int
    """The number of records."""


class MeAnswer(Shape):
    """The caller. A user has `email` and `roleId`, an API key has `permissions`."""

    kind: CallerKind
    """Whether a user or an API key is calling."""
    id: str = Field(examples=["user-admin"])
    """Id of the user or of the API key."""
    name: str = Field(examples=["Admin User"])
    """The display name."""
    email: str = Field(default="", examples=["admin@sigma.io"])
    """The e-mail address of the user."""
    roleId: str = Field(default="", examples=["role-admin"])  # noqa: N815 - the name in the JSON
    """Id of the user's role."""
    permissions: list[ApiKeyPermission] = Field(default_factory=list)
    """What the API key may do."""
    workspace: WorkspaceAnswer
    """The workspace of the caller."""


def user_identity(
    workspace_id: str,
    user_id: str,
    *,
    role_id: str,
    role_version: int,
    flags: frozenset[Flag],
    record_limit: int,
) -> Identity:
    """A person: every permission class, and the flags of the role."""
    return Identity(
        kind="user",
        id=user_id,
        workspace_id=workspace_id,
        role_id=role_id,
        role_version=role_version,
        flags=flags,
        permissions=ALL_PERMISSIONS,
        record_limit=record_limit,
    )


def key_identity(
    workspace_id: str, key_id: str, permissions: frozenset[Permission], record_limit: int
) -> Identity:
    """A program: the permission classes of its key, and no role."""
    return Identity(
        kind="api_key",
        id=key_id,
        workspace_id=workspace_id,
        permissions=permissions,
        record_limit=record_limit,
    )


def identity_payload(identity: Identity) -> dict[str, Any]:
    """An identity in JSON, as the gateway reads it before it signs one."""
    return {
        "kind": identity.kind,
        "id": identity.id,
        "workspaceId": identity.workspace_id,
        "roleId": identity.role_id,
        "roleVersion": identity.role_version,
        "flags": sorted(identity.flags),
        "permissions": sorted(identity.permissions),
        "recordLimit": identity.record_limit,
    }
