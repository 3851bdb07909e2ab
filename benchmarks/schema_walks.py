"""How long the jobs walk through all records of a schema after a change of the data model.

    python -m benchmarks.schema_walks [records]

Nobody else writes or reads. 100,000 records of some 1 kB, stored by SQL, are entered into the
search index for the first time, then scored once more, then both at once after the index was taken
back; the last change is both, and makes the job read all texts as well. The CPU time of the service
and of its sessions in PostgreSQL stands beside the time that passed, and how many slices the jobs
had in how many turns: on a free machine, what is left is the wait for turns, and up to five seconds
until scores and texts are asked for.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import cpu, machine
from benchmarks.model_changes import ATTRIBUTES, fill, settled
from shared.messaging.topology import RECORDS_JOBS_QUEUE
from tests.kit.servers import Servers
from tests.kit.sigma import Answer
from tests.kit.stack import RECORDS, Stack
from tests.kit.workspace import Workspace, schema_body

COUNT = 100_000
SLICES, TURNS = "slices", "turns"


async def changes(workspace: Workspace) -> AsyncIterator[tuple[str, Answer]]:
    """The changes one after the other, each with its answer."""
    admin = workspace.admin
    must: dict[str, Any] = {"id": "attr-must", "alias": "must", "name": "Must", "type": "text"}
    (await admin.post("/attributes", must | {"validation": {"required": True}})).ok()
    schema = schema_body("x", [*ATTRIBUTES, "must"], workflowId="wf-first")

    def text(alias: str, **more: Any) -> dict[str, Any]:
        return {"alias": alias, "name": alias.title(), "type": "text", **more}

    required = {"required": True}
    filterable = {"filterable": True}
    price = text("price", dimensionIds=["dim-language"]) | {"type": "number"}
    yield "index", await admin.put("/attributes/attr-price", price | filterable)
    yield "scores", await admin.put("/schemas/schema-x", schema)
    yield "no index", await admin.put("/attributes/attr-price", price)
    both = price | filterable | {"validation": required}
    yield "index and scores", await admin.put("/attributes/attr-price", both)
    both = text("sku", validation=required, **filterable)
    yield "both, and texts", await admin.put("/attributes/attr-sku", both)


async def measure(records: int) -> None:
    print(machine.described())
    servers = Servers(own=True)
    stack = await asyncio.to_thread(Stack, servers, Path(tempfile.mkdtemp(prefix="bench-")))
    try:
        await asyncio.to_thread(stack.wait_ready)
        async with stack.lent():
            workspace = await stack.workspace(record_limit=10_000_000)
            conn = await asyncpg.connect(stack.databases[RECORDS])
            await fill(workspace, conn, records)
            await walked(conn, workspace.id)
            await run(stack, workspace, conn)
            await conn.close()
    finally:
        await asyncio.to_thread(stack.close)
        await asyncio.to_thread(servers.close)


async def run(stack: Stack, workspace: Workspace, conn: asyncpg.Connection) -> None:
    """Make the changes, wait for the jobs of each, and print what they took."""
    steps = changes(workspace)
    while True:
        used, began = spent(stack), time.perf_counter()
        step = await anext(steps, None)
        if step is None:
            return
        name, answer = step
        answer.ok()
        await walked(conn, workspace.id)
        took = time.perf_counter() - began
        now = spent(stack)
        slices, turns = (now.pop(each) - used[each] for each in (SLICES, TURNS))
        figures = ", ".join(f"{each} {now[each] - used[each]:.1f} s" for each in now)
        print(
            f"{name:18} {took:6.1f} s, {slices:.0f} slices in {turns:.0f} turns; CPU: {figures}",
            flush=True,
        )


async def walked(conn: asyncpg.Connection, workspace_id: str) -> None:
    """Wait until the jobs have done what the model of now asks for."""
    while not await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM models m JOIN search_layouts l USING (workspace_id)
                        WHERE m.workspace_id = $1 AND l.model_version = m.version AND l.are_scored)
        """,
        workspace_id,
    ):
        await settled(conn, workspace_id)
        await asyncio.sleep(0.1)
    await settled(conn, workspace_id)


def spent(stack: Stack) -> dict[str, float]:
    """Seconds of CPU so far, slices and turns."""
    found = cpu.used(stack.servers, {RECORDS: stack[RECORDS].pid}) | {SLICES: 0.0, TURNS: 0.0}
    with urllib.request.urlopen(f"{stack[RECORDS].internal_url}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            name, _, number = line.rpartition(" ")
            if name.startswith("sigma_job_slices_total{"):
                found[SLICES] += float(number)
            elif (
                name.startswith("sigma_consumed_events_total{")
                and f'"{RECORDS_JOBS_QUEUE}"' in name
            ):
                found[TURNS] += float(number)
    return found


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT))
