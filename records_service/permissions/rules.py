"""What may this role do with this attribute of this schema?

The one function that decides is `permission`; every read and every write asks it. Nothing said
means hidden (Q13). A schema's own entry is asked before the entry for `*` (all schemas), and in an
entry the attribute, by its id or alias, before `*` (all attributes); where an entry has both, the
stricter word holds. Administrators and API keys are not restricted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self


class AttributePermission(StrEnum):
    """The three words of the roles page."""

    WRITE = "write"
    READ = "read"
    HIDDEN = "hidden"


_STRICTEST_FIRST = (AttributePermission.HIDDEN, AttributePermission.READ, AttributePermission.WRITE)

ANY = "*"


@dataclass(frozen=True, slots=True)
class Role:
    """A role's attribute permissions at one version."""

    id: str
    version: int
    schema_permissions: Mapping[str, Mapping[str, AttributePermission]]

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
        )


def permission(
    role: Role | None, schema_id: str, attribute_id: str, alias: str
) -> AttributePermission:
    """The permission of a role on one attribute; no role at all stands for an unrestricted caller.

    Source: section 11, Q13 and C12 of the contract.
    """
    if role is None:
        return AttributePermission.WRITE
    for schema_key in (schema_id, ANY):
        entry = role.schema_permissions.get(schema_key)
        if entry is None:
            continue
        said = [entry[name] for name in (attribute_id, alias) if name in entry]
        if said:
            return min(said, key=_STRICTEST_FIRST.index)
        if ANY in entry:
            return entry[ANY]
    return AttributePermission.HIDDEN
