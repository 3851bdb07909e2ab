"""Twice as many updates as the system can make: what is refused, and how late is the rest?

The database is some milliseconds away, because that is what makes lines of writers long. Capacity
is measured first, by clients of which each waits for its answer; then requests come at twice that
rate, however many are unanswered.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import orjson

DELAY_S = 0.01
"""Each way: a round trip to the database takes twice as long."""
CAPACITY_CLIENTS = 64
CAPACITY_SECONDS = 8
OVERLOAD_SECONDS = 20
FACTOR = 2


@dataclass
class Seen:
    """What came back, and when."""

    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)
    good_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    retry_after: Counter[str] = field(default_factory=Counter)

    @property
    def goodput(self) -> float:
        """Updates made in each second."""
        return len(self.good_s) / self.seconds

    def add(self, status: int, took_s: float, retry_after: str | None) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.good_s.append(took_s)
        else:
            self.refused_s.append(took_s)
            self.retry_after[retry_after or "none"] += 1


def percentile(values: list[float], part: float) -> float:
    """The value that so much of the others do not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


class Updates:
    """Each update sets one text of one of so many records to something new."""

    def __init__(self, url: str, headers: dict[str, str], records: int) -> None:
        self._url = url
        self._headers = {**headers, "Content-Type": "application/json"}
        self._records = records
        self._number = 0

    async def closed(self, session: aiohttp.ClientSession, clients: int, seconds: float) -> Seen:
        """So many clients, each with one request at a time."""
        seen = Seen(seconds)
        end = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                await self._one(session, seen)

        await asyncio.gather(*(client() for _ in range(clients)))
        return seen

    async def opened(self, session: aiohttp.ClientSession, rate: float, seconds: float) -> Seen:
        """So many requests a second, answered or not."""
        seen = Seen(seconds)
        running: set[asyncio.Task[None]] = set()
        began = time.perf_counter()
        sent = 0
        while (passed := time.perf_counter() - began) < seconds:
            while sent < passed * rate:
                sent += 1
                task = asyncio.create_task(self._one(session, seen))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(0.002)
        await asyncio.gather(*running)
        return seen

    async def _one(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        self._number += 1
        number = self._number
        path = f"/api/v1/records/ent-{number % self._records}/values/price"
        body = orjson.dumps({"value": number})
        began = time.perf_counter()
        async with session.patch(self._url + path, data=body, headers=self._headers) as answer:
            await answer.read()
            seen.add(answer.status, time.perf_counter() - began, answer.headers.get("Retry-After"))
