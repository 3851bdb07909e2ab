"""The permissions that are asked for, and the answer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from auth_service.permissions.model import AttributePermissions, CamelShape, Id
from shared.http.bounds import AtMost

ATTRIBUTES_RESOLVED_MAX = 5_000


class ResolveRequest(CamelShape):
    """The attributes to resolve; without a list, all that the schema has."""

    schema_id: Id = Field(examples=["schema-apparel"])
    """Id of the schema."""
    attribute_ids: Annotated[list[str], AtMost(ATTRIBUTES_RESOLVED_MAX)] | None = None
    """Ids or aliases of attributes of the schema."""


class ResolvedPermissionsAnswer(CamelShape):
    """The permission on each attribute that was asked for."""

    role_id: str
    """Id of the role."""
    schema_id: str
    """Id of the schema."""
    permissions: AttributePermissions
    """Attribute id -> permission."""
