"""Channels: what a push of many records costs one worker, beside the same client alone.

    .venv/bin/python -m benchmarks.channels [records]

Records go to a `custom` channel whose receiver, a process of its own, answers at once: first as
creates, then nothing has changed, then each price has. The floor is the same client that sends the
same number of bodies of the same size, as many at a time, and does nothing else: it reads, maps and
remembers nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import datetime
from typing import Any, Final

import aiohttp
import asyncpg
import orjson
import uvloop

from benchmarks import cpu, machine, world
from benchmarks.receiver import Receiver, process, receive
from benchmarks.world import World
from deploy.local.process_figures import forget_peak, peak_bytes, resident_bytes
from records_service.channel_records.model import RECORDS_AT_ONCE
from tests.kit.processes import Process
from workflow_service.connectors.custom import REQUESTS_AT_ONCE

MODULE: Final = "benchmarks.channels"
ROWS_AT_ONCE: Final = 2_000
MAPPED: Final = {
    "sku": "sku",
    "weight": "weight",
    "price": "variants[0].price",
    **{f"text-{n}": f"texts.{n}" for n in range(6)},
}
CHANNEL: Final[dict[str, Any]] = {
    "id": "ch-bench",
    "name": "Bench",
    "alias": "bench",
    "type": "custom",
    "schemaId": "schema-bench",
    "dimensionScope": {"dim-language": "seg-da"},
    "fieldMappings": [
        {"sourceAttribute": attribute, "targetField": target}
        for attribute, target in MAPPED.items()
    ],
}
STATEMENTS: Final = """
    SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
     WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND query ~ 'sync_|channels'
"""


async def main(records: int) -> None:
    """Print all figures."""
    print(machine.described())
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    async with world.opened({"shared_preload_libraries": "pg_stat_statements"}) as here:
        await _fill(here, records)
        worker = await here.stack.apart("workflow_service")
        with process(MODULE, "receive") as (_, url):
            config = {"url": f"{url}/products"}
            (await here.key.post("/channels", CHANNEL | {"config": config})).ok()
            print(f"\n{records:,} records, {RECORDS_AT_ONCE} a page, {REQUESTS_AT_ONCE} at a time")
            size = await _pushed(here, worker, url, "creates", records)
            await _pushed(here, worker, url, "no change", records)
            await _raise_prices(here, records)
            await _pushed(here, worker, url, "updates", records)
            rate = await _floor(url, records, size)
            print(f"  the floor: {rate:,.0f}/s, bodies of {size:,} bytes")
    print(f"load of the machine after: {os.getloadavg()[0]:.1f}")


async def _pushed(here: World, worker: Process, url: str, what: str, records: int) -> int:
    """Push, and say what that was like; the size of a body."""
    forget_peak(worker.pid)
    before_mb, statements = resident_bytes(worker.pid) / 1e6, await _statements(here)
    used = cpu.used(here.stack.servers, {"worker": worker.pid})["worker"]
    await _seen(url, reset=True)
    log = (await here.key.post("/channels/ch-bench/push")).ok()
    while log["status"] == "running":
        await asyncio.sleep(0.5)
        log = (await here.key.get(f"/channels/ch-bench/sync-logs/{log['id']}")).ok()
    assert (log["status"], log["failed"]) == ("success", 0), log
    took_s = (_time(log["completedAt"]) - _time(log["startedAt"])).total_seconds()
    used = cpu.used(here.stack.servers, {"worker": worker.pid})["worker"] - used
    pages = records / RECORDS_AT_ONCE
    seen = await _seen(url)
    print(
        f"  {what}: {records / took_s:,.0f} records/s, {used / records * 1e6:,.0f} us of the"
        f" worker's core each; its memory {before_mb:.0f} MB before, at most"
        f" {peak_bytes(worker.pid) / 1e6:.0f} MB;"
        f" {(await _statements(here) - statements) / pages:.1f} statements a page;"
        f" {seen['count']:,} requests"
    )
    return int(seen["bytes"] / max(seen["count"], 1))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def _fill(here: World, records: int) -> None:
    for begin in range(world.RECORDS, records, ROWS_AT_ONCE):
        rows = [
            {"id": f"ent-{n}", "schemaId": "schema-bench", "values": world.values(f"sku-{n}")}
            for n in range(begin, min(begin + ROWS_AT_ONCE, records))
        ]
        done = (await here.key.post("/records/bulk", {"operations": rows})).ok()
        assert done["created"] == len(rows), done


async def _raise_prices(here: World, records: int) -> None:
    for begin in range(0, records, ROWS_AT_ONCE):
        rows = [
            {"id": f"ent-{n}", "values": {"price": [{"scope": {}, "value": 500}]}}
            for n in range(begin, min(begin + ROWS_AT_ONCE, records))
        ]
        done = (await here.key.post("/records/bulk", {"operations": rows})).ok()
        assert done["updated"] == len(rows), done


async def _statements(here: World) -> int:
    """How many statements about channels the database of workflow_service has had."""
    name = here.stack.databases["workflow_service"].rpartition("/")[2].partition("?")[0]
    conn = await asyncpg.connect(here.stack.servers.postgres.url, database=name)
    try:
        await conn.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        counted: int = await conn.fetchval(STATEMENTS)
    finally:
        await conn.close()
    return counted


async def _seen(url: str, *, reset: bool = False) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{url}/{'reset' if reset else 'seen'}") as answer,
    ):
        found: dict[str, Any] = orjson.loads(await answer.read())
    return found


async def _floor(url: str, count: int, size: int) -> float:
    with process(MODULE, "post", url, str(count), str(size)) as (poster, said):
        took_s = float(said)
        await asyncio.to_thread(poster.wait)
    return count / took_s


class _Receiver(Receiver):
    """Answers every request at once with a new id, and says at /seen what came."""

    count, size, made = 0, 0, 0

    def answered(self, head: bytes, size: int) -> bytes:
        kind = type(self)
        if head.startswith((b"post", b"put")):
            kind.count += 1
            kind.size += size
            kind.made += 1
            body = b'{"id":"%d"}' % kind.made
        else:
            body = orjson.dumps({"count": kind.count, "bytes": kind.size})
            if head.startswith(b"get /reset"):
                kind.count, kind.size = 0, 0
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def post(url: str, count: int, size: int) -> None:
    """The floor: send bodies of this size, and print how many seconds that took."""
    body = b"x" * size
    left = iter(range(count))
    began = time.monotonic()
    async with aiohttp.ClientSession() as session:

        async def some() -> None:
            for _ in left:
                async with session.post(f"{url}/products", data=body) as answer:
                    await answer.read()

        await asyncio.gather(*(some() for _ in range(REQUESTS_AT_ONCE)))
    print(time.monotonic() - began, flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["receive"]:
            uvloop.run(receive(_Receiver))
        case ["post", url, count, size]:
            uvloop.run(post(url, int(count), int(size)))
        case arguments:
            asyncio.run(main(int(arguments[0]) if arguments else 20_000))
