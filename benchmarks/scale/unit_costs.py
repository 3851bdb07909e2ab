"""CPU, WAL, time on a connection and memory of each part, for each request and event.

CPU time depends little on what else runs on the machine, so it is measured beside the load: before
and after each round, for every process. What they use while nothing is asked is taken off. A round
ends when its events are published and its texts indexed, so what follows a write is its cost too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import aiohttp
import orjson

from benchmarks import cpu
from benchmarks.receiver import process
from benchmarks.scale.operations import Operation, operations
from benchmarks.scale.world import WORKER, Scale, new_run
from benchmarks.wrk import Load
from deploy.local.process_figures import resident_bytes
from shared.identity import GATEWAY
from tests.kit.stack import WITH_DATABASE

SECONDS = 4
IDLE_SECONDS = 15
BULK_RECORDS = 10_000
ROLE_CHANGES = 200
DELIVERIES = 5_000
STATISTICS_S = 10.5
"""After so long at the latest, an idle session of PostgreSQL tells what it has done."""
_WEBHOOK = "wh-scale"

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters at one moment; `busy_ms` is how long sessions have worked, by database."""

    at: float
    cpu_s: Mapping[str, float]
    wal_bytes: int
    busy_ms: Mapping[str, float]


async def measure(here: Scale, rounds: int) -> Figures:
    """Everything that the capacity model is fed with."""
    started = memory(here)
    idle = await _idle(here)
    kinds: dict[str, list[Figures]] = {}
    works = _works(here)
    for number in range(rounds):
        for name, work in works.items():
            kinds.setdefault(name, []).append(await _cost(here, idle, work))
            print(f"  round {number + 1}, {name}: {_line(kinds[name][-1])}", flush=True)
    found = {name: _median(runs) for name, runs in kinds.items()}
    for name, operation in operations(here).items():
        found[name] |= await _alone(here, idle, operation)
        print(f"  one at a time, {name}: {found[name]['alone_ms']} ms", flush=True)
    return {
        "idle_cores": {part: round(cores, 4) for part, cores in idle.items()},
        "memory_mb": {
            part: {"started": megabytes, "after_load": after}
            for (part, megabytes), after in zip(started.items(), memory(here).values(), strict=True)
        },
        "operations": found,
    }


def memory(here: Scale) -> dict[str, int]:
    """Megabytes of each process of the system, as if it were alone on its machine."""
    return {part: round(resident_bytes(pid) / 1e6) for part, pid in here.pids.items()}


def used(here: Scale) -> dict[str, float]:
    """CPU seconds so far, by part: the services by role, PostgreSQL by service, RabbitMQ."""
    found = cpu.used(here.stack.servers, here.pids)
    parts = {name: found[name] for name in here.pids}
    for service in WITH_DATABASE:
        roles = (service, f"{service} {WORKER}")
        parts[f"PostgreSQL for {service}"] = sum(found[f"PostgreSQL for {one}"] for one in roles)
    # What writes WAL and pages for all sessions, and vacuums.
    parts["PostgreSQL"] = found["rest of PostgreSQL"] + found[f"PostgreSQL for {GATEWAY}"]
    return parts | {"RabbitMQ": found["RabbitMQ"]}


async def snapshot(here: Scale) -> Snapshot:
    """All counters now."""
    busy = await _busy_ms(here)
    wal = int(await here.asked("SELECT pg_current_wal_lsn() - '0/0'"))
    return Snapshot(time.monotonic(), await asyncio.to_thread(used, here), wal, busy)


async def _busy_ms(here: Scale) -> dict[str, float]:
    """How long the sessions of each database have worked."""
    return {
        service: await here.asked(
            """SELECT active_time + idle_in_transaction_time FROM pg_stat_database
                WHERE datname = current_database()""",
            service,
        )
        for service in WITH_DATABASE
    }


async def _idle(here: Scale) -> dict[str, float]:
    await here.settled()
    await asyncio.sleep(STATISTICS_S)
    before = await snapshot(here)
    await asyncio.sleep(IDLE_SECONDS)
    after = await snapshot(here)
    passed = after.at - before.at
    return {part: (after.cpu_s[part] - s) / passed for part, s in before.cpu_s.items()}


def _works(here: Scale) -> dict[str, Callable[[], Awaitable[int]]]:
    """Each does its work and says how many requests, records or events that was."""

    def requests(name: str) -> Callable[[], Awaitable[int]]:
        async def work() -> int:
            operation = operations(here)[name]
            load = await asyncio.to_thread(operation.run, here.stack.url, here.key_headers, SECONDS)
            return round(load.per_second * SECONDS)

        return work

    async def bulk() -> int:
        await here.bulk(new_run(), BULK_RECORDS)
        return BULK_RECORDS

    return {
        **{name: requests(name) for name in operations(here)},
        "bulk_record": bulk,
        "role_change": lambda: _role_changes(here),
        "webhook_delivery": lambda: _deliveries(here),
    }


