"""A mixed load at a rate that fits this machine: what each part uses, and how long answers take.

Requests come at random (Poisson), whether earlier ones are answered or not, through the gateway.
The capacity model is compared with it: docs/scale.md shows both.
"""

from __future__ import annotations

import asyncio
import random
import time
from statistics import median
from typing import Any, Final

import aiohttp
import orjson

from benchmarks.overload import percentile
from benchmarks.scale.unit_costs import snapshot
from benchmarks.scale.world import BRANDS, RECORDS, Scale, new_run, values

SECONDS: Final = 30
MIX: Final = {"read": 0.64, "list": 0.08, "search": 0.08, "create": 0.1, "update": 0.1}
"""Of all requests."""
RATE: Final = 250
"""Requests a second, where nothing else runs on two cores."""
WAITING_MAX: Final = 500
"""Requests without an answer, at which a run is given up."""
RECORDS_MORE: Final = 10_000
"""Records that are created besides: what they take is compared with what the model says."""


async def measure(here: Scale, rate: int) -> dict[str, Any]:
    """What each part used, latencies by kind of request, and bytes of WAL."""
    await here.settled()
    rates = {kind: part * rate for kind, part in MIX.items()}
    took: dict[str, list[float]] = {kind: [] for kind in rates}
    before = await snapshot(here)
    await _send(here, rates, took)
    await here.settled()
    after = await snapshot(here)
    passed = after.at - before.at
    size = await _database_bytes(here)
    await here.bulk(new_run(), RECORDS_MORE)
    await here.settled()
    return {
        "rates": rates,
        "seconds": round(passed, 1),
        "sent": {kind: len(each) for kind, each in took.items()},
        "cores": {
            part: round((after.cpu_s[part] - used) / passed, 4)
            for part, used in before.cpu_s.items()
        },
        "wal_bytes_per_second": round((after.wal_bytes - before.wal_bytes) / passed),
        "latency_ms": {
            kind: {
                "p50": round(1000 * median(each), 2),
                "p95": round(1000 * percentile(each, 0.95), 2),
                "p99": round(1000 * percentile(each, 0.99), 2),
            }
            for kind, each in took.items()
        },
        "records_more": RECORDS_MORE,
        "bytes_more": await _database_bytes(here) - size,
    }


async def _send(here: Scale, rates: dict[str, float], took: dict[str, list[float]]) -> None:
    chance = random.Random(1)
    kinds, weights = list(rates), list(rates.values())
    total = sum(weights)
    run, running = new_run(), set()
    async with aiohttp.ClientSession(
        headers=here.key_headers, connector=aiohttp.TCPConnector(limit=0)
    ) as session:

        async def one(kind: str, number: int) -> None:
            method, path, body = _request(kind, run, number)
            began = time.perf_counter()
            async with session.request(
                method,
                f"{here.stack.url}/api/v1{path}",
                data=None if body is None else orjson.dumps(body),
                headers={"Content-Type": "application/json"} if body is not None else {},
            ) as answer:
                await answer.read()
                if answer.status >= 300:
                    raise SystemExit(f"{kind} was answered {answer.status}: {await answer.text()}")
            took[kind].append(time.perf_counter() - began)

        began, due, number = time.perf_counter(), 0.0, 0
        while (due := due + chance.expovariate(total)) < SECONDS:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            number += 1
            (kind,) = chance.choices(kinds, weights)
            task = asyncio.create_task(one(kind, number))
            running.add(task)
            task.add_done_callback(running.discard)
            if len(running) > WAITING_MAX:
                raise SystemExit("the machine does not keep up: choose a lower rate=")
        await asyncio.gather(*running)


def _request(kind: str, run: str, number: int) -> tuple[str, str, object]:
    record = f"/records/ent-0-{number % RECORDS}"
    brand = {"attribute": "brand", "operator": "equals", "value": f"brand {number % BRANDS}"}
    match kind:
        case "read":
            return "GET", record, None
        case "list":
            return "GET", "/records?schemaId=schema-scale&limit=50", None
        case "search":
            return "POST", "/search", {"criteria": [brand], "limit": 50}
        case "create":
            return "POST", "/records", {"schemaId": "schema-scale", "values": values(run, number)}
        case _:
            return "PATCH", f"{record}/values/price", {"value": 1000 + number}


async def _database_bytes(here: Scale) -> int:
    return int(await here.asked("SELECT pg_database_size(current_database())"))
