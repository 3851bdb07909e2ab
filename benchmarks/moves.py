"""A move of a large workspace to other servers, while one client writes.

    .venv/bin/python -m benchmarks.moves [records]

Two installations, each with a PostgreSQL of its own. The records have their history and their
search index; the client creates and changes 50 records a second, one after the other, and is led to
the target when the command has ended. A client of another workspace of the source writes meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from benchmarks import machine
from benchmarks.overload import percentile
from benchmarks.scale.world import RECORD_LIMIT, Scale, model, values
from deploy.local.process_figures import peak_bytes
from deploy.workspaces.tables import TABLES
from tests.kit.servers import ROOT, Servers
from tests.kit.sigma import Answer, Caller
from tests.kit.stack import AUTH, RECORDS, WORKFLOW, Stack

COUNT: Final = 200_000
WRITES_PER_SECOND: Final = 50
NEIGHBOUR_WRITES_PER_SECOND: Final = 10
CREATES: Final = 0.2
AGAIN_AFTER_S: Final = 0.05
LOOK_S: Final = 0.2
BESIDE_S: Final = 10.0
"""For how long clients write before and after the move."""
RUN: Final = "0"
_LOGICAL: Final = {"wal_level": "logical"}
_NAMES: Final = {AUTH: "AUTH", RECORDS: "RECORDS", WORKFLOW: "WORKFLOW"}


@dataclass
class Client:
    """Writes one thing after the other, each until it is done."""

    caller: Caller
    name: str
    records: int
    """That are there, from which it chooses."""
    rate: float
    versions: dict[str, int] = field(default_factory=dict)
    """Record -> its version, of those that it has written."""
    created: int = 0
    writes: int = 0
    waited: list[tuple[float, float]] = field(default_factory=list)
    """When each write was done, and seconds from its first attempt until then."""
    refused: Counter[int] = field(default_factory=Counter)
    over: bool = False

    async def write(self) -> None:
        chance, due = random.Random(self.name), time.monotonic()
        while not self.over:
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic()
            if not self.records or chance.random() < CREATES:
                record = f"ent-{self.name}-{self.created}"
                body = {"schemaId": "schema-scale", "values": values(self.name, self.created)}
                answer = await self._until_done("POST", "/records", {"id": record, **body})
                self.created += 1
            else:
                record = f"ent-{RUN}-{chance.randrange(self.records)}"
                body = {"value": self.writes}
                answer = await self._until_done("PATCH", f"/records/{record}/values/price", body)
            self.versions[record] = answer["version"]
            self.writes += 1
            self.waited.append((time.monotonic(), time.monotonic() - began))

    async def _until_done(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        key = {"Idempotency-Key": f"move-{self.name}-{self.writes:010}"}
        while True:
            answer: Answer = await self.caller.ask(method, path, body, headers=key)
            if answer.status != 503:
                return answer.ok()
            self.refused[answer.status] += 1
            await asyncio.sleep(AGAIN_AFTER_S)

    def told(self, since: float) -> str:
        """How long its writes took from then on."""
        took = [seconds for at, seconds in self.waited if at >= since]
        return (
            f"{len(took):,} writes, p99 {1000 * percentile(took, 0.99):.0f} ms,"
            f" longest {max(took):.2f} s, refused {dict(self.refused)}"
        )


async def measure(records: int) -> None:
    """Print all figures; `AssertionError` if anything is lost or doubled."""
    print(machine.described(), flush=True)
    async with AsyncExitStack() as opened:
        source_servers, target_servers = Servers(own=True, postgres=_LOGICAL), _second()
        for servers in (source_servers, target_servers):
            opened.push_async_callback(asyncio.to_thread, servers.close)
        source, target = await _stack(source_servers), None
        opened.push_async_callback(asyncio.to_thread, source.close)
        await opened.enter_async_context(source.lent())
        target = await _stack(target_servers, beside=source)
        opened.push_async_callback(asyncio.to_thread, target.close)
        await _moved(source, target, records)


async def _moved(source: Stack, target: Stack, records: int) -> None:
    began = time.monotonic()
    workspace = await source.workspace(record_limit=RECORD_LIMIT)
    neighbour = await source.workspace(record_limit=RECORD_LIMIT)
    await model(workspace)
    await model(neighbour)
    here = Scale(source, workspace, await workspace.api_key(), {})
    await here.bulk(RUN, records)
    await here.settled()
    # What the service of a database does by itself, after a night.
    await _vacuumed(source)
    rows, size = await _rows(source, workspace.id), await _size(source)
    print(
        f"{rows:,} rows, {size / 1e6:,.0f} MB, made in {time.monotonic() - began:.0f} s", flush=True
    )

    client = Client(here.key, "client", records, WRITES_PER_SECOND)
    other = Client(await neighbour.api_key(), "other", 0, NEIGHBOUR_WRITES_PER_SECOND)
    writing = [asyncio.create_task(one.write()) for one in (client, other)]
    await asyncio.sleep(BESIDE_S)
    began = time.monotonic()
    print(f"before: {client.told(0)}; load {os.getloadavg()[0]:.1f}", flush=True)
    await _command(source, target, workspace.id)
    print(f"the move: {time.monotonic() - began:.1f} s; load {os.getloadavg()[0]:.1f}", flush=True)
    client.caller = here.key.at(target.url)
    await asyncio.sleep(BESIDE_S)
    print(f"client: {client.told(began)}\nneighbour: {other.told(began)}", flush=True)
    began = time.monotonic()
    await _command(source, target, workspace.id, "--finish", "--wait", "1")
    print(f"--finish: {time.monotonic() - began:.1f} s; neighbour: {other.told(began)}", flush=True)
    client.over = other.over = True
    await asyncio.gather(*writing)
    assert not other.refused
    await _nothing_is_lost(target, workspace.id, client, records)
    print("lost 0, doubled 0")


async def _command(source: Stack, target: Stack, workspace_id: str, *more: str) -> None:
    """The command of the page; prints what it says, when, and the most memory that it had."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.workspaces", "move", workspace_id, *more),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
        | {f"SIGMA_{name}_DATABASE_URL": source.databases[of] for of, name in _NAMES.items()}
        | {f"SIGMA_TO_{name}_DATABASE_URL": target.databases[of] for of, name in _NAMES.items()},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    began, peak = time.monotonic(), 0

    async def look() -> None:
        nonlocal peak
        while True:
            peak = max(peak, peak_bytes(process.pid))
            await asyncio.sleep(LOOK_S)

    looking = asyncio.create_task(look())
    async for line in process.stdout:
        print(f"  {time.monotonic() - began:6.1f} s  {line.decode().rstrip()}", flush=True)
    looking.cancel()
    assert await process.wait() == 0
    print(f"  at most {peak / 1e6:.0f} MB", flush=True)


