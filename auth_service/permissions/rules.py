"""Decides what a role may do with an attribute of a schema, or with a catalog.

The rule, which records_service follows word for word in its `permissions/rules.py`:

1. `role-admin` may write everything.
2. The entry of the schema itself is asked before the entry for `*` (all schemas).
3. In an entry the attribute itself, by its id, is asked before `*` (all attributes).
4. The first of these four that says something decides: schema and attribute, schema and `*`,
   `*` and attribute, `*` and `*`.
5. If none does, the attribute is hidden.
6. Only an id gives. Where an entry names a schema or an attribute by an alias that it has or had,
   the stricter of that word and of what holds without it counts (docs/adr/0010).

So an entry of a schema adds to the entry for all schemas and wins where both speak. Catalogs have
no second level: the entry of the catalog decides, else the one for `*`, else nothing is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, cast

from auth_service.permissions.model import ANY, AttributePermission, Role
from shared.identity import ADMIN_ROLE

CatalogRight = Literal["canView", "canAssign"]

RANK: Final[Mapping[AttributePermission, int]] = {"hidden": 0, "read": 1, "write": 2}
"""The permissions from the strictest up."""


class Names(NamedTuple):
    """What a schema or an attribute may be called in a role."""

    id: str
    aliases: tuple[str, ...] = ()
    """The alias that it has, and those that it had."""


class Resolved:
    """One role, made ready to be asked."""

    def __init__(self, role: Role) -> None:
        self._unrestricted = role.id == ADMIN_ROLE
        self._schemas: dict[str, Mapping[str, AttributePermission]] = {
            entry["schemaId"]: entry["attributePermissions"] for entry in role.schema_permissions
        }
        self._catalogs: dict[str, Mapping[str, Any]] = {
            entry["catalogId"]: entry for entry in role.catalog_permissions
        }

    @property
    def schema_keys(self) -> Iterable[str]:
        """The schemas that are named, `*` among them."""
        return self._schemas.keys()

    @property
    def catalog_keys(self) -> Iterable[str]:
        """The catalogs that are named, `*` among them."""
        return self._catalogs.keys()

    def entry(self, schema_id: str) -> Mapping[str, AttributePermission]:
        """What is said in the entry of this schema, or in the one for `*`; often nothing."""
        return self._schemas.get(schema_id, {})

    def by_id(self, schema_id: str, attribute_id: str) -> AttributePermission:
        """Rules 1 to 5; `*` asks for what holds for all that nothing names."""
        if self._unrestricted:
            return "write"
        for schema_key in (schema_id, ANY):
            entry = self._schemas.get(schema_key)
            if entry is not None:
                word = entry.get(attribute_id) or entry.get(ANY)
                if word is not None:
                    return word
        return "hidden"

    def permission(self, schema: Names, attribute: Names) -> AttributePermission:
        """All six rules."""
        if self._unrestricted:
            return "write"
        narrowed: list[AttributePermission] = ["write"]
        for alias in schema.aliases:
            if alias in self._schemas:
                narrowed += _said(self._schemas[alias], attribute)
        for schema_key in (schema.id, ANY):
            entry = self._schemas.get(schema_key)
            if entry is None:
                continue
            narrowed += _said(entry, attribute)
            if attribute.id in entry or ANY in entry:
                return min(narrowed, key=RANK.__getitem__)
        return "hidden"

    def catalog(self, catalog_id: str, right: CatalogRight) -> bool:
        """Whether the role has this right on this catalog."""
        if self._unrestricted:
            return True
        entry = self._catalogs.get(catalog_id) or self._catalogs.get(ANY)
        return entry is not None and cast(bool, entry[right])


def permissions(
    role: Role, schema: Names, attributes: Iterable[Names]
) -> dict[str, AttributePermission]:
    """Attribute id -> the permission on each of these attributes of a schema."""
    resolved = Resolved(role)
    return {attribute.id: resolved.permission(schema, attribute) for attribute in attributes}


def _said(entry: Mapping[str, AttributePermission], attribute: Names) -> list[AttributePermission]:
    """What an entry says of an attribute: by its id, otherwise of all, and by its aliases."""
    said = [entry[alias] for alias in attribute.aliases if alias in entry]
    word = entry.get(attribute.id) or entry.get(ANY)
    return said if word is None else [*said, word]
