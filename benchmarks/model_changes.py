"""How long writers and readers of records wait while the data model is changed.

    .venv/bin/python -m benchmarks.model_changes [number of records]

Clients write and read records one after the other through the gateway all the time. Beside each
change stands what they waited without any: the machine's own noise.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.overload import percentile
from tests.kit.servers import Servers
from tests.kit.sigma import Answer, Caller
from tests.kit.stack import Stack
from tests.kit.workspace import Workspace, schema_body

RECORDS = 200_000
WRITERS, READERS = 3, 1
PAUSE_S = 0.01
QUIET_S = 6.0
AT_MOST_MS = 200.0
TEXT = "A believable sentence about a product that somebody would like to buy. "
ATTRIBUTES = ["sku", "name", "color", "price", "note", "size"]
LANGUAGE = {
    "id": "dim-language",
    "alias": "language",
    "name": "Language",
    "segments": [{"id": "seg-en", "alias": "en", "name": "English"}],
    "defaultSegmentId": "seg-en",
}


@dataclass(slots=True)
class Waits:
    """How long each request took, in milliseconds, and answers other than a success."""

    writes: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@asynccontextmanager
async def clients(key: Caller, records: int) -> AsyncIterator[Waits]:
    """Writers and readers at work; what they waited."""
    waits = Waits()

    async def work(ask: Callable[[str], Awaitable[Answer]], took: list[float]) -> None:
        while True:
            began = time.perf_counter()
            answer = await ask(f"/records/ent-{random.randrange(records)}")
            took.append((time.perf_counter() - began) * 1_000)
            if answer.status not in (200, 409):
                waits.refused.append(str(answer.outcome))
            await asyncio.sleep(PAUSE_S)

    def write(path: str) -> Awaitable[Answer]:
        body = {"scope": {}, "value": f"n{random.randrange(1_000_000)}"}
        return key.patch(f"{path}/values/note", body)

    tasks = [asyncio.create_task(work(write, waits.writes)) for _ in range(WRITERS)]
    tasks += [asyncio.create_task(work(key.get, waits.reads)) for _ in range(READERS)]
    try:
        yield waits
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def fill(workspace: Workspace, conn: asyncpg.Connection, records: int) -> None:
    """The model, and its records by SQL."""
    (await workspace.admin.post("/dimensions", LANGUAGE)).ok()
    await workspace.option_list("colors", [f"c{n}" for n in range(20)])
    for alias in ("sku", "name", "note", "size"):
        await workspace.attribute(alias)
    await workspace.attribute("color", "option", optionListId="ol-colors")
    await workspace.attribute("price", "number", dimensionIds=["dim-language"])
    await workspace.workflow("first", ("draft", "done"))
    await workspace.workflow("second", ("idea", "made"))
    await workspace.schema("x", ATTRIBUTES, workflowId="wf-first")
    await conn.execute(
        """
        INSERT INTO records (workspace_id, id, schema_id, state_id, version, values,
                             created_at, updated_at, created_by, updated_by)
        SELECT $1, 'ent-' || n, 'schema-x', 'state-draft', 1,
               jsonb_build_object(
                   'attr-sku', jsonb_build_array(jsonb_build_object(
                       'scope', '{}'::jsonb, 'value', 'S' || n)),
                   'attr-name', jsonb_build_array(jsonb_build_object(
                       'scope', '{}'::jsonb, 'value', $3::text || n)),
                   'attr-color', jsonb_build_array(jsonb_build_object(
                       'scope', '{}'::jsonb, 'value', 'val-c' || n % 19)),
                   'attr-price', jsonb_build_array(jsonb_build_object(
                       'scope', '{}'::jsonb, 'value', n)))
               || CASE WHEN n % 100 = 0 THEN jsonb_build_object(
                   'attr-size', jsonb_build_array(jsonb_build_object(
                       'scope', '{}'::jsonb, 'value', n::text))) ELSE '{}' END,
               now() - interval '1 hour' + n * interval '1 ms', now(), 'user-x', 'user-x'
          FROM generate_series(0, $2::bigint - 1) AS n
        """,
        workspace.id,
        records,
        TEXT * 6,
        timeout=600,
    )
    # As the service marks what it stores itself.
    await conn.execute(
        """
        INSERT INTO value_uses (workspace_id, attribute_id, dimension_id, segment_id, in_variants,
                                holder_id, since)
        SELECT $1, 'attr-' || alias, '', '', false, 'ent-0', '-infinity'
          FROM unnest('{sku,name,color,price,size}'::text[]) AS alias
        """,
        workspace.id,
    )
    await conn.execute("VACUUM ANALYZE records", timeout=600)


async def changes(workspace: Workspace) -> AsyncIterator[tuple[str, Answer]]:
    """The changes one after the other, each with its answer."""
    admin = workspace.admin
    sku: dict[str, Any] = {"alias": "sku", "name": "SKU", "type": "text"}
    size = {"alias": "size", "name": "Size", "type": "text"}
    new = {"id": "attr-new", "alias": "new", "name": "New", "type": "text"}

    def schema(*more: str, workflow: str = "first") -> dict[str, Any]:
        return schema_body("x", [*ATTRIBUTES, *more], workflowId=f"wf-{workflow}")

    (await admin.post("/attributes", new)).ok()
    required = {"id": "attr-must", "alias": "must", "name": "Must", "type": "text"}
    (await admin.post("/attributes", required | {"validation": {"required": True}})).ok()
    yield "add an attribute", await admin.put("/schemas/schema-x", schema("new"))
    yield "add a required one", await admin.put("/schemas/schema-x", schema("new", "must"))
    yield "rename", await admin.put("/attributes/attr-new", new | {"alias": "newer"})
    yield (
        "remove",
        await admin.put("/schemas/schema-x", schema_body("x", ATTRIBUTES, workflowId="wf-first")),
    )
    yield "delete it", await admin.delete("/attributes/attr-new")
    yield "convert 1 of 100", await admin.post("/attributes/attr-size/convert", {"type": "number"})
    yield "retype, refused", await admin.put("/attributes/attr-size", size | {"type": "boolean"})
    yield (
        "unique on",
        await admin.put("/attributes/attr-sku", sku | {"validation": {"unique": True}}),
    )
    yield "unique off", await admin.put("/attributes/attr-sku", sku)
    values = [{"id": f"val-c{n}", "alias": f"c{n}", "label": f"c{n}"} for n in range(19)]
    colors = {"alias": "colors", "name": "Colors", "values": values}
    yield "remove an option", await admin.put("/option-lists/ol-colors", colors)
    segments = [*LANGUAGE["segments"], {"id": "seg-da", "alias": "da", "name": "Danish"}]
    yield (
        "add a segment",
        await admin.put("/dimensions/dim-language", LANGUAGE | {"segments": segments}),
    )
    yield "remove a segment", await admin.put("/dimensions/dim-language", LANGUAGE)
    yield "another workflow", await admin.put("/schemas/schema-x", schema(workflow="second"))


async def settled(conn: asyncpg.Connection, workspace_id: str) -> None:
    """Wait until no job of the workspace has work left."""
    while await conn.fetchval(  # noqa: ASYNC110 - nothing tells it
        "SELECT count(*) FROM jobs WHERE workspace_id = $1", workspace_id
    ):
        await asyncio.sleep(0.1)


def line(name: str, answer: str, took_s: float, waits: Waits) -> str:
    writes, reads = waits.writes, waits.reads
    late = sum(one > AT_MOST_MS for one in writes)
    return (
        f"{name:20} {answer:>4} {took_s:7.1f} s | writes {len(writes):6}"
        f" p50 {percentile(writes, 0.5):6.1f} p99 {percentile(writes, 0.99):7.1f}"
        f" max {max(writes):7.1f} ({late} late) | reads p99 {percentile(reads, 0.99):7.1f}"
        f" max {max(reads):7.1f}"
        + (f" | refused {len(waits.refused)}: {waits.refused[0][:80]}" if waits.refused else "")
    )


async def measure(records: int) -> None:
    servers = Servers(own=True)
    stack = await asyncio.to_thread(Stack, servers, Path(tempfile.mkdtemp(prefix="bench-")))
    try:
        await asyncio.to_thread(stack.wait_ready)
        async with stack.lent():
            workspace = await stack.workspace(record_limit=10_000_000)
            conn = await asyncpg.connect(stack.databases["records_service"])
            await fill(workspace, conn, records)
            key = await workspace.api_key()
            await settled(conn, workspace.id)
            async with clients(key, records) as waits:
                await asyncio.sleep(QUIET_S)
            print(line("(nothing)", "", QUIET_S, waits), flush=True)
            steps = changes(workspace)
            while True:
                async with clients(key, records) as waits:
                    await asyncio.sleep(0.5)
                    began = time.perf_counter()
                    step = await anext(steps, None)
                    if step is None:
                        break
                    name, answer = step
                    answered = time.perf_counter() - began
                    await settled(conn, workspace.id)
                    took = time.perf_counter() - began
                    await asyncio.sleep(0.5)
                print(
                    line(name, str(answer.status), took, waits),
                    f"| answered {answered:.2f} s",
                    flush=True,
                )
                if answer.status >= 400:
                    print("   ", json.dumps(answer.body)[:160])
            await conn.close()
    finally:
        await asyncio.to_thread(stack.close)
        await asyncio.to_thread(servers.close)


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS))
