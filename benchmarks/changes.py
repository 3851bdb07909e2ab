"""The change feed: how long after its commit a follower has an event, and what followers cost.

    .venv/bin/python -m benchmarks.changes [seconds]

Two processes answer and a third works. Records are updated at a fixed rate through both; followers
of both, and of the gateway, note when they have each event. PostgreSQL notes when it committed
(`track_commit_timestamp`), on the same clock. Beside it: the processor time of 500 followers of
another workspace, to whom nothing happens, and of placing the events of new records.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp
import asyncpg
import orjson

from benchmarks import cpu, machine, world
from benchmarks.overload import percentile
from benchmarks.world import World
from deploy.local.process_figures import cpu_seconds
from records_service.feed import store
from records_service.feed.placing import Window
from records_service.feed.sequencing import place_some
from shared.messaging import outbox_reading
from shared.messaging.outbox_floor import last_drawn
from tests.kit.processes import Process

RATE: Final = 500
RECORDS: Final = 400
WRITERS: Final = 12
IDLE: Final = 500
IDLE_S: Final = 10
PLACED: Final = 20_000
STREAM: Final = {"Accept": "text/event-stream"}
COMMITS: Final = """
    SELECT record_id || ' ' || version || ' '
           || extract(epoch FROM pg_xact_commit_timestamp(xmin))
      FROM audit WHERE action = 'update'"""

Heard = dict[tuple[str, int], float]


async def main(seconds: int) -> None:
    """Print all figures."""
    print(machine.described())
    async with world.opened({"track_commit_timestamp": "on"}) as here:
        worker = await here.stack.apart("records_service")
        other = await here.stack.another("records_service", role="api")
        await latency(here, [here.direct_url, other.url], seconds)
        await idle(here, {"service": here.stack["records_service"].pid, "worker": worker.pid})
        await placing(here, worker)


async def latency(here: World, urls: list[str], seconds: int) -> None:
    """Commit to follower, at a fixed rate of updates."""
    heard: dict[str, Heard] = {}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        places = {
            "first process": (urls[0], here.direct_headers),
            "second process": (urls[1], here.direct_headers),
            "through the gateway": (here.stack.url, here.gateway_headers),
        }
        following = [
            asyncio.create_task(_follow(session, url, headers, heard.setdefault(name, {})))
            for name, (url, headers) in places.items()
        ]
        await asyncio.sleep(1)
        floor = asyncio.create_task(_notified(here, seconds))
        made = await _write(session, here, urls, seconds)
        await asyncio.sleep(1)
        for each in following:
            each.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    commits: Heard = {}
    for line in _asked(here, COMMITS).splitlines():
        record, version, at = line.split()
        commits[record, int(version)] = float(at)
    told = sorted(await floor)
    print(f"\nUpdates at {RATE}/s for {seconds} s: {made / seconds:,.0f}/s made")
    print(
        f"  {'NOTIFY alone':20} p50 {percentile(told, 0.5):6.1f} ms,"
        f" p99 {percentile(told, 0.99):6.1f} ms (the floor: from one connection to another)"
    )
    for name, found in heard.items():
        lags = sorted(1000 * (at - commits[key]) for key, at in found.items() if key in commits)
        missing = len(commits) - len(lags)
        print(
            f"  {name:20} p50 {percentile(lags, 0.5):6.1f} ms (target 10),"
            f" p99 {percentile(lags, 0.99):6.1f} ms (target 50), at most {lags[-1]:6.1f} ms;"
            f" {missing} not heard"
        )


async def _follow(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], heard: Heard
) -> None:
    async with session.get(f"{url}/api/v1/changes", headers={**headers, **STREAM}) as response:
        async for line in response.content:
            at = time.time()
            if line.startswith(b"data: "):
                event = orjson.loads(line[6:])
                heard[event["subject"], event["data"]["version"]] = at


async def _notified(here: World, seconds: int) -> list[float]:
    """Milliseconds from a NOTIFY of one connection until another one has heard it, many times."""
    url = here.stack.databases["records_service"]
    teller, listener = await asyncpg.connect(url), await asyncpg.connect(url)
    heard = asyncio.Event()
    await listener.add_listener("floor", lambda *_: heard.set())
    lags = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        heard.clear()
        began = time.monotonic()
        await teller.execute("NOTIFY floor")
        await heard.wait()
        lags.append(1000 * (time.monotonic() - began))
        await asyncio.sleep(0.02)
    await teller.close()
    await listener.close()
    return lags


async def _write(session: aiohttp.ClientSession, here: World, urls: list[str], seconds: int) -> int:
    """Update records at the rate, each writer some of its own; how many updates were made."""
    began, made = time.monotonic(), 0

    async def write(number: int) -> None:
        nonlocal made
        turn = 0
        while time.monotonic() < began + seconds:
            record = number + WRITERS * (turn % (RECORDS // WRITERS))
            body = {"values": {"price": [{"scope": {}, "value": turn + 1}]}}
            headers = here.direct_headers
            url = f"{urls[turn % len(urls)]}/api/v1/records/ent-{record}"
            async with session.put(url, json=body, headers=headers) as answer:
                made += answer.status == 200
            turn += 1
            await asyncio.sleep(max(0.0, began + turn * WRITERS / RATE - time.monotonic()))

    await asyncio.gather(*map(write, range(WRITERS)))
    return made


async def idle(here: World, pids: dict[str, int]) -> None:
    """What 500 followers of a workspace in which nothing happens cost."""
    quiet = await here.stack.workspace()
    key = await quiet.api_key()
    costs = {}
    for count in (0, IDLE):
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            streams = [
                await session.get(
                    f"{here.stack.url}/api/v1/changes", headers={**key.headers, **STREAM}
                )
                for _ in range(count)
            ]
            await asyncio.sleep(2)
            statements = int(_asked(here, _STATEMENTS))
            before = cpu.used(here.stack.servers, pids)
            await asyncio.sleep(IDLE_S)
            after = cpu.used(here.stack.servers, pids)
            costs[count] = {each: after[each] - before[each] for each in after}
            told = int(_asked(here, _STATEMENTS)) - statements
            refused = sum(each.status != 200 for each in streams)
            for each in streams:
                each.close()
        spent = ", ".join(f"{name} {s / IDLE_S:.1%}" for name, s in costs[count].items())
        print(
            f"\n{count} idle followers ({refused} refused): {told / IDLE_S:.0f} transactions/s;"
            f" of one core: {spent}"
        )


async def placing(here: World, worker: Process) -> None:
    """What the feed adds to a new record: its place, and the relay's look at that."""
    await asyncio.to_thread(worker.stop)
    service = {"service": here.stack["records_service"].pid}
    before = cpu.used(here.stack.servers, service)
    await _create(here)
    after = cpu.used(here.stack.servers, service)
    created = sum(after[each] - before[each] for each in after) / PLACED
    conn = await asyncpg.connect(
        here.stack.databases["records_service"], server_settings={**store.SESSION, "jit": "off"}
    )
    pid = await conn.fetchval("SELECT pg_backend_pid()")
    window = Window(await last_drawn(conn))

    async def spent(work: Callable[[], Awaitable[None]]) -> float:
        """Seconds of this process and of its session."""
        began = time.process_time() + cpu_seconds(pid)
        await work()
        return time.process_time() + cpu_seconds(pid) - began

    async def place() -> None:
        more = True
        while more:
            _, more = await place_some(conn, window)

    def read(publishable: str) -> Callable[[], Awaitable[None]]:
        async def all_() -> None:
            for _ in range(PLACED // outbox_reading.BATCH_SIZE):
                await outbox_reading.read(conn, publishable)

        return all_

    placed = await spent(place) / PLACED
    plain = await spent(read(outbox_reading.ANY)) / PLACED
    looked = await spent(read(store.PUBLISHABLE)) / PLACED
    print(
        f"\n{PLACED} new records in one call, us of CPU for each: created {created * 1e6:.0f},"
        f" placed {placed * 1e6:.1f}; read by the relay {plain * 1e6:.1f}, with a look at the feed"
        f" {looked * 1e6:.1f}"
    )
    size = await conn.fetchval(
        "SELECT pg_total_relation_size('feed') / count(*) FROM feed WHERE document IS NULL"
    )
    print(f"  the feed has {size} bytes for each of them")
    await conn.close()


async def _create(here: World) -> None:
    lines = [
        orjson.dumps({"schemaId": "schema-bench", "values": world.values(f"placed-{n}")})
        for n in range(PLACED)
    ]
    headers = {
        **here.direct_headers,
        "Content-Type": "application/x-ndjson",
        "Accept": "application/x-ndjson",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{here.direct_url}/api/v1/records/bulk", data=b"\n".join(lines), headers=headers
        ) as answer,
    ):
        summary = orjson.loads((await answer.read()).splitlines()[-1])["summary"]
    if summary["created"] != PLACED:
        raise SystemExit(str(summary))


_STATEMENTS: Final = (
    "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
)


def _asked(here: World, query: str) -> str:
    url = here.stack.databases["records_service"]
    said = subprocess.run(
        ["psql", "-qAt", url, "-c", query], capture_output=True, text=True, check=True
    )
    return said.stdout.strip()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
