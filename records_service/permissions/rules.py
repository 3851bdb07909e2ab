"""Computes the permission of a role on an attribute of a schema, and its rights on a catalog.

The one function that decides is `decided`; every read and every write asks it. Nothing said
means hidden. A schema's own entry is asked before the entry for `*` (all schemas), and in an entry
the attribute before `*` (all attributes). Administrators and API keys are not restricted.

Only an id gives. A schema or an attribute may be given another alias at any time, and an alias may
pass to another one: so a name that is an alias, or once was one, takes away and never gives. The
stricter of its word and of what holds without it counts (docs/adr/0010).

Catalogs have no second level, and no alias: the entry of the catalog decides, else the one for `*`,
else nothing is allowed. Who manages schemas makes the catalogs, and so sees all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self

from shared.identity import Flag


class AttributePermission(StrEnum):
    """The three words of the roles page."""

    WRITE = "write"
    READ = "read"
    HIDDEN = "hidden"


_RANK: Mapping[AttributePermission, int] = {
    AttributePermission.HIDDEN: 0,
    AttributePermission.READ: 1,
    AttributePermission.WRITE: 2,
}
"""From the strictest up."""

ANY = "*"


class Names(NamedTuple):
    """What a schema or an attribute may be called in a role."""

    id: str
    aliases: tuple[str, ...]
    """The alias that it has, and those that it had."""


class CatalogAccess(NamedTuple):
    """What a caller may do with one catalog."""

    can_view: bool
    can_assign: bool


@dataclass(frozen=True, slots=True)
class CatalogsInView:
    """The catalogs that a caller may view: those with these ids, or all others."""

    ids: frozenset[str]
    all_others: bool

    def __contains__(self, catalog_id: str) -> bool:
        return (catalog_id in self.ids) != self.all_others


@dataclass(frozen=True, slots=True)
class Role:
    """A role's permissions on attributes and catalogs at one version."""

    id: str
    version: int
    schema_permissions: Mapping[str, Mapping[str, AttributePermission]]
    catalog_permissions: Mapping[str, CatalogAccess] = field(default_factory=dict)
    """By the id of the catalog, or `*`, as the role says it; `catalog_access` judges it."""
    manages_schemas: bool = False

    @property
    def size(self) -> int:
        """How many permissions it has."""
        return sum(map(len, self.schema_permissions.values())) + len(self.catalog_permissions)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read the role object of auth_service; of two entries for a schema the later one wins."""
        return cls(
            id=document["id"],
            version=document["version"],
            schema_permissions={
                entry["schemaId"]: {
                    attribute_id: AttributePermission(word)
                    for attribute_id, word in entry["attributePermissions"].items()
                }
                for entry in document.get("schemaPermissions") or ()
            },
            catalog_permissions={
                entry["catalogId"]: CatalogAccess(entry["canView"], entry["canAssign"])
                for entry in document.get("catalogPermissions") or ()
            },
            manages_schemas=document.get(Flag.MANAGE_SCHEMAS, False),
        )


def allows(word: AttributePermission, least: AttributePermission) -> bool:
    """Whether a permission is this one or gives more."""
    return _RANK[word] >= _RANK[least]


def reads_everything(role: Role) -> bool:
    """Whether the role may read every attribute of every schema, later ones included."""
    anywhere = role.schema_permissions.get(ANY, {})
    return ANY in anywhere and not any(
        word is AttributePermission.HIDDEN
        for entry in role.schema_permissions.values()
        for word in entry.values()
    )


class Said(NamedTuple):
    """A permission, and the words of the role that give it: names of a schema and an attribute.

    Both are None where the role says nothing.
    """

    word: AttributePermission
    schema_key: str | None = None
    attribute_key: str | None = None


def permission(role: Role | None, schema: Names, attribute: Names) -> AttributePermission:
    """The permission of a role on an attribute; None stands for an unrestricted caller."""
    return AttributePermission.WRITE if role is None else decided(role, schema, attribute).word


def decided(role: Role, schema: Names, attribute: Names) -> Said:
    """The permission of a role on an attribute, with the entry that decided."""
    narrowed: list[Said] = []
    for alias in schema.aliases:
        if alias in role.schema_permissions:
            narrowed += _said(alias, role.schema_permissions[alias], attribute)
    for schema_key in (schema.id, ANY):
        entry = role.schema_permissions.get(schema_key)
        if entry is None:
            continue
        narrowed += _said(schema_key, entry, attribute)
        if attribute.id in entry or ANY in entry:
            return min(narrowed, key=lambda said: _RANK[said.word])
    return Said(AttributePermission.HIDDEN)


def _said(
    schema_key: str, entry: Mapping[str, AttributePermission], attribute: Names
) -> Iterator[Said]:
    """What an entry says of an attribute: by its id, otherwise of all, and by its aliases."""
    for alias in attribute.aliases:
        if alias in entry:
            yield Said(entry[alias], schema_key, alias)
    for key in (attribute.id, ANY):
        if key in entry:
            yield Said(entry[key], schema_key, key)
            return


def catalog_access(role: Role | None, catalog_id: str) -> CatalogAccess:
    """What a role may do with a catalog; None stands for an unrestricted caller.

    Assigning without viewing gives nothing.
    """
    if role is None:
        return CatalogAccess(can_view=True, can_assign=True)
    said = role.catalog_permissions.get(catalog_id) or role.catalog_permissions.get(ANY)
    if said is None:
        return CatalogAccess(role.manages_schemas, can_assign=False)
    return CatalogAccess(
        said.can_view or role.manages_schemas, can_assign=said.can_view and said.can_assign
    )


def catalogs_in_view(role: Role | None) -> CatalogsInView:
    """All catalogs that `catalog_access` lets the role view, for a condition of a statement."""
    if role is None or role.manages_schemas:
        return CatalogsInView(frozenset(), all_others=True)
    named = role.catalog_permissions
    others = ANY in named and named[ANY].can_view
    return CatalogsInView(
        frozenset(name for name, said in named.items() if name != ANY and said.can_view != others),
        all_others=others,
    )
