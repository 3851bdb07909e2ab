"""A role: as it is asked for (`RoleDraft`), as clients see it (`RoleAnswer`), as it is (`Role`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from typing_extensions import TypeAliasType

from shared.bounds import AtMost
from shared.identity import ADMIN_ROLE, ALL_FLAGS, Flag
from shared.ids import ID_PATTERN
from shared.shapes import Shape

SCHEMA_PERMISSIONS_MAX = 1_000
ATTRIBUTE_PERMISSIONS_MAX = 2_000
CATALOG_PERMISSIONS_MAX = 2_000
PERMISSIONS_MAX = 20_000
"""Of all schemas together, so that two roles are compared in milliseconds."""
ATTRIBUTES_NAMED_MAX = 10_000
"""Different ones in a role: as many as records_service is asked about at once."""
ATTRIBUTES_RESOLVED_MAX = 5_000

ANY = "*"
ID_OR_ANY_PATTERN = rf"^(\*|{ID_PATTERN[1:-1]})$"
NAME_OR_ANY_PATTERN = r"^(\*|[A-Za-z0-9_][A-Za-z0-9_.~-]{0,127})$"

AttributePermission = TypeAliasType(
    "AttributePermission",
    Annotated[
        Literal["write", "read", "hidden"],
        Field(description="`write` includes `read`; what is `hidden` does not exist for the role."),
    ],
)


Id = Annotated[str, Field(pattern=ID_PATTERN)]
IdOrAny = Annotated[str, Field(pattern=ID_OR_ANY_PATTERN)]
NameOrAny = Annotated[str, Field(pattern=NAME_OR_ANY_PATTERN)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Description = Annotated[str, Field(max_length=10_000)]


class _Shape(Shape):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


AttributePermissions = TypeAliasType(
    "AttributePermissions",
    Annotated[
        dict[NameOrAny, AttributePermission],
        AtMost(ATTRIBUTE_PERMISSIONS_MAX),
        Field(
            description="Attribute id, alias or `*` -> permission. Answers have ids.",
        ),
    ],
)


class SchemaPermission(_Shape):
    """What a role may do with the attributes of one schema.

    `*` stands for all schemas without an entry of their own, and among the attributes for all that
    are not named. Attributes without a permission are hidden. An alias that is sent becomes the id.
    """

    schema_id: NameOrAny = Field(examples=["schema-apparel"])
    """Id or alias of the schema, or `*` for all that have no entry of their own."""
    attribute_permissions: AttributePermissions = Field(
        default={}, examples=[{"*": "write", "attr-price": "read"}]
    )
    """The permission on each attribute."""


class CatalogPermission(_Shape):
    """What a role may do with one catalog."""

    catalog_id: IdOrAny = Field(examples=["cat-webshop"])
    """Id of the catalog, or `*` for all that have no entry of their own."""
    can_view: bool = False
    """May see the catalog."""
    can_assign: bool = False
    """May put records into the catalog."""


class RoleDraft(_Shape):
    """A whole role, for POST and PUT alike: what is left out is false, empty or null."""

    id: Id | None = None
    """The id. Made by the server when it is left out; a PUT may repeat it."""
    name: Name
    """Shown to people."""
    description: Description | None = None
    """What the role is for."""
    can_manage_schemas: bool = False
    """May create, replace and delete schemas, attributes and workflows."""
    can_manage_roles: bool = False
    """May create, replace and delete roles."""
    can_manage_dimensions: bool = False
    """May create, replace and delete dimensions."""
    can_manage_option_lists: bool = False
    """May create, replace and delete option lists."""
    can_export: bool = False
    """May export records."""
    can_import: bool = False
    """May import records."""
    schema_permissions: Annotated[list[SchemaPermission], AtMost(SCHEMA_PERMISSIONS_MAX)] = Field(
        default=[]
    )
    """Permissions on the attributes of each schema; what is not named is hidden."""
    catalog_permissions: Annotated[list[CatalogPermission], AtMost(CATALOG_PERMISSIONS_MAX)] = (
        Field(default=[])
    )
    """Permissions on catalogs."""

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
    """A role."""

    id: str
    """The id. It never changes."""
    name: str
    """Shown to people."""
    description: str | None
    """What the role is for."""
    can_manage_schemas: bool
    """May create, replace and delete schemas, attributes and workflows."""
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
    """Permissions on the attributes of each schema; what is not named is hidden."""
    catalog_permissions: list[CatalogPermission]
    """Permissions on catalogs."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""


class ResolveRequest(_Shape):
    """The attributes to resolve; without a list, all that the schema has."""

    schema_id: Id = Field(examples=["schema-apparel"])
    """Id of the schema."""
    attribute_ids: Annotated[list[str], AtMost(ATTRIBUTES_RESOLVED_MAX)] | None = None
    """Ids or aliases of attributes of the schema."""


class ResolvedPermissionsAnswer(_Shape):
    """The permission on each attribute that was asked for."""

    role_id: str
    """Id of the role."""
    schema_id: str
    """Id of the schema."""
    permissions: AttributePermissions
    """Attribute id -> permission."""


class MissingRolesRequest(_Shape):
    """Another service asks which of these do not exist."""

    ids: Annotated[list[str], AtMost(10_000)]


@dataclass(frozen=True, slots=True)
class RoleNames:
    """Names of schemas and of attributes in roles, `*` left out."""

    schemas: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()

    def __or__(self, other: RoleNames) -> RoleNames:
        return RoleNames(self.schemas | other.schemas, self.attributes | other.attributes)


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
