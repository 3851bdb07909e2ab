"""One workspace in a running system while something breaks: writers, listeners, and the reckoning.

async with Scene(stack, folder, "kill-broker", clients=16) as scene:
    ...                                     # break something
    await scene.recovered("the broker", Limits(writes_s=10, events_s=20))
    violations = judge(await scene.history())
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import asyncpg
import orjson

from tests.faults.history import (
    Change,
    Effects,
    History,
    Listener,
    Outcome,
    Recovery,
    Write,
    tokens_of,
)
from tests.faults.listeners import BusEar, Ear, FeedEar
from tests.faults.writers import Writers
from tests.kit.eventually import eventually
from tests.kit.example_consumer import ExampleConsumer
from tests.kit.sigma import Caller
from tests.kit.stack import Stack
from tests.kit.workspace import STATES, workflow_body

RECORD_LIMIT: Final = 1_000_000
PAGE: Final = 500
COPIES: Final = 8
QUIET_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Within how many seconds after a fault has ended everything is as before.

    `writes_s`: every client's writes are acknowledged again. `events_s`: everything acknowledged
    until then has been heard by all listeners.
    """

    writes_s: float
    events_s: float


@dataclass(frozen=True, slots=True)
class Gaps:
    """For how long at most no write is acknowledged at all, and no event is heard on the bus."""

    writes_s: float
    events_s: float


def longest_gap(times: Sequence[float], since_s: float, until_s: float) -> float:
    """The longest pause between two of these moments, of those between the two limits."""
    within = [since_s, *(moment for moment in times if since_s < moment < until_s), until_s]
    return max(later - earlier for earlier, later in pairwise(within))