async def _nothing_is_lost(target: Stack, workspace_id: str, client: Client, records: int) -> None:
    conn = await asyncpg.connect(target.databases[RECORDS])
    there = dict(
        await conn.fetch(
            "SELECT id, version FROM records WHERE workspace_id = $1 AND id = ANY($2::text[])",
            workspace_id,
            list(client.versions),
        )
    )
    assert there == client.versions
    for table, expected in (
        ("records", records + client.created),
        ("audit", records + client.writes),
        ("search_records", records + client.created),
    ):
        found = await conn.fetchval(
            f"SELECT count(*) FROM {table} WHERE workspace_id = $1", workspace_id
        )
        assert found == expected, (table, found, expected)
    await conn.close()


async def _vacuumed(stack: Stack) -> None:
    conn = await asyncpg.connect(stack.databases[RECORDS])
    await conn.execute("VACUUM ANALYZE", timeout=600)
    await conn.close()


async def _rows(stack: Stack, workspace_id: str) -> int:
    """Of the workspace, in all tables of records_service."""
    conn = await asyncpg.connect(stack.databases[RECORDS])
    found = 0
    for table in TABLES[RECORDS]:
        rows = await conn.fetchval(
            f"SELECT count(*) FROM {table.name} WHERE workspace_id = $1", workspace_id
        )
        found += rows
        if rows >= COUNT // 100:
            print(f"  {table.name}: {rows:,}")
    await conn.close()
    return found


async def _size(stack: Stack) -> int:
    conn = await asyncpg.connect(stack.databases[RECORDS])
    size: int = await conn.fetchval("SELECT pg_database_size(current_database())")
    await conn.close()
    return size


async def _stack(servers: Servers, beside: Stack | None = None) -> Stack:
    folder = Path(tempfile.mkdtemp(prefix="moves-"))
    stack = await asyncio.to_thread(Stack, servers, folder, beside=beside)
    await asyncio.to_thread(stack.wait_ready)
    return stack


def _second() -> Servers:
    return Servers(own=True, postgres=_LOGICAL)


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT))
