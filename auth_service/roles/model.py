"""A role: as it is asked for (`RoleDraft`), as clients see it (`RoleAnswer`), as it is (`Role`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.identity import ADMIN_ROLE, ALL_FLAGS, Flag
from shared.ids import ID_PATTERN

SCHEMA_PERMISSIONS_MAX = 1_000
ATTRIBUTE_PERMISSIONS_MAX = 2_000
CATALOG_PERMISSIONS_MAX = 2_000
ATTRIBUTES_RESOLVED_MAX = 5_000

ANY = "*"
ID_OR_ANY_PATTERN = rf"^(\*|{ID_PATTERN[1:-1]})$"
NAME_OR_ANY_PATTERN = r"^(\*|[A-Za-z0-9_][A-Za-z0-9_.~-]{0,127})$"

AttributePermission = Literal["write", "read", "hidden"]


Id = Annotated[str, Field(pattern=ID_PATTERN)]
IdOrAny = Annotated[str, Field(pattern=ID_OR_ANY_PATTERN)]
NameOrAny = Annotated[str, Field(pattern=NAME_OR_ANY_PATTERN)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Description = Annotated[str, Field(max_length=10_000)]


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class SchemaPermission(_Shape):
    """What a role may do with the attributes of one schema.

    `*` stands for all schemas without an entry of their own, and among the attributes for all that
    are not named. What nothing is said about is hidden. An alias that is sent becomes the id.
    """

    schema_id: NameOrAny = Field(examples=["schema-apparel"])
    attribute_permissions: Annotated[
        dict[NameOrAny, AttributePermission], Field(max_length=ATTRIBUTE_PERMISSIONS_MAX)
    ] = Field(
        default={},
        description="Attribute id (or `*`) -> permission",
        examples=[{"*": "write", "attr-price": "read"}],
        json_schema_extra={"additionalProperties": False},
    )


class CatalogPermission(_Shape):
    """What a role may do with one catalog (`*`: with those that have no entry of their own)."""

    catalog_id: IdOrAny = Field(examples=["cat-webshop"])
    can_view: bool = False
    can_assign: bool = False


class RoleDraft(_Shape):
    """A whole role, for POST and PUT alike: what is left out is false, empty or none."""

    id: Id | None = Field(default=None, description="Made by the server when it is left out")
    name: Name
    description: Description | None = None
    can_manage_schemas: bool = False
    can_manage_roles: bool = False
    can_manage_dimensions: bool = False
    can_manage_option_lists: bool = False
    can_export: bool = False
    can_import: bool = False
    schema_permissions: Annotated[
        list[SchemaPermission], Field(max_length=SCHEMA_PERMISSIONS_MAX)
    ] = []
    catalog_permissions: Annotated[
        list[CatalogPermission], Field(max_length=CATALOG_PERMISSIONS_MAX)
    ] = []

    @property
    def flags(self) -> frozenset[Flag]:
        """The system flags that are switched on."""
        return frozenset(flag for flag in Flag if getattr(self, _FIELD_OF[flag]))


_FIELD_OF = {
    Flag.MANAGE_SCHEMAS: "can_manage_schemas",
    Flag.MANAGE_ROLES: "can_manage_roles",
    Flag.MANAGE_DIMENSIONS: "can_manage_dimensions",
    Flag.MANAGE_OPTION_LISTS: "can_manage_option_lists",
    Flag.EXPORT: "can_export",
    Flag.IMPORT: "can_import",
}


class RoleAnswer(_Shape):
    """A role as clients see it."""

    id: str
    name: str
    description: str | None
    can_manage_schemas: bool
    can_manage_roles: bool
    can_manage_dimensions: bool
    can_manage_option_lists: bool
    can_export: bool
    can_import: bool
    schema_permissions: list[SchemaPermission]
    catalog_permissions: list[CatalogPermission]
    created_at: datetime
    updated_at: datetime


class ResolveRequest(_Shape):
    """For which attributes; without a list for all that the schema has."""

    schema_id: Id = Field(examples=["schema-apparel"])
    attribute_ids: Annotated[list[str], Field(max_length=ATTRIBUTES_RESOLVED_MAX)] | None = Field(
        default=None, description="Ids or aliases"
    )


class ResolveAnswer(_Shape):
    """The permission on each attribute asked for."""

    role_id: str
    schema_id: str
    permissions: dict[str, AttributePermission]


class MissingRolesRequest(_Shape):
    """Another service asks which of these do not exist."""

    ids: Annotated[list[str], Field(max_length=10_000)]


@dataclass(frozen=True, slots=True)
class Role:
    """A role at one version; the permission lists are JSON, in the form of the public object."""

    workspace_id: str
    id: str
    name: str
    description: str | None
    flags: frozenset[Flag]
    schema_permissions: Sequence[dict[str, Any]]
    catalog_permissions: Sequence[dict[str, Any]]
    version: int
    created_at: datetime
    updated_at: datetime

    def revised(self, draft: RoleDraft, *, version: int, now: datetime) -> Role:
        """The same role with everything that a draft can say taken from it."""
        return replace(
            self,
            name=draft.name,
            description=draft.description,
            flags=draft.flags,
            schema_permissions=[
                entry.model_dump(by_alias=True) for entry in draft.schema_permissions
            ],
            catalog_permissions=[
                entry.model_dump(by_alias=True) for entry in draft.catalog_permissions
            ],
            version=version,
            updated_at=now,
        )

    def at(self, version: int) -> Role:
        """The same role under another version."""
        return replace(self, version=version)

    def public(self) -> dict[str, Any]:
        """The object that clients see; they get the version as its `ETag`."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            **{flag.value: flag in self.flags for flag in Flag},
            "schemaPermissions": self.schema_permissions,
            "catalogPermissions": self.catalog_permissions,
            "createdAt": _told(self.created_at),
            "updatedAt": _told(self.updated_at),
        }

    def document(self) -> dict[str, Any]:
        """The object that other services get: the public one, whose it is, and its version."""
        return {"workspaceId": self.workspace_id, "version": self.version, **self.public()}


def blank_role(workspace_id: str, role_id: str, now: datetime) -> Role:
    """A role that allows nothing, to be revised."""
    return Role(
        workspace_id=workspace_id,
        id=role_id,
        name=role_id,
        description=None,
        flags=frozenset(),
        schema_permissions=(),
        catalog_permissions=(),
        version=0,
        created_at=now,
        updated_at=now,
    )


def built_in_admin(workspace_id: str, now: datetime) -> Role:
    """The role that every workspace begins with, and that no rule restricts."""
    return replace(
        blank_role(workspace_id, ADMIN_ROLE, now),
        name="Admin",
        description="May do everything. Built in: it cannot be deleted or restricted.",
        flags=ALL_FLAGS,
        schema_permissions=[{"schemaId": ANY, "attributePermissions": {ANY: "write"}}],
        catalog_permissions=[{"catalogId": ANY, "canView": True, "canAssign": True}],
    )


def _told(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
