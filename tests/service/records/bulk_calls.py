"""A small model for bulk calls, and what tests of them say and look at."""

from __future__ import annotations

from typing import Any

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller
from tests.kit.workspace import entries

SCHEMA = "schema-apparel"
NDJSON = "application/x-ndjson"


async def model_apparel(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """A schema with a unique attribute, one with a rule, and a relation."""
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("name", validation={"maxLength": 20})
    await workspace.attribute("price", type="number", validation={"min": 0})
    await workspace.attribute("related", type="relation", multiple=True)
    await workspace.schema("apparel", ["sku", "name", "price", "related"], variantEnabled=True)
    return workspace


def row(record_id: str | None = None, /, **values: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"schemaId": SCHEMA, "values": entries(values)}
    return made if record_id is None else {"id": record_id, **made}


async def bulk(
    caller: Caller, *rows: Any, headers: dict[str, str] | None = None, **query: str
) -> Answer:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return await caller.post(
        f"/records/bulk?{asked}", {"operations": list(rows)}, headers=headers or {}
    )


def counts(answer: Answer) -> dict[str, int]:
    return {name: n for name, n in answer.ok().items() if name != "results" and n}


async def values_of(workspace: RecordsWorkspace, record_id: str) -> dict[str, Any]:
    shown = (await workspace.admin.get(f"/records/{record_id}")).ok()["values"]
    return {alias: found[0]["value"] for alias, found in shown.items()}


def failures(answer: Answer) -> list[tuple[int, int, str, str, str]]:
    return [
        (one["index"], one["status"], one["error"], one["message"], one["pointer"])
        for one in answer.ok()["results"]
        if one["outcome"] == "failed"
    ]
