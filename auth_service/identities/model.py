"""The request and the answer of the gateway's look-up."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from shared.identity import ALL_PERMISSIONS, Flag, Identity, Permission


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