async def _role_changes(here: Scale) -> int:
    """Events that other services consume: each change of a role is one."""
    admin = here.workspace.admin
    role = {"id": "role-scale", "name": "Scale", "schemaPermissions": []}
    await admin.post("/roles", role)
    for _ in range(ROLE_CHANGES):
        (await admin.put("/roles/role-scale", role | {"name": new_run()})).ok()
    return ROLE_CHANGES


async def _deliveries(here: Scale) -> int:
    """The last events of the feed once more, to a receiver that answers at once."""
    with process("benchmarks.webhooks", "receive") as (_, url):
        webhook = {
            "id": _WEBHOOK,
            "name": "Scale",
            "url": url,
            "events": ["entity.updated"],
            "secret": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2Vj",
        }
        await here.key.delete(f"/webhooks/{_WEBHOOK}")
        (await here.key.post("/webhooks", webhook)).ok()
        # The feed is asked for events after a time, and has at least as many updates as these.
        after = await here.asked(
            f"""SELECT min(staged_at)::text FROM (
                    SELECT staged_at FROM feed WHERE type = 'entity.updated'
                     ORDER BY position DESC LIMIT {DELIVERIES}) AS last"""
        )
        (await here.key.post(f"/webhooks/{_WEBHOOK}/replay", {"after": _iso(after)})).ok()
        seen, last = 0, -1
        async with aiohttp.ClientSession() as session:
            while seen == 0 or seen != last:
                last = seen
                await asyncio.sleep(1)
                async with session.get(f"{url}/seen") as answer:
                    seen = orjson.loads(await answer.read())["count"]
        (await here.key.delete(f"/webhooks/{_WEBHOOK}")).ok()
        return seen


def _iso(told: str) -> str:
    """A time as PostgreSQL writes it, as the API reads it."""
    day, _, moment = told.partition(" ")
    return f"{day}T{moment.partition('+')[0]}Z"


async def _cost(
    here: Scale, idle: Mapping[str, float], work: Callable[[], Awaitable[int]]
) -> Figures:
    before = await snapshot(here)
    count = await work()
    await here.settled()
    after = await snapshot(here)
    # Sessions tell late what they have done.
    await asyncio.sleep(STATISTICS_S)
    told = await _busy_ms(here)
    passed = after.at - before.at
    spent = {
        part: max(0.0, after.cpu_s[part] - before.cpu_s[part] - idle[part] * passed)
        for part in before.cpu_s
    }
    busy = {name: told[name] - before.busy_ms[name] for name in told}
    return {
        "count": count,
        "cpu_us": {part: 1e6 * seconds / count for part, seconds in spent.items()},
        "wal_bytes": (after.wal_bytes - before.wal_bytes) / count,
        "connection_ms": {name: ms / count for name, ms in busy.items()},
    }


async def _alone(here: Scale, idle: Mapping[str, float], operation: Operation) -> Figures:
    """The same for one client, whose requests share nothing: no statement, no waking up."""
    loads: list[Load] = []

    async def work() -> int:
        load = await asyncio.to_thread(
            operation.run, here.stack.url, here.key_headers, SECONDS, clients=1
        )
        loads.append(load)
        return round(load.per_second * SECONDS)

    cost = _median([await _cost(here, idle, work)])
    return {
        "alone_ms": round(loads[0].p50_ms, 2),
        "alone_cpu_us": cost["cpu_us"],
        "alone_wal_bytes": cost["wal_bytes"],
    }


def _median(runs: list[Figures]) -> Figures:
    first = runs[0]
    return {
        "count": round(median(run["count"] for run in runs)),
        "cpu_us": {
            part: round(median(run["cpu_us"][part] for run in runs), 1) for part in first["cpu_us"]
        },
        "wal_bytes": round(median(run["wal_bytes"] for run in runs)),
        "connection_ms": {
            name: round(median(run["connection_ms"][name] for run in runs), 3)
            for name in first["connection_ms"]
        },
    }


def _line(run: Figures) -> str:
    parts = ", ".join(f"{part} {us:.0f}" for part, us in run["cpu_us"].items() if us >= 1)
    return f"{run['count']}, us of CPU each: {parts}; {run['wal_bytes'] / 1e3:.1f} kB of WAL"