class Scene:
    """As an async context; `history` ends it."""

    def __init__(
        self,
        stack: Stack,
        folder: Path,
        name: str,
        *,
        clients: int = 16,
        pause_s: float = 0.15,
        patience_s: float = 90.0,
        more_ears: Mapping[str, Callable[[Caller], Ear]] | None = None,
    ) -> None:
        """`patience_s`: waited for what does not come, then it counts as lost or as too late.

        `more_ears` are made with the administrator, and hear of everything from the first write on.
        """
        self.stack = stack
        self.name = name
        self.found = History()
        self.folder = folder
        self._clients = clients
        self._pause_s = pause_s
        self._patience_s = patience_s
        self._more_ears = more_ears or {}
        self._open = AsyncExitStack()
        self._versions: dict[str, int] = {}
        """Workflow id -> the version that was acknowledged last."""
        self._ending = False

    async def __aenter__(self) -> Self:
        try:
            await self._begin()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._open.aclose()

    async def _begin(self) -> None:
        self.workspace = await self.stack.workspace(RECORD_LIMIT)
        self.id = self.workspace.id
        self.admin: Caller = self.workspace.admin
        workflow = await self.workspace.workflow()
        await self.workspace.attribute("name")
        await self.workspace.schema("apparel", ["name"], workflow=workflow["id"])
        servers = self.stack.servers
        database = await servers.postgres.empty_database("example_consumer")
        self.example = ExampleConsumer(self.stack.amqp_url, database, self.folder)
        self._open.push_async_callback(self.example.close)
        await self.example.start()
        self.feed = FeedEar(self.admin)
        self.bus = BusEar(self.stack.amqp_url, self.id)
        self.ears: dict[str, Ear] = {"bus": self.bus, "feed": self.feed}
        self.ears |= {name: make(self.admin) for name, make in self._more_ears.items()}
        for ear in self.ears.values():
            self._open.push_async_callback(ear.close)
            await ear.start()
        for number in range(COPIES):
            made = await self.workspace.workflow(f"copy-{number}")
            self._versions[made["id"]] = 1
        self.writers = Writers(self.admin, self.name, clients=self._clients, pause_s=self._pause_s)
        self._open.push_async_callback(self.writers.close)
        self.writers.start()
        self._copying = asyncio.create_task(self._rename_workflows())
        self._open.push_async_callback(self._stop_copying)

    async def recovered(self, what: str, limits: Limits) -> None:
        """Wait until everything is as before, and note how long that took from now on."""
        loop = asyncio.get_running_loop()
        healed_s = loop.time()
        with suppress(AssertionError):
            await eventually(lambda: self.writers.all_served_since(healed_s), self._patience_s)
        self.took(f"{what}: writes", loop.time() - healed_s, limits.writes_s)
        told = {w.token for w in self.writers.writes if w.outcome is Outcome.ACKNOWLEDGED}
        with suppress(AssertionError):
            await eventually(
                lambda: all(told <= ear.tokens for ear in self.ears.values()), self._patience_s
            )
        self.took(f"{what}: events", loop.time() - healed_s, limits.events_s)

    def interrupted(self, what: str, since_s: float, most: Gaps, *, excused_s: float = 0.0) -> None:
        """Note the longest time since then without an acknowledgement, and without an event.

        `excused_s` is what the servers themselves needed, such as the promotion of a standby.
        """
        now_s = asyncio.get_running_loop().time()
        bus = self.bus.heard_s
        for name, times, seconds_max in (
            ("no write acknowledged", self.writers.acknowledged_s, most.writes_s),
            ("no event heard", bus, most.events_s),
        ):
            gap_s = longest_gap(times, since_s, now_s) - excused_s
            self.took(f"{what}: {name} for", max(0.0, gap_s), seconds_max)

    def took(self, what: str, seconds: float, seconds_max: float) -> None:
        """Note how long something took, which is wrong beyond the most."""
        self.found.recoveries.append(Recovery(what, seconds, seconds_max))

    async def history(self) -> History:
        """Stop writing, wait until nothing more is under way, and read everything back."""
        await self.writers.stop()
        self._ending = True
        await self._copying
        found = self.found
        found.writes += self.writers.writes
        found.answers += self.writers.wrong
        if self.feed.gone:
            found.answers.append("the feed answered 410 to a token that was minutes old")
        found.changes = await self._stored()
        with suppress(AssertionError):
            await eventually(self._all_is_heard, self._patience_s)
        # What comes twice, or comes from nothing, may come a little later.
        await asyncio.sleep(QUIET_S)
        found.records = await self._shown()
        for name, ear in self.ears.items():
            found.listeners[name] = Listener(tuple(ear.heard), exactly_once=ear.exactly_once)
        found.effects["example consumer"] = Effects(
            expected={change.record: change.version for change in found.changes},
            found=await self.example.followed(self.id),
            counted=await self.example.changes(self.id),
            events=len(found.changes),
        )
        found.effects["copies of workflows"] = Effects(self._versions, await self._copies())
        return found

    async def _all_is_heard(self) -> bool:
        everything = {(change.record, change.version) for change in self.found.changes}
        for ear in self.ears.values():
            if everything - {(change.record, change.version) for change in ear.heard}:
                return False
        if await self.example.changes(self.id) < len(everything):
            return False
        copies = await self._copies()
        return all(copies.get(one, 0) >= version for one, version in self._versions.items())

    async def _stored(self) -> list[Change]:
        rows = await self._rows(
            """SELECT record_id, version, changes::text AS changes FROM audit
                WHERE workspace_id = $1 AND variant_id IS NULL ORDER BY record_id, version, id"""
        )
        return [
            Change(row["record_id"], row["version"], tokens_of(orjson.loads(row["changes"])))
            for row in rows
        ]

    async def _copies(self) -> dict[str, int]:
        rows = await self._rows(
            "SELECT workflow_id, version FROM lifecycles WHERE workspace_id = $1"
        )
        return {row["workflow_id"]: row["version"] for row in rows}

    async def _rows(self, query: str) -> list[Mapping[str, Any]]:
        conn = await asyncpg.connect(self.stack.databases["records_service"])
        try:
            return list(await conn.fetch(query, self.id))
        finally:
            await conn.close()

    async def _shown(self) -> dict[str, tuple[int, str]]:
        """All records, as the API shows them."""
        shown: dict[str, tuple[int, str]] = {}
        total = 1
        while len(shown) < total:
            page = (await self.admin.get(f"/records?limit={PAGE}&offset={len(shown)}")).ok()
            total = page["total"]
            for item in page["items"]:
                (value,) = item["values"]["name"]
                shown[item["id"]] = (item["version"], value["value"])
            if not page["items"]:
                break
        return shown

    async def _rename_workflows(self) -> None:
        """Changes in workflow_service, of which records_service keeps copies made from events."""
        number = 0
        while not self._ending:
            number += 1
            alias = f"copy-{number % COPIES}"
            transitions = list(pairwise(STATES))
            body = workflow_body(alias, STATES, transitions) | {"name": f"name {number}"}
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with asyncio.timeout(30):
                    answer = await self.admin.put(f"/workflows/wf-{alias}", body)
                if answer.status == 200:
                    version = int(answer.headers["ETag"].strip('W/"'))
                    self._versions[f"wf-{alias}"] = version
            await asyncio.sleep(self._pause_s)

    async def _stop_copying(self) -> None:
        self._copying.cancel()
        await asyncio.gather(self._copying, return_exceptions=True)

    def acknowledge(self, token: str) -> None:
        """A write that was acknowledged otherwise than by an answer to it: the row of a job."""
        self.found.writes.append(Write(token, Outcome.ACKNOWLEDGED))
