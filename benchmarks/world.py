"""The running system with a catalogue of believable size to measure on."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.identity import ALL_PERMISSIONS, Identity
from tests.kit.servers import ROOT, Servers
from tests.kit.sigma import Caller
from tests.kit.stack import Stack
from tests.kit.workspace import Workspace

RECORDS = 1_000
TEXT = "A believable sentence about a product that somebody would like to buy. "
RECORD_LIMIT = 10_000_000


@dataclass(frozen=True, slots=True)
class World:
    """Where things are, and the credentials to reach them."""

    stack: Stack
    workspace: Workspace
    key: Caller
    floor_url: str

    @property
    def gateway_headers(self) -> dict[str, str]:
        return dict(self.key.headers)

    @property
    def direct_headers(self) -> dict[str, str]:
        """A fresh signed identity, as the gateway would send it; good for a minute."""
        identity = Identity(
            kind="api_key",
            id="apikey-bench",
            workspace_id=self.workspace.id,
            permissions=ALL_PERMISSIONS,
            record_limit=RECORD_LIMIT,
        )
        return self.stack.keyring.headers(identity)

    @property
    def direct_url(self) -> str:
        return self.stack["records_service"].url

    async def fill(self, records: int) -> None:
        """As many records as these, with those that are there."""
        await _create(self.workspace, range(RECORDS, records))


@asynccontextmanager
async def opened(settings: Mapping[str, str] | None = None) -> AsyncIterator[World]:
    """Start everything, PostgreSQL with these settings, fill one workspace, end everything."""
    servers = Servers(own=True, postgres=settings)
    stack = await asyncio.to_thread(Stack, servers, Path(tempfile.mkdtemp(prefix="bench-")))
    floor = None
    try:
        await asyncio.to_thread(stack.wait_ready)
        async with stack.lent():
            workspace = await stack.workspace(record_limit=RECORD_LIMIT)
            await _fill(workspace)
            port = _free_port()
            floor = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs meanwhile
                [
                    sys.executable,
                    "-m",
                    "benchmarks.floor",
                    stack.databases["records_service"],
                    str(port),
                ],
                cwd=ROOT,
            )
            _wait_for(port)
            key = await workspace.api_key()
            yield World(stack, workspace, key, f"http://127.0.0.1:{port}/{workspace.id}")
    finally:
        if floor is not None:
            floor.kill()
            floor.wait()
        await asyncio.to_thread(stack.close)
        await asyncio.to_thread(servers.close)


def values(sku: str) -> dict[str, list[dict[str, object]]]:
    """About 1.4 kB in two languages, as the issue's records have."""
    texts = {
        f"text-{n}": [
            {"scope": {"dim-language": f"seg-{language}"}, "value": f"{n} {TEXT[: 30 + 2 * n]}"}
            for language in ("en", "da")
        ]
        for n in range(6)
    }
    return {
        "sku": [{"scope": {}, "value": sku}],
        "price": [{"scope": {}, "value": 499.95}],
        "weight": [{"scope": {}, "value": 0.35}],
        **texts,
    }


async def _fill(workspace: Workspace) -> None:
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("sku", validation={"unique": True, "required": True})
    await workspace.attribute("price", type="number", validation={"min": 0})
    await workspace.attribute("weight", type="number")
    for n in range(6):
        await workspace.attribute(f"text-{n}", dimensionIds=["dim-language"])
    await workspace.schema("bench", ["sku", "price", "weight", *(f"text-{n}" for n in range(6))])
    await _create(workspace, range(RECORDS))


async def _create(workspace: Workspace, numbers: range) -> None:
    lines = asyncio.Semaphore(16)

    async def create(n: int) -> None:
        async with lines:
            body = {"id": f"ent-{n}", "schemaId": "schema-bench", "values": values(f"sku-{n}")}
            (await workspace.admin.post("/records", body)).ok()

    await asyncio.gather(*(create(n) for n in numbers))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the floor did not start")
