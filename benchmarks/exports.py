"""Export jobs: the memory and the time of one file of many records, beside their floor.

    .venv/bin/python -m benchmarks.exports [records]

One job makes a gzipped file of JSON Lines, and sends it to a receiver here that unpacks it and
counts its lines. The records, of some 1 kB, are stored by SQL. Peaks of memory are those of the
kernel (VmHWM), begun anew right before the run; they should not depend on the number of records.
The floor is PostgreSQL's own COPY of the same rows in the same run, before and after.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks import cpu, machine
from benchmarks.model_changes import fill
from deploy.local.process_figures import forget_peak, peak_bytes, resident_bytes
from tests.kit.eventually import eventually
from tests.kit.processes import Process
from tests.kit.servers import Servers
from tests.kit.stack import RECORDS, Stack
from tests.kit.workspace import Workspace

COUNT: Final = 1_000_000
WORKFLOW: Final = "workflow_service"
JOB: Final = "/export-jobs/job-bench"
RUN_S_MAX: Final = 7_200


class Receiver:
    """Takes one file, piece by piece."""

    def __init__(self) -> None:
        self.bytes = self.lines = 0

    async def take(self, request: web.Request) -> web.Response:
        unpacked = zlib.decompressobj(wbits=31)
        async for piece in request.content.iter_any():
            self.bytes += len(piece)
            self.lines += await asyncio.to_thread(lambda: unpacked.decompress(piece).count(b"\n"))  # noqa: B023
        assert unpacked.eof
        return web.Response()


async def measure(records: int) -> None:
    """Print all figures."""
    print(machine.described(), flush=True)
    servers = Servers(own=True)
    stack = await asyncio.to_thread(Stack, servers, Path(tempfile.mkdtemp(prefix="bench-")))
    try:
        await asyncio.to_thread(stack.wait_ready)
        async with stack.lent():
            workspace = await stack.workspace(record_limit=10_000_000)
            conn = await asyncpg.connect(stack.databases[RECORDS])
            await fill(workspace, conn, records)
            await conn.execute("ANALYZE records")
            worker = await stack.apart(WORKFLOW)
            await _exported(stack, workspace, conn, worker, records)
            await conn.close()
    finally:
        await asyncio.to_thread(stack.close)
        await asyncio.to_thread(servers.close)


async def _exported(
    stack: Stack, workspace: Workspace, conn: asyncpg.Connection, worker: Process, records: int
) -> None:
    processes = {RECORDS: stack[RECORDS].pid, f"worker of {WORKFLOW}": worker.pid}
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/file", receiver.take)
    async with TestServer(app, host="127.0.0.1") as server:
        body = {
            "id": "job-bench",
            "name": "Everything",
            "destinationType": "webhook",
            "destinationConfig": {"url": str(server.make_url("/file"))},
            "format": "jsonl",
            "compression": "gzip",
            "schedule": "0 0 1 1 *",
        }
        (await workspace.admin.post("/export-jobs", body)).ok()
        floors = [await _copied(conn, workspace.id)]
        before = {name: resident_bytes(pid) / 1e6 for name, pid in processes.items()}
        for pid in processes.values():
            forget_peak(pid)
        used, began = cpu.used(stack.servers, processes), time.perf_counter()
        (await workspace.admin.post(f"{JOB}/runs")).ok()
        run = await eventually(partial(_ended, workspace), within_s=RUN_S_MAX)
        took, now = time.perf_counter() - began, cpu.used(stack.servers, processes)
        peaks = {name: peak_bytes(pid) / 1e6 for name, pid in processes.items()}
        floors.append(await _copied(conn, workspace.id))
    assert run is not None
    assert run["status"] == "success", run
    assert run["recordCount"] == receiver.lines == records, (run, receiver.lines)
    print(
        f"{records:,} records, {run['fileSize'] / 1e6:,.0f} MB gzipped: {took:.0f} s,"
        f" {records / took:,.0f}/s; the floor {', '.join(f'{each:.1f}' for each in floors)} s"
    )
    for name in processes:
        print(f"  {name:26} {before[name]:6.0f} MB before, {peaks[name]:6.0f} MB at most")
    print("  CPU: " + ", ".join(f"{name} {now[name] - used[name]:.1f} s" for name in now))


async def _ended(workspace: Workspace) -> dict[str, Any] | None:
    (run,) = (await workspace.admin.get(f"{JOB}/runs")).ok()
    return None if run["status"] == "running" else run


async def _copied(conn: asyncpg.Connection, workspace_id: str) -> float:
    """The floor: seconds of PostgreSQL to hand out the same rows."""

    async def drop(data: bytes) -> None:
        """What a client without any work does."""

    began = time.perf_counter()
    await conn.copy_from_query(
        "SELECT id, schema_id, state_id, values FROM records WHERE workspace_id = $1",
        workspace_id,
        output=drop,
        timeout=1_800,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT))
