"""Files in and out: rows a second, and the largest memory of the process that works.

An import is sent as CSV through the gateway, and its job runs in a process of its own. An export is
read from records_service; its records are made in the database, without history.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from benchmarks.world import TEXT, World
from deploy.local.process_figures import forget_peak, peak_bytes, resident_bytes

ROWS = 200_000
STEPS = 10
PIECE_BYTES = 1 << 20
HEADER = "sku,price,weight,text-0[language=en],text-0[language=da],text-1[language=en]"
FORMATS = (
    "format=ndjson",
    "format=json",
    "format=csv",
    "format=csv&columns=perScope",
    "format=xlsx&columns=perScope",
    "format=ndjson&variants=true",
)
_RECORDS = """
    INSERT INTO records (workspace_id, id, schema_id, state_id, version, values, created_at,
                         updated_at, created_by, updated_by)
    SELECT $1, 'ent-x' || n, 'schema-bench', NULL, 1,
           jsonb_set(r.values, '{attr-sku,0,value}', to_jsonb('x' || n)),
           now() + n * interval '1 microsecond', now(), 'user-x', 'user-x'
      FROM generate_series($2::bigint, $3::bigint) AS n
     CROSS JOIN (SELECT values FROM records WHERE workspace_id = $1 AND id = 'ent-1') AS r
"""


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    user, system = _stat(pid)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def server_cpu_s(backend: int) -> float:
    """Seconds of CPU that a PostgreSQL server has used, with all its processes, also past ones."""
    server = _stat(backend)[1]
    user, system = _stat(int(server))[13:15]
    used = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if _stat(int(folder.name))[1] == server:
                used += cpu_s(int(folder.name))
    return used


async def imported(here: World, rows: int = ROWS) -> None:
    """The rate of an import, and the memory of its worker after each tenth."""
    worker = await here.stack.apart("records_service")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        with file.open("w") as out:
            out.write(HEADER + "\n")
            for number in range(rows):
                text = f"{number} {TEXT}"
                out.write(f"i{number},{number % 1000}.5,0.35,{text},{text},{text}\n")
        print(f"\nImport of {rows} rows, {file.stat().st_size / 1e6:.0f} MB")
        form = aiohttp.FormData({"schemaId": "schema-bench"})
        form.add_field("file", file.open("rb"), filename="rows.csv")
        began = time.perf_counter()
        async with (
            aiohttp.ClientSession(headers=here.gateway_headers) as session,
            session.post(f"{here.stack.url}/api/v1/imports", data=form) as answer,
        ):
            job: dict[str, Any] = await answer.json()
            assert answer.status == 202, job
        print(f"  received in {time.perf_counter() - began:.1f} s")
    conn = await asyncpg.connect(here.stack.databases["records_service"])
    pid, backend = worker.pid, conn.get_server_pid()
    began, step = time.perf_counter(), rows / STEPS
    due = step
    before, used, server_used = 0, cpu_s(pid), server_cpu_s(backend)
    while job["status"] in ("queued", "running"):
        await asyncio.sleep(0.2)
        job = (await here.key.get(f"/imports/{job['id']}")).ok()
        if job["processed"] >= due:
            rate = job["processed"] / (time.perf_counter() - began)
            done, now, server_now = job["processed"] - before, cpu_s(pid), server_cpu_s(backend)
            print(
                f"  {job['processed']:>9,} rows, {rate:,.0f}/s so far,"
                f" worker {resident_bytes(pid) / 1e6:.0f} MB,"
                f" at most {peak_bytes(pid) / 1e6:.0f} MB;"
                f" CPU of each of the last {done}: worker {1_000 * (now - used) / done:.2f} ms,"
                f" PostgreSQL {1_000 * (server_now - server_used) / done:.2f} ms",
                flush=True,
            )
            before, used, server_used = job["processed"], now, server_now
            due += step
    took = time.perf_counter() - began
    await conn.close()
    assert job["status"] == "succeeded", job
    print(f"  imported {rows / took:,.0f}/s; worker at most {peak_bytes(pid) / 1e6:.0f} MB")


async def exported(here: World, rows: int = ROWS) -> None:
    """The rate and the memory of an export in each format."""
    pid = here.stack["records_service"].pid
    await _fill(here, rows)
    print(f"\nExport of {rows} records; the process has {resident_bytes(pid) / 1e6:.0f} MB")
    for asked in FORMATS:
        forget_peak(pid)
        began, used = time.perf_counter(), cpu_s(pid)
        size = 0
        async for piece in _pieces(here, asked):
            size += len(piece)
        took = time.perf_counter() - began
        print(
            f"  {asked:32} {rows / took:9,.0f}/s {size / took / 1e6:6.1f} MB/s"
            f" {size / 1e6:7.0f} MB, memory at most {peak_bytes(pid) / 1e6:.0f} MB,"
            f" {1_000_000 * (cpu_s(pid) - used) / rows:.0f} us of CPU a record",
            flush=True,
        )


async def _pieces(here: World, asked: str) -> AsyncIterator[bytes]:
    async with (
        aiohttp.ClientSession(headers=here.direct_headers) as session,
        session.get(
            f"{here.direct_url}/api/v1/export?{asked}",
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()
        async for piece in answer.content.iter_chunked(PIECE_BYTES):
            yield piece


async def _fill(here: World, rows: int) -> None:
    conn = await asyncpg.connect(here.stack.databases["records_service"])
    for first in range(0, rows, 50_000):
        last = min(rows, first + 50_000) - 1
        await conn.execute(_RECORDS, here.workspace.id, first, last)
    await conn.execute("ANALYZE records")
    await conn.close()
