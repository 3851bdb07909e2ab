"""Operations of change sets, and how records_service is asked about them."""

from __future__ import annotations

from typing import Any

import orjson

from tests.kit.sigma import Answer, Caller

APPLY = "/internal/proposals/apply"
INSPECT = "/internal/proposals/inspect"


def change(attribute: str, old: Any, new: Any, **scope: str) -> dict[str, Any]:
    return {"attribute": attribute, "scope": scope, "oldValue": old, "newValue": new}


def update(number: int, *changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An update of `ent-<number>`, called `op-<number>`."""
    operation = {"id": f"op-{number}", "type": "update", "entityId": f"ent-{number}"}
    return {**operation, "changes": list(changes), **more}


async def apply(
    caller: Caller,
    *operations: dict[str, Any],
    attempt: int = 0,
    force: bool = False,
    headers: dict[str, str] | None = None,
) -> Answer:
    body = {"changeSetId": "cs-1", "attempt": attempt, "force": force}
    body["operations"] = orjson.dumps(operations).decode()
    return await caller.post(APPLY, body, headers=headers)


async def inspect(caller: Caller, purpose: str, *operations: dict[str, Any]) -> Answer:
    body = {"purpose": purpose, "withValues": True}
    return await caller.post(INSPECT, {**body, "operations": orjson.dumps(operations).decode()})
