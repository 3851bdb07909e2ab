"""What processes and databases hold, looked at every few seconds."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Final, Self

import aiohttp
import asyncpg

from tests.kit.processes import Process
from tests.soak.fleet import ApartFleet

EVERY_S: Final = 5.0
MEMORY, CONNECTIONS, BLOAT, OUTBOX = (
    "memory of {}, MB",
    "connections to the database of {}",
    "dead and free in the tables of {}, %",
    "age of the oldest event in the outbox of {}, s",
)
OUTBOX_AGE: Final = re.compile(
    rb"^sigma_outbox_oldest_age_seconds(?:\{[^}]*\})? (\S+)$", re.MULTILINE
)
SHARE_OF_NOTHING: Final = """
    SELECT coalesce(100 * sum(approx_free_space + dead_tuple_len) / nullif(sum(table_len), 0), 0)
      FROM pg_class, pgstattuple_approx(oid)
     WHERE relkind IN ('r', 't')
       AND relnamespace IN ('public'::regnamespace, 'pg_toast'::regnamespace)
       AND pg_relation_size(oid) > 1048576"""
"""Of tables of at least a mebibyte: in a smaller one a page more says nothing."""


class Gauges:
    """`await watch(window, seconds)`, then `of_window`."""

    def __init__(self, processes: Mapping[str, Process], databases: Mapping[str, str]) -> None:
        self._processes = processes
        self._databases = databases
        self.seen: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    @classmethod
    async def of(cls, fleet: ApartFleet) -> Self:
        """For all that runs now."""
        for url in fleet.databases.values():
            conn = await asyncpg.connect(url)
            await conn.execute("CREATE EXTENSION IF NOT EXISTS pgstattuple")
            await conn.close()
        return cls({process.name: process for process in fleet.processes}, fleet.databases)

    def of_window(self, window: str) -> dict[str, float]:
        """Medians, by what was looked at."""
        return {what: median(values) for what, values in self.seen[window].items()}

    def line(self, window: str) -> str:
        """The sums over all processes, for somebody who watches."""
        found = self.of_window(window)
        memory = sum(value for what, value in found.items() if what.startswith("memory"))
        connections = sum(value for what, value in found.items() if what.startswith("connections"))
        return f"{memory:.0f} MB, {connections:.0f} connections"

    async def watch(self, window: str, seconds: float) -> None:
        """Look again and again, and return when the time is up."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        async with aiohttp.ClientSession() as session:
            while (left := ends - loop.time()) > 0:
                await self._look(self.seen[window], session)
                await asyncio.sleep(min(EVERY_S, left))

    async def _look(self, seen: Mapping[str, list[float]], session: aiohttp.ClientSession) -> None:
        ages: dict[str, float] = defaultdict(float)
        for name, process in self._processes.items():
            seen[MEMORY.format(name)].append(memory_mb(process.pid))
            async with session.get(f"{process.internal_url}/metrics") as answer:
                text = await answer.read()
            service = name.rpartition("-")[0]
            for age in OUTBOX_AGE.findall(text):
                ages[service] = max(ages[service], float(age))
        for service, age in ages.items():
            seen[OUTBOX.format(service)].append(age)
        for service, url in self._databases.items():
            conn = await asyncpg.connect(url)
            try:
                count = await conn.fetchval(
                    """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                          AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
                )
                seen[CONNECTIONS.format(service)].append(float(count))
                seen[BLOAT.format(service)].append(float(await conn.fetchval(SHARE_OF_NOTHING)))
            finally:
                await conn.close()


def memory_mb(pid: int) -> float:
    """What a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
