"""A manager of the model who may not see one of its attributes."""

from __future__ import annotations

from typing import Any

from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

PROBLEMS = {"Accept": "application/problem+json"}
DENIED = error(403, "PERMISSION_DENIED", "Permission denied")


# What shaping the model would tell of values.


async def half_hidden(
    workspace: RecordsWorkspace, *flags: Flag, kind: str = "text", **more: Any
) -> Caller:
    """Who shapes the model and may write `name` but must not see `cost`, in a schema of records."""
    await workspace.attribute("name")
    await workspace.attribute("cost", kind, **more)
    await workspace.schema("x", ["name", "cost"])
    words = {"schema-x": {"*": "write", "attr-cost": "hidden"}, "*": {"*": "write"}}
    return await workspace.user_with_role(words, *(flags or (Flag.MANAGE_SCHEMAS,)))
