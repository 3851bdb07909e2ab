"""Puts the ids of schemas and attributes where a role that was sent has their names.

A role is stored with ids, so that an attribute may get another alias without its permissions being
lost. Nothing is guessed: while records_service cannot say what names mean, a role that has any
is not saved. A name that nothing has yet is stored as it was sent, and remembered as unknown;
`replacement.py` says what becomes of it when something gets that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from auth_service.clients import ResolvedNames
from auth_service.names.replacement import attribute_named
from auth_service.permissions.model import (
    ANY,
    AttributePermission,
    Role,
    RoleDraft,
    RoleNames,
    SchemaPermission,
)
from shared.errors import ValidationError, truncated


def names_in(draft: RoleDraft) -> RoleNames:
    """Every name in the draft, `*` left out."""
    entries = draft.schema_permissions
    return RoleNames(
        frozenset(entry.schema_id for entry in entries) - {ANY},
        frozenset(name for entry in entries for name in entry.attribute_permissions) - {ANY},
    )


def with_ids(draft: RoleDraft, resolved: ResolvedNames) -> RoleDraft:
    """The draft with the id for each name that has one.

    Raises `ValidationError` when an entry names one attribute twice, by its id and its alias.
    """
    return draft.model_copy(
        update={
            "schema_permissions": [
                SchemaPermission(
                    schema_id=resolved.schemas.get(entry.schema_id, entry.schema_id),
                    attribute_permissions=_by_id(
                        entry.attribute_permissions,
                        resolved.attributes,
                        f"/schemaPermissions/{place}/attributePermissions",
                    ),
                )
                for place, entry in enumerate(draft.schema_permissions)
            ]
        }
    )


def _by_id(
    sent: Mapping[str, AttributePermission], ids: Mapping[str, str], pointer: str
) -> dict[str, AttributePermission]:
    stored: dict[str, AttributePermission] = {}
    for name, word in sent.items():
        attribute_id = ids.get(name, name)
        if attribute_id in stored:
            raise ValidationError.at(
                pointer,
                f"Attribute '{truncated(attribute_id)}' is listed twice in 'attributePermissions'",
            )
        stored[attribute_id] = word
    return stored


def renamed(role: Role, unknown: RoleNames, resolved: ResolvedNames) -> Role:
    """The role with the ids of attributes that were unknown when it was stored and exist now."""
    entries = role.schema_permissions
    for alias in unknown.attributes:
        one = resolved.attributes.get(alias, alias)
        if one != alias:
            entries = attribute_named(entries, alias, one, (), is_new=False)
    return replace(role, schema_permissions=entries)
