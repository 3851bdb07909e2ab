"""Validates a role: its size, entries that contradict each other, the built-in role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from auth_service.permissions.model import (
    ATTRIBUTES_NAMED_MAX,
    PERMISSIONS_MAX,
    Role,
    RoleDraft,
)
from shared.errors import Conflict, ValidationError, Violation, truncated
from shared.identity import ADMIN_ROLE


def check_size(draft: RoleDraft) -> None:
    """Raise `ValidationError` for more names than can be compared and asked about at once."""
    names = 0
    different: set[str] = set()
    for entry in draft.schema_permissions:
        names += len(entry.attribute_permissions)
        different.update(entry.attribute_permissions)
    for count, limit, what in (
        (names, PERMISSIONS_MAX, "attribute permissions"),
        (len(different), ATTRIBUTES_NAMED_MAX, "different attributes"),
    ):
        if count > limit:
            raise ValidationError.at(
                "/schemaPermissions",
                f"Field 'schemaPermissions' holds at most {limit} {what} in all entries"
                f" together, got {count}",
            )


def check_draft(draft: RoleDraft, role_id: str) -> None:
    """Raise `ValidationError` for a draft that contradicts itself or the path it was sent to."""
    check_size(draft)
    ValidationError.check(
        chain(
            _other_id(draft, role_id),
            _listed_twice(
                "schemaPermissions",
                "Schema",
                (entry.schema_id for entry in draft.schema_permissions),
            ),
            _listed_twice(
                "catalogPermissions",
                "Catalog",
                (entry.catalog_id for entry in draft.catalog_permissions),
            ),
        )
    )


def _other_id(draft: RoleDraft, role_id: str) -> Iterator[Violation]:
    if draft.id is not None and draft.id != role_id:
        yield Violation(
            "/id",
            f"Field 'id' cannot change: expected '{truncated(role_id)}', got"
            f" '{truncated(draft.id)}'",
        )


def check_still_built_in(before: Role, after: Role) -> None:
    """Raise `Conflict` when the built-in role would lose or gain anything but its name."""
    if before.id == ADMIN_ROLE and (
        before.flags != after.flags
        or list(before.schema_permissions) != list(after.schema_permissions)
        or list(before.catalog_permissions) != list(after.catalog_permissions)
    ):
        raise Conflict(f"Role '{ADMIN_ROLE}' is built in and its permissions cannot be changed")


def check_deletable(role: Role) -> None:
    """Raise `Conflict` for the role without which nobody could manage the workspace."""
    if role.id == ADMIN_ROLE:
        raise Conflict(f"Role '{ADMIN_ROLE}' is built in and cannot be deleted")


def _listed_twice(field: str, kind: str, ids: Iterable[str]) -> Iterator[Violation]:
    seen: set[str] = set()
    for position, key in enumerate(ids):
        if key in seen:
            yield Violation(
                f"/{field}/{position}", f"{kind} '{truncated(key)}' is listed twice in '{field}'"
            )
        seen.add(key)
