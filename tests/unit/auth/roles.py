"""Roles for tests of pure rules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from auth_service.permissions.model import Role, RoleDraft, blank_role
from auth_service.permissions.rules import Names, permissions

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def role(role_id: str = "role-x", **fields: Any) -> Role:
    draft = RoleDraft.model_validate({"name": "X", **fields}, strict=True)
    return blank_role("ws-x", role_id, NOW).revised(draft, version=1, now=NOW)


def on(schema_id: str, **attributes: str) -> dict[str, Any]:
    named = {key.replace("_", "-").replace("any", "*"): told for key, told in attributes.items()}
    return {"schemaId": schema_id, "attributePermissions": named}


def schemas(*entries: dict[str, Any], **more: Any) -> Role:
    return role(schemaPermissions=list(entries), **more)


def catalogs(*entries: dict[str, Any]) -> Role:
    return role(catalogPermissions=list(entries))


# --- resolution


def permissions_in(some: Role, schema_id: str, *attributes: Names) -> dict[str, str]:
    return permissions(some, Names(schema_id, (schema_id.removeprefix("schema-"),)), attributes)


_RANK = {"hidden": 0, "read": 1, "write": 2}
