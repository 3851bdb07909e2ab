"""A role as it is returned (`RoleAnswer`), and what other services ask."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from auth_service.permissions.model import CamelShape, CatalogPermission, SchemaPermission
from shared.http.bounds import AtMost


class RoleAnswer(CamelShape):
    """A role."""

    id: str
    """The id. It never changes."""
    name: str
    """The display name."""
    description: str | None
    """What the role is for."""
    can_manage_schemas: bool
    """May create, replace and delete schemas, attributes and workflows, and so decide who may make
    a transition. Attributes that a state hides or makes read-only stay so for such a role."""
    can_manage_roles: bool
    """May create, replace and delete roles."""
    can_manage_dimensions: bool
    """May create, replace and delete dimensions."""
    can_manage_option_lists: bool
    """May create, replace and delete option lists."""
    can_export: bool
    """May export records."""
    can_import: bool
    """May import records."""
    schema_permissions: list[SchemaPermission]
    """Permissions on the attributes of each schema. Attributes that are not named are hidden."""
    catalog_permissions: list[CatalogPermission]
    """Permissions on catalogs."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""


class MissingRolesRequest(CamelShape):
    """Another service asks which of these do not exist."""

    ids: Annotated[list[str], AtMost(10_000)]
