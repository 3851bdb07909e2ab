"""Measures the system beside its floors and prints one report.

python -m benchmarks [reads] [lists] [creates] [overload]
python -m benchmarks bulk <folder of buildcores-opendb>
python -m benchmarks imports [rows]
python -m benchmarks exports [records]
python -m benchmarks search [records]
python -m benchmarks scale [costs] [stored] [doubling] [run] [rounds=<number>]
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import aiohttp
import orjson

from benchmarks import bulk, files, machine, search, world
from benchmarks.overload import (
    CAPACITY_CLIENTS,
    CAPACITY_SECONDS,
    DELAY_S,
    FACTOR,
    OVERLOAD_SECONDS,
    Seen,
    Updates,
    percentile,
)
from benchmarks.scale import command as scale
from benchmarks.world import World
from benchmarks.wrk import Load, wrk
from tests.kit.wire import Wire

ROUNDS = 5
SECONDS = 3
CLIENTS = 16
OVERLOADED_RECORDS = (3_000, 100)
PGBENCH = "/usr/lib/postgresql/15/bin/pgbench"

Measure = Callable[[], Load]


async def rounds(measures: Mapping[str, Measure]) -> dict[str, Load]:
    """The median of each figure over all rounds; every round runs every measure once."""
    loads: dict[str, list[Load]] = {name: [] for name in measures}
    for _ in range(ROUNDS):
        for name, measure in measures.items():
            # In a thread: the load comes from outside, this process only waits.
            loads[name].append(await asyncio.to_thread(measure))
    return {
        name: Load(
            median(load.per_second for load in runs),
            median(load.p50_ms for load in runs),
            median(load.p99_ms for load in runs),
        )
        for name, runs in loads.items()
    }


async def reads(here: World) -> None:
    """One record by its key: the bare floor, the service, the service behind the gateway."""
    path = "/api/v1/records/ent-500"

    def floor(clients: int) -> Load:
        return wrk(f"{here.floor_url}/ent-500", {}, clients=clients, seconds=SECONDS)

    def direct(clients: int) -> Load:
        return wrk(here.direct_url + path, here.direct_headers, clients=clients, seconds=SECONDS)

    def gateway(clients: int) -> Load:
        return wrk(here.stack.url + path, here.gateway_headers, clients=clients, seconds=SECONDS)

    many = await rounds(
        {
            "bare aiohttp + asyncpg": lambda: floor(CLIENTS),
            "records_service": lambda: direct(CLIENTS),
            "gateway": lambda: gateway(CLIENTS),
        }
    )
    _print(f"A record by its key, {CLIENTS} clients", many)
    bare = many["bare aiohttp + asyncpg"].per_second
    _verdict("records_service / floor", many["records_service"].per_second / bare, 0.60)
    _verdict("gateway, requests/s", many["gateway"].per_second, 3_000)
    one = await rounds({"records_service": lambda: direct(1), "gateway": lambda: gateway(1)})
    _print("A record by its key, 1 client", one)
    added = one["gateway"], one["records_service"]
    _verdict("the gateway adds, ms p50", added[0].p50_ms - added[1].p50_ms, 0.7, at_most=True)
    _verdict("the gateway adds, ms p99", added[0].p99_ms - added[1].p99_ms, 3.0, at_most=True)


async def lists(here: World) -> None:
    """Fifty records of one schema, with the total."""
    path = "/api/v1/records?schemaId=schema-bench&limit=50"
    found = await rounds(
        {
            "asyncpg, the rows alone": lambda: _rows(here),
            "records_service": lambda: wrk(
                here.direct_url + path, here.direct_headers, clients=CLIENTS, seconds=SECONDS
            ),
            "gateway": lambda: wrk(
                here.stack.url + path, here.gateway_headers, clients=CLIENTS, seconds=SECONDS
            ),
        }
    )
    _print(f"Fifty of {world.RECORDS} records by schema, {CLIENTS} clients", found)
    floor = found["asyncpg, the rows alone"].per_second
    _verdict("gateway / asyncpg", found["gateway"].per_second / floor, 0.55)


def _rows(here: World) -> Load:
    """The floor for lists, in a process of its own."""
    url = here.stack.databases["records_service"]
    program = [sys.executable, "-m", "benchmarks.rows"]
    said = subprocess.run(
        [*program, url, here.workspace.id, str(CLIENTS), str(SECONDS)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return Load(*map(float, said.split()))


async def creates(here: World) -> None:
    """One record each: validated, unique, counted, with history and event, on disk."""
    await _created(here, "one process of records_service")
    await here.stack.apart("records_service")
    await _created(here, "records_service with its events in a process of their own")


async def _created(here: World, layout: str) -> None:
    def api(url: str, headers: Mapping[str, str]) -> Load:
        return wrk(
            f"{url}/api/v1/records",
            {**headers, "Content-Type": "application/json"},
            clients=CLIENTS,
            seconds=SECONDS,
            script=_create_script(),
        )

    found = await rounds(
        {
            "pgbench, record and outbox row": lambda: _pgbench(here),
            "records_service": lambda: api(here.direct_url, here.direct_headers),
            "gateway": lambda: api(here.stack.url, here.gateway_headers),
        }
    )
    _print(f"Creating records, {CLIENTS} clients, {layout}", found)
    floor = found["pgbench, record and outbox row"].per_second
    _verdict("records_service / pgbench", found["records_service"].per_second / floor, 0.20)
    _verdict("gateway / pgbench", found["gateway"].per_second / floor, 0.20)


async def overload(here: World) -> None:
    """Updates at twice the capacity, with a database that is far away."""
    await here.fill(OVERLOADED_RECORDS[0])
    url = here.stack.databases["records_service"]
    async with Wire(url, delay_s=DELAY_S) as wire:
        await here.stack.restart("records_service", SIGMA_DATABASE_URL=wire.url)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            for records in OVERLOADED_RECORDS:
                updates = Updates(here.stack.url, here.gateway_headers, records)
                await updates.closed(session, CAPACITY_CLIENTS, 2)
                alone = await updates.closed(session, CAPACITY_CLIENTS, CAPACITY_SECONDS)
                seen = await updates.opened(session, FACTOR * alone.goodput, OVERLOAD_SECONDS)
                _overloaded(records, alone, seen)


def _overloaded(records: int, alone: Seen, seen: Seen) -> None:
    print(f"\nUpdates of {records} records, the database {2 * DELAY_S * 1000:.0f} ms away")
    for name, what in ((f"{CAPACITY_CLIENTS} clients", alone), ("twice as many", seen)):
        good, refused = what.good_s, what.refused_s
        print(
            f"  {name:16} {what.goodput:6,.0f}/s made, p50 {percentile(good, 0.5):5.2f} s,"
            f" p99 {percentile(good, 0.99):5.2f} s, at most {percentile(good, 1):5.2f} s;"
            f" refused p99 {percentile(refused, 0.99):5.2f} s;"
            f" {dict(what.statuses)}, Retry-After {dict(what.retry_after)}"
        )
    _verdict("made of the capacity", seen.goodput / alone.goodput, 0.8)
    _verdict("p99 of what is accepted, s", percentile(seen.good_s, 0.99), 3, at_most=True)


def _create_script() -> str:
    """A Lua script for wrk whose every request has a SKU of its own."""
    marker = "SKU-GOES-HERE"
    body = orjson.dumps({"schemaId": "schema-bench", "values": world.values(marker)}).decode()
    before, _, after = body.partition(marker)
    return f"""
