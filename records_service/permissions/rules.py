"""Computes the permission of a role on an attribute of a schema.

The one function that decides is `permission`; every read and every write asks it. Nothing said
means hidden. A schema's own entry is asked before the entry for `*` (all schemas), and in an entry
the attribute before `*` (all attributes). Administrators and API keys are not restricted.

Only an id gives. A schema or an attribute may be given another alias at any time, and an alias may
pass to another one: so a name that is an alias, or once was one, takes away and never gives. The
stricter of its word and of what holds without it counts (docs/adr/0010).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self


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


@dataclass(frozen=True, slots=True)
class Role:
    """A role's attribute permissions at one version."""

    id: str
    version: int
    schema_permissions: Mapping[str, Mapping[str, AttributePermission]]

    @property
    def size(self) -> int:
        """How many permissions it has."""
        return sum(map(len, self.schema_permissions.values()))

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


def permission(role: Role | None, schema: Names, attribute: Names) -> AttributePermission:
    """The permission of a role on an attribute; None stands for an unrestricted caller."""
    if role is None:
        return AttributePermission.WRITE
    narrowed = [AttributePermission.WRITE]
    for alias in schema.aliases:
        if alias in role.schema_permissions:
            narrowed += _said(role.schema_permissions[alias], attribute)
    for schema_key in (schema.id, ANY):
        entry = role.schema_permissions.get(schema_key)
        if entry is None:
            continue
        narrowed += _said(entry, attribute)
        if attribute.id in entry or ANY in entry:
            return min(narrowed, key=_RANK.__getitem__)
    return AttributePermission.HIDDEN


def _said(entry: Mapping[str, AttributePermission], attribute: Names) -> list[AttributePermission]:
    """What an entry says of an attribute: by its id, otherwise of all, and by its aliases."""
    said = [entry[alias] for alias in attribute.aliases if alias in entry]
    if attribute.id in entry:
        said.append(entry[attribute.id])
    elif ANY in entry:
        said.append(entry[ANY])
    return said
