"""Decides what a role may do with an attribute of a schema, or with a catalog.

The rule, which records_service follows word for word in its `permissions/rules.py`:

1. `role-admin` may write everything.
2. The entry of the schema itself is asked before the entry for `*` (all schemas).
3. In an entry the attribute itself, by its id or alias, is asked before `*` (all attributes);
   where an entry has both, the stricter word holds.
4. The first of these four that says something decides: schema and attribute, schema and `*`,
   `*` and attribute, `*` and `*`.
5. If none does, the attribute is hidden.

So an entry of a schema adds to the entry for all schemas and wins where both speak. Catalogs have
no second level: the entry of the catalog decides, else the one for `*`, else nothing is allowed.

Source: section 11 and Q13 of the contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, cast

from auth_service.roles.model import ANY, AttributePermission, Role
from shared.identity import ADMIN_ROLE

CatalogRight = Literal["canView", "canAssign"]

RANK: Final[Mapping[AttributePermission, int]] = {"hidden": 0, "read": 1, "write": 2}
"""The permissions from the strictest up."""


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

    def attribute_keys(self, schema_id: str) -> Iterable[str]:
        """The attributes that are named for a schema, there or for all schemas."""
        return {*self._schemas.get(schema_id, {}), *self._schemas.get(ANY, {})}

    def permission(self, schema_id: str, attribute_id: str, alias: str = "") -> AttributePermission:
        """Rules 1 to 5; `*` asks for what holds for all that nothing names."""
        if self._unrestricted:
            return "write"
        for schema_key in (schema_id, ANY):
            entry = self._schemas.get(schema_key)
            if entry is None:
                continue
            said = [entry[name] for name in (attribute_id, alias) if name in entry]
            if said:
                return min(said, key=RANK.__getitem__)
            if ANY in entry:
                return entry[ANY]
        return "hidden"

    def catalog(self, catalog_id: str, right: CatalogRight) -> bool:
        """Whether the role has this right on this catalog."""
        if self._unrestricted:
            return True
        entry = self._catalogs.get(catalog_id) or self._catalogs.get(ANY)
        return entry is not None and cast(bool, entry[right])


def permissions(
    role: Role, schema_id: str, aliases: Mapping[str, str]
) -> dict[str, AttributePermission]:
    """The permission on each of these attributes, which are id -> alias."""
    resolved = Resolved(role)
    return {
        # A name that is another attribute's id means that one.
        attribute_id: resolved.permission(
            schema_id, attribute_id, attribute_id if alias in aliases else alias
        )
        for attribute_id, alias in aliases.items()
    }