wrk.method = "POST"
local n = 0
local run = "{secrets.token_hex(4)}"
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, [==[{before}]==] .. run .. "-" .. n .. [==[{after}]==])
end
"""


def _pgbench(here: World) -> Load:
    """The floor for writes, on a table of its own in the same database."""
    url = here.stack.databases["records_service"]
    document = orjson.dumps(world.values("sku")).decode()
    setup = """
        CREATE TABLE IF NOT EXISTS floor_records (LIKE records INCLUDING ALL);
        CREATE TABLE IF NOT EXISTS floor_outbox (LIKE outbox INCLUDING ALL);
        TRUNCATE floor_records, floor_outbox;
    """
    subprocess.run(["psql", "-q", url, "-c", setup], check=True, stderr=subprocess.DEVNULL)
    script = f"""\\set n random(1, 9000000000000000)
WITH record AS (
    INSERT INTO floor_records (workspace_id, id, schema_id, state_id, version, values,
                               created_at, updated_at, created_by, updated_by)
    VALUES ('ws-floor', 'ent-' || :n, 'schema-bench', NULL, 1, '{document}', now(), now(), 'u', 'u')
    RETURNING id
)
INSERT INTO floor_outbox (workspace_id, type, subject, event_id, document)
SELECT 'ws-floor', 'entity.created', id, id, '{document}' FROM record;
"""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "floor.sql"
        file.write_text(script)
        said = subprocess.run(
            [
                PGBENCH,
                "-n",
                f"-c{CLIENTS}",
                "-j1",
                f"-T{SECONDS}",
                "-M",
                "prepared",
                "-f",
                str(file),
                url,
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    latency = float(said.split("latency average = ")[1].split(" ms")[0])
    return Load(float(said.split("tps = ")[1].split(" ")[0]), latency, float("nan"))


def _print(title: str, loads: Mapping[str, Load]) -> None:
    print(f"\n{title}")
    for name, load in loads.items():
        print(
            f"  {name:32} {load.per_second:10,.0f}/s  p50 {load.p50_ms:7.2f} ms"
            f"  p99 {load.p99_ms:7.2f} ms"
        )


def _verdict(what: str, reached: float, target: float, *, at_most: bool = False) -> None:
    held = reached <= target if at_most else reached >= target
    sign = "<=" if at_most else ">="
    print(f"  {what}: {reached:,.2f} (target {sign} {target:,.2f}) {'yes' if held else 'NO'}")


async def bulk_calls(here: World, folder: Path) -> None:
    """A catalogue of 47,551 records: created, changed, and changed to the same."""
    found = await bulk.measure(here, folder)
    copied = found["raw COPY of what was created"]
    _verdict("creates/s", found["create"], 8_000)
    _verdict("creates / raw COPY", found["create"] / copied, 0.20)
    _verdict("creates by two processes / by one", found[bulk.TWO] / found["create"], 1.60)
    _verdict("updates of prices/s", found["update of prices"], 8_000)


BENCHMARKS = {
    "reads": reads,
    "lists": lists,
    "creates": creates,
    "overload": overload,
    "search": search.measure,
}


async def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    if names[:1] == ["scale"]:
        await scale.main(names[1:])
        return
    print(machine.described())
    print(f"Median of {ROUNDS} rounds of {SECONDS} s; logs on, fsync on.")
    async with world.opened(search.POSTGRES if names[:1] == ["search"] else None) as here:
        if names[:1] == ["bulk"]:
            await bulk_calls(here, Path(names[1]))
            return
        if names[:1] in (["imports"], ["exports"]):
            measure = files.imported if names[0] == "imports" else files.exported
            await measure(here, *map(int, names[1:2]))
            return
        if names[:1] == ["search"]:
            await search.measure(here, *map(int, names[1:2]))
            return
        for name in names or BENCHMARKS:
            await BENCHMARKS[name](here)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
