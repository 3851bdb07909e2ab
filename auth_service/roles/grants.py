"""Decides what somebody with one role may put into another.

Who manages roles without being an administrator could otherwise make a role that allows everything,
or widen their own. The rule: a change may take anything away, but what it adds must be something
that the role of the one who changes it has itself. Administrators and API keys (whose class
`update-model` says what they may) are not bound by it; `role-admin` is for administrators alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from auth_service.roles.model import ANY, Role, RoleDraft
from auth_service.roles.resolution import RANK, CatalogRight, Resolved
from shared.errors import Conflict, PermissionDenied, ValidationError, Violation
from shared.identity import ADMIN_ROLE

_CATALOG_RIGHTS: tuple[CatalogRight, ...] = ("canView", "canAssign")


def check_sound(draft: RoleDraft, role_id: str) -> None:
    """Raise `ValidationError` for a draft that contradicts itself or the path it was sent to."""
    violations = [
        *_listed_twice(
            "schemaPermissions", "Schema", (entry.schema_id for entry in draft.schema_permissions)
        ),
        *_listed_twice(
            "catalogPermissions",
            "Catalog",
            (entry.catalog_id for entry in draft.catalog_permissions),
        ),
    ]
    if draft.id is not None and draft.id != role_id:
        violations.insert(
            0, Violation("/id", f"Field 'id' cannot change: expected '{role_id}', got '{draft.id}'")
        )
    if violations:
        raise ValidationError.of(violations)


def check_still_built_in(before: Role, after: Role) -> None:
    """Raise `Conflict` when the built-in role would lose or gain anything but its name."""
    if before.id == ADMIN_ROLE and (
        before.flags != after.flags
        or list(before.schema_permissions) != list(after.schema_permissions)
        or list(before.catalog_permissions) != list(after.catalog_permissions)
    ):
        raise Conflict(f"Role '{ADMIN_ROLE}' is built in and its permissions cannot be changed")


def check_may_go(role: Role) -> None:
    """Raise `Conflict` for the role without which nobody could manage the workspace."""
    if role.id == ADMIN_ROLE:
        raise Conflict(f"Role '{ADMIN_ROLE}' is built in and cannot be deleted")


def check_grant(giver: Role, before: Role, after: Role) -> None:
    """Raise `PermissionDenied` when `after` allows more than `before` and more than `giver`."""
    extra = sorted(after.flags - before.flags - giver.flags)
    if extra:
        raise PermissionDenied(f"Your own role does not allow '{extra[0]}', so you cannot grant it")
    has, had, gets = Resolved(giver), Resolved(before), Resolved(after)
    # What no role names behaves alike everywhere, so asking for every named key and for `*` asks
    # for every schema, attribute and catalog there can be.
    for schema_key in {ANY, *has.schema_keys, *had.schema_keys, *gets.schema_keys}:
        attribute_keys = {
            ANY,
            *has.attribute_keys(schema_key),
            *had.attribute_keys(schema_key),
            *gets.attribute_keys(schema_key),
        }
        for attribute_key in attribute_keys:
            given = RANK[gets.permission(schema_key, attribute_key)]
            if (
                given > RANK[had.permission(schema_key, attribute_key)]
                and given > (RANK[has.permission(schema_key, attribute_key)])
            ):
                raise PermissionDenied(
                    "Your own role does not allow"
                    f" '{gets.permission(schema_key, attribute_key)}' on attribute"
                    f" '{attribute_key}' of schema '{schema_key}', so you cannot grant it"
                )
    for catalog_key in {ANY, *has.catalog_keys, *had.catalog_keys, *gets.catalog_keys}:
        for right in _CATALOG_RIGHTS:
            if (
                gets.catalog(catalog_key, right)
                and not had.catalog(catalog_key, right)
                and not has.catalog(catalog_key, right)
            ):
                raise PermissionDenied(
                    f"Your own role does not allow '{right}' on catalog '{catalog_key}',"
                    " so you cannot grant it"
                )


def _listed_twice(field: str, kind: str, ids: Iterable[str]) -> list[Violation]:
    seen: set[str] = set()
    found = []
    for position, key in enumerate(ids):
        if key in seen:
            found.append(
                Violation(f"/{field}/{position}", f"{kind} '{key}' is listed twice in '{field}'")
            )
        seen.add(key)
    return found
