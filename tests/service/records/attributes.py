"""Bodies of attributes, and what is said when they are refused."""

from __future__ import annotations

from typing import Any

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error

LANGUAGE = {
    "id": "dim-language",
    "alias": "language",
    "name": "Language",
    "segments": [
        {"id": "seg-en", "alias": "en", "name": "English"},
        {"id": "seg-da", "alias": "da", "name": "Danish"},
    ],
    "defaultSegmentId": "seg-en",
}


def attribute(alias: str = "sku", kind: str = "text", **more: Any) -> dict[str, Any]:
    return {"id": f"attr-{alias}", "alias": alias, "name": alias, "type": kind, **more}


def refused(message: str) -> tuple[int, dict[str, str]]:
    return error(400, "VALIDATION_ERROR", message)


async def unique_keys(workspace: RecordsWorkspace) -> list[tuple[str, str]]:
    rows = await workspace.fetch(
        "SELECT record_id, scope FROM unique_values WHERE workspace_id = $1"
        " ORDER BY record_id, scope"
    )
    return [(row["record_id"], row["scope"]) for row in rows]
