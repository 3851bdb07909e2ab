"""The running system, a process for each role of each service, and records of ten values."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from shared.identity import ALL_PERMISSIONS, GATEWAY, Identity
from tests.kit.processes import Process
from tests.kit.servers import Servers
from tests.kit.sigma import Caller
from tests.kit.stack import WITH_DATABASE, Stack
from tests.kit.workspace import Workspace

RECORDS = 5_000
RECORD_LIMIT = 10_000_000
BRANDS = 100
ROWS_AT_ONCE = 5_000
API, WORKER = "api", "worker"
_SETTINGS = {"SIGMA_DATABASE_CONNECTIONS_MAX": "16"}
"""The default, which the tests' stack lowers."""
_TEXT = "A believable sentence about a product that somebody would like to buy. "
_BEHIND = ("outbox", "search_texts_behind")


@dataclass(frozen=True, slots=True)
class Scale:
    """Where things are, and the credentials to reach them."""

    stack: Stack
    workspace: Workspace
    key: Caller
    workers: Mapping[str, Process]

    @property
    def pids(self) -> dict[str, int]:
        """Of each process, by its service and role: `records_service worker`."""
        found = {name: self.stack[name].pid for name in (GATEWAY, *WITH_DATABASE)}
        return found | {f"{name} {WORKER}": each.pid for name, each in self.workers.items()}

    @property
    def key_headers(self) -> dict[str, str]:
        """Of the API key, at the gateway."""
        return dict(self.key.headers)

    @property
    def identity_headers(self) -> dict[str, str]:
        """A fresh signed identity, as the gateway would send it; good for a minute."""
        identity = Identity(
            kind="api_key",
            id="apikey-scale",
            workspace_id=self.workspace.id,
            permissions=ALL_PERMISSIONS,
            record_limit=RECORD_LIMIT,
        )
        return self.stack.keyring.headers(identity)

    async def asked(self, query: str, service: str = "records_service") -> Any:
        """The one value that this query finds."""
        conn = await asyncpg.connect(self.stack.databases[service])
        try:
            return await conn.fetchval(query)
        finally:
            await conn.close()

    async def settled(self) -> None:
        """Return when everything that is written has been published and indexed."""
        behind = " OR ".join(f"EXISTS (SELECT FROM {table})" for table in _BEHIND)
        # Other processes empty them.
        while await self.asked(f"SELECT {behind}"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    async def bulk(self, run: str, records: int) -> None:
        """Create so many records, `ent-<run>-<number>`, in calls of `ROWS_AT_ONCE`."""
        for begin in range(0, records, ROWS_AT_ONCE):
            rows = [
                {"id": f"ent-{run}-{n}", "schemaId": "schema-scale", "values": values(run, n)}
                for n in range(begin, min(begin + ROWS_AT_ONCE, records))
            ]
            body = b"\n".join(map(orjson.dumps, rows))
            headers = {"Content-Type": "application/x-ndjson"}
            done = (await self.key.post("/records/bulk", data=body, headers=headers)).ok()
            assert done["created"] == len(rows), done


@asynccontextmanager
async def opened() -> AsyncIterator[Scale]:
    """Start everything, fill one workspace, end everything."""
    servers = Servers(own=True, postgres={"max_connections": "500"})
    stack = await asyncio.to_thread(Stack, servers, Path(tempfile.mkdtemp(prefix="scale-")))
    try:
        await asyncio.to_thread(stack.wait_ready)
        async with stack.lent():
            workers = {}
            for service in WITH_DATABASE:
                await asyncio.to_thread(stack[service].stop)
                stack[service].start(role=API, **_SETTINGS)
                workers[service] = await stack.another(service, WORKER, **_SETTINGS)
            await asyncio.to_thread(stack.wait_ready)
            workspace = await stack.workspace(record_limit=RECORD_LIMIT)
            await model(workspace)
            here = Scale(stack, workspace, await workspace.api_key(), workers)
            await here.bulk("0", RECORDS)
            await here.settled()
            yield here
    finally:
        await asyncio.to_thread(stack.close)
        await asyncio.to_thread(servers.close)


def values(run: str, number: int | str) -> dict[str, list[dict[str, object]]]:
    """Ten values: four of the record, and three texts in two languages."""
    brand = number % BRANDS if isinstance(number, int) else 0
    plain = {"sku": f"{run}-{number}", "brand": f"brand {brand}", "price": 499.95, "weight": 0.35}
    texts = {
        f"text-{n}": [
            {"scope": {"dim-language": f"seg-{language}"}, "value": f"{n} {_TEXT[: 40 + 8 * n]}"}
            for language in ("en", "da")
        ]
        for n in range(3)
    }
    return {name: [{"scope": {}, "value": value}] for name, value in plain.items()} | texts


def new_run() -> str:
    """A short name that no ids or SKUs of another run have."""
    return secrets.token_hex(4)


async def model(workspace: Workspace) -> None:
    """Ten values: a unique SKU, two filterable values, a number, and texts in two languages."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("sku", validation={"unique": True, "required": True})
    await workspace.attribute("brand", filterable=True)
    await workspace.attribute("price", "number", filterable=True, validation={"min": 0})
    await workspace.attribute("weight", "number")
    for n in range(3):
        await workspace.attribute(f"text-{n}", dimensionIds=["dim-language"])
    attributes = ["sku", "brand", "price", "weight", *(f"text-{n}" for n in range(3))]
    await workspace.schema("scale", attributes)
