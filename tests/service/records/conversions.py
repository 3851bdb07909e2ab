"""An attribute `size` with values that are converted, and what clients see of it."""

from __future__ import annotations

from typing import Any

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer
from tests.service.records.job_turns import turn

COUNT = 5
"""`ent-0` to `ent-4`, with the sizes 0, 1.5, 3, 4.5 and 6, as texts."""
NUMBER = {"type": "number"}


async def fill(workspace: RecordsWorkspace, **sizes: str) -> None:
    await workspace.attribute("size", filterable=True)
    await workspace.attribute("name")
    await workspace.schema("x", ["size", "name"], variantEnabled=True)
    for n in range(COUNT):
        size = sizes.get(f"ent_{n}", f"{1.5 * n:g}")
        held = {"name": "Parka"} | ({"size": size} if size else {})
        await workspace.record("schema-x", held, id=f"ent-{n}")


async def convert(workspace: RecordsWorkspace, **body: Any) -> Answer:
    return await workspace.admin.post("/attributes/attr-size/convert", body)


async def job_at(workspace: RecordsWorkspace, answer: Answer) -> dict[str, Any]:
    path = answer.headers["Location"].removeprefix("/api/v1")
    job: dict[str, Any] = (await workspace.admin.get(path)).ok()
    return job


async def sizes(workspace: RecordsWorkspace) -> list[Any]:
    listed = (await workspace.admin.get("/records?schemaId=x")).ok()["items"]
    return [
        one["values"]["size"][0]["value"] if "size" in one["values"] else None for one in listed
    ]


async def type_now(workspace: RecordsWorkspace) -> str:
    kind: str = (await workspace.admin.get("/attributes/attr-size")).ok()["type"]
    return kind


async def settling(workspace: RecordsWorkspace) -> None:
    """Take turns until the new type holds, and is not stored in any record."""
    while not await workspace.fetch(
        "SELECT FROM conversions WHERE workspace_id = $1 AND phase = 'settling'"
    ):
        assert await turn(workspace)


async def switching(workspace: RecordsWorkspace) -> None:
    while not await workspace.fetch(
        "SELECT FROM conversions WHERE workspace_id = $1 AND phase = 'catching-up'"
    ):
        assert await turn(workspace)
