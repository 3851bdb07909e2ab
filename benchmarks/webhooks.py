"""Webhooks: how many deliveries one worker makes per second to a fast receiver, beside its floor.

    .venv/bin/python -m benchmarks.webhooks [deliveries]

Updates of records are replayed to a webhook whose receiver, a process of its own, answers at once.
The floor is the same client posting the same number of bodies of the same size, as many at a time,
and doing nothing else: it takes no events, signs nothing and stores nothing. They take turns.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from statistics import median
from typing import Final

import aiohttp
import orjson
import uvloop

from benchmarks import cpu, machine, world
from benchmarks.receiver import Receiver, process, receive
from benchmarks.world import World
from tests.kit.processes import Process
from workflow_service.dispatch.lane import SENT_AT_ONCE

MODULE: Final = "benchmarks.webhooks"
ROUNDS: Final = 3
ROWS_AT_ONCE: Final = 5_000
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def main(deliveries: int) -> None:
    """Print all figures."""
    print(machine.described())
    async with world.opened() as here:
        await here.fill(min(deliveries, ROWS_AT_ONCE))
        started = datetime.now(UTC).isoformat()
        await _update(here, deliveries)
        worker = await here.stack.apart("workflow_service")
        with process(MODULE, "receive") as (receiver, url):
            webhook = {
                "id": "wh-bench",
                "name": "Bench",
                "url": url,
                "events": ["entity.updated"],
                "secret": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2Vj",
            }
            (await here.key.post("/webhooks", webhook)).ok()
            rates, floors, costs, sizes = [], [], [], []
            async with aiohttp.ClientSession() as session:
                for _ in range(ROUNDS):
                    await _seen(session, url, reset=True)
                    before = _used(here, worker)
                    (await here.key.post("/webhooks/wh-bench/replay", {"after": started})).ok()
                    seen = await _all(session, url, deliveries)
                    costs.append((_used(here, worker) - before) / deliveries * 1e6)
                    rates.append(deliveries / (seen["last"] - seen["first"]))
                    sizes.append(seen["bytes"] / deliveries)
                    await _seen(session, url, reset=True)
                    floors.append(await _floor(session, url, deliveries, int(sizes[-1])))
            receiver.kill()
    rate, floor = median(rates), median(floors)
    print(f"\n{deliveries:,} deliveries of {median(sizes):,.0f} bytes, {SENT_AT_ONCE} at a time")
    print(f"  one worker  {rate:7,.0f}/s (target 2,000), {median(costs):,.0f} us of its core each")
    print(f"  the floor   {floor:7,.0f}/s; the worker makes {rate / floor:.2f} of it")
    print(f"  all rounds: {[round(one) for one in rates]}, floors {[round(one) for one in floors]}")


def _used(here: World, worker: Process) -> float:
    return cpu.used(here.stack.servers, {"worker": worker.pid})["worker"]


async def _update(here: World, updates: int) -> None:
    records = [one["id"] for one in (await here.key.get("/records?limit=500")).ok()["items"]]
    for begin in range(0, updates, ROWS_AT_ONCE):
        rows = [
            {"id": records[n % len(records)], "values": {"weight": [{"scope": {}, "value": n}]}}
            for n in range(begin, min(begin + ROWS_AT_ONCE, updates))
        ]
        done = (await here.key.post("/records/bulk", {"operations": rows})).ok()
        assert done["updated"] == len(rows), done


async def _seen(session: aiohttp.ClientSession, url: str, *, reset: bool = False) -> dict:
    async with session.get(f"{url}/{'reset' if reset else 'seen'}") as answer:
        return orjson.loads(await answer.read())


async def _all(session: aiohttp.ClientSession, url: str, expected: int) -> dict:
    while True:
        seen = await _seen(session, url)
        if seen["count"] >= expected:
            assert seen["count"] == expected
            return seen
        await asyncio.sleep(0.5)


async def _floor(session: aiohttp.ClientSession, url: str, count: int, size: int) -> float:
    with process(MODULE, "post", url, str(count), str(size)) as (poster, _):
        seen = await _all(session, url, count)
        await asyncio.to_thread(poster.wait)
    return count / (seen["last"] - seen["first"])


class _Receiver(Receiver):
    """Answers every POST at once, and says at /seen what came."""

    count, size, first, last = 0, 0, 0.0, 0.0

    def answered(self, head: bytes, size: int) -> bytes:
        kind = type(self)
        if head.startswith(b"post"):
            kind.last = time.time()
            kind.first = kind.first or kind.last
            kind.count += 1
            kind.size += size
            return ANSWER
        told = {"count": kind.count, "bytes": kind.size, "first": kind.first, "last": kind.last}
        if head.startswith(b"get /reset"):
            kind.count, kind.size, kind.first = 0, 0, 0.0
        body = orjson.dumps(told)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def post(url: str, count: int, size: int) -> None:
    """The floor: post bodies of this size."""
    body = b"x" * size
    left = iter(range(count))
    async with aiohttp.ClientSession() as session:

        async def some() -> None:
            for _ in left:
                async with session.post(url, data=body) as answer:
                    await answer.read()

        print("posting", flush=True)
        await asyncio.gather(*(some() for _ in range(SENT_AT_ONCE)))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["receive"]:
            uvloop.run(receive(_Receiver))
        case ["post", url, count, size]:
            uvloop.run(post(url, int(count), int(size)))
        case arguments:
            asyncio.run(main(int(arguments[0]) if arguments else 20_000))
