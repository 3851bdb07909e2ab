"""Checks which fields of a question belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from records_service.explanations.model import ExplainRequest, PermissionAction
from records_service.explanations.resources import actions_on
from shared.errors import ValidationError, Violation

_THINGS: Final = ("entityId", "schemaId", "catalogId", "resource")
_ACTIONS_ON: Final = {
    "entityId": (
        PermissionAction.READ,
        PermissionAction.WRITE,
        PermissionAction.DELETE,
        PermissionAction.TRANSITION,
    ),
    "schemaId": (
        PermissionAction.READ,
        PermissionAction.WRITE,
        PermissionAction.DELETE,
        PermissionAction.MANAGE,
    ),
    "catalogId": (
        PermissionAction.READ,
        PermissionAction.WRITE,
        PermissionAction.DELETE,
        PermissionAction.ASSIGN,
        PermissionAction.MANAGE,
    ),
}
_OF_ATTRIBUTES: Final = (PermissionAction.READ, PermissionAction.WRITE)


def check_question(asked: ExplainRequest) -> None:
    """Raise `ValidationError` for fields that contradict each other or are missing."""
    ValidationError.check(_violations(asked))


def _violations(asked: ExplainRequest) -> Iterator[Violation]:
    if asked.role_id is not None and asked.api_key_id is not None:
        yield Violation(
            "/apiKeyId", "Expected one of 'roleId' and 'apiKeyId', or neither of them, got both"
        )
    sent = {
        "entityId": asked.entity_id,
        "schemaId": asked.schema_id,
        "catalogId": asked.catalog_id,
        "resource": asked.resource,
    }
    things = [name for name in _THINGS if sent[name] is not None]
    if len(things) != 1:
        got = "none of them" if not things else " and ".join(f"'{name}'" for name in things)
        yield Violation(
            f"/{things[1]}" if things else "/entityId",
            f"Expected one of {_listed(_THINGS)}, got {got}",
        )
        return
    (thing,) = things
    actions = _ACTIONS_ON[thing] if asked.resource is None else actions_on(asked.resource)
    if asked.action not in actions:
        of = f"'{thing}'" if asked.resource is None else f"resource '{asked.resource}'"
        yield Violation(
            "/action",
            f"Field 'action' with {of} must be one of {_listed(actions)}, got '{asked.action}'",
        )
    if asked.attribute is not None and (
        thing not in ("entityId", "schemaId") or asked.action not in _OF_ATTRIBUTES
    ):
        yield Violation(
            "/attribute",
            "Field 'attribute' goes with 'entityId' or 'schemaId' and the actions 'read' and"
            f" 'write', got '{thing}' and '{asked.action}'",
        )
    if asked.action is PermissionAction.TRANSITION and asked.to_state_id is None:
        yield Violation("/toStateId", "Field 'toStateId' is required for the action 'transition'")
    if asked.action is not PermissionAction.TRANSITION and asked.to_state_id is not None:
        yield Violation(
            "/toStateId",
            f"Field 'toStateId' goes with the action 'transition', got '{asked.action}'",
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)
