"""Requests at a constant rate, whatever becomes of them, through one address.

Half of them use connections that are kept alive, half a connection each. Nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.kit.sigma import Answer, Caller
from tests.kit.workspace import STATES, ModelBuilder, entries, workflow_body
from tests.rolling.ledger import Item, Ledger

TIMEOUT_S: Final = 40.0
OUTSTANDING_MAX: Final = 1_000
WORKSPACE: Final = "ws-rolling"
EMAIL: Final = "ann@rolling.test"
PASSWORD: Final = "correct horse battery staple"
SCHEMA: Final = "schema-apparel"
STATE_IDS: Final = tuple(f"state-{name}" for name in STATES)
ROLE: Final = "role-shop"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. `problem` is empty when it was answered as it should be."""

    phase: str
    kind: str
    keep_alive: bool
    seconds: float
    problem: str


class Model(ModelBuilder):
    def __init__(self, admin: Caller) -> None:
        self.admin = admin


class Load:
    """`await start()`, set `phase` as time goes by, `await stop()`; then read `samples`."""

    def __init__(self, url: str, rate: float, seed: int) -> None:
        self.phase = ""
        self.samples: list[Sample] = []
        self.ledger = Ledger()
        self._sessions = {True: _session(force_close=False), False: _session(force_close=True)}
        self._url = url
        self._rate = rate
        self._random = random.Random(seed)
        self._written = 0
        self._running: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Task[None] | None = None
        self.token: dict[str, str] = {}
        """The header of the user who is logged in."""
        self._key: dict[str, str] = {}
        self._kinds: Mapping[Callable[[Caller], Awaitable[None]], int] = {
            self.read_record: 170,
            self.list_records: 16,
            self.read_history: 12,
            self.read_role: 10,
            self.read_workflow: 10,
            self.create_record: 60,
            self.update_record: 80,
            self.move_record: 30,
            # Every one of these makes all records services read the model again.
            self.update_role: 4,
            self.update_workflow: 4,
            # A password costs a tenth of a second of a core.
            self.log_in: 4,
        }

    async def start(self) -> None:
        """Build a small model, log in, and begin."""
        await self.log_in_again()
        admin = self._caller(self.token, keep_alive=False)
        model = Model(admin)
        await model.attribute("name")
        workflow = await model.workflow(
            transitions=[(a, b) for a in STATES for b in STATES if a != b]
        )
        await model.schema("apparel", ["name"], workflow="wf-lifecycle")
        role = await model.role(ROLE, {SCHEMA: {"*": "write"}})
        self._workflow = Item("/workflows/wf-lifecycle", workflow["name"])
        self._role = Item(f"/roles/{ROLE}", role["name"])
        self.ledger.others = [self._workflow, self._role]
        self._busy: set[str] = set()
        body = {"name": "rolling", "permissions": ["read", "update-data"]}
        key = (await admin.post("/api-keys", body)).ok()
        self._key = {"X-Sigma-ApiKey": key["key"]}
        for _ in range(20):
            await self.create_record(admin)
        self._sending = asyncio.create_task(self._send())

    async def stop(self) -> None:
        """Send no more, and wait for the answers that are missing."""
        assert self._sending is not None
        self._sending.cancel()
        await asyncio.wait([self._sending])
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """End everything, answered or not."""
        for task in (self._sending, *self._running):
            if task is not None:
                task.cancel()
        for session in self._sessions.values():
            await session.close()

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Somebody with this credential, who is not counted."""
        return self._caller(headers, keep_alive=False)

    async def log_in_again(self) -> None:
        """From now on, use a new token."""
        credentials = {"email": EMAIL, "password": PASSWORD}
        answer = await self._caller({}, keep_alive=False).post("/auth/login", credentials)
        self.token = {"Authorization": f"Bearer {answer.ok()['token']}"}

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        next_at = loop.time()
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while True:
            next_at += 1 / self._rate
            await asyncio.sleep(next_at - loop.time())
            if len(self._running) >= OUTSTANDING_MAX:
                self._note("-", 0.0, "too many requests without an answer", keep_alive=False)
                continue
            (kind,) = self._random.choices(kinds, weights)
            task = asyncio.create_task(self._one(kind))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _one(self, kind: Callable[[Caller], Awaitable[None]]) -> None:
        keep_alive = self._random.random() < 0.5
        by_key = self._random.random() < 0.5 and kind not in (
            self.update_role,
            self.update_workflow,
        )
        caller = self._caller(self._key if by_key else self.token, keep_alive=keep_alive)
        await self.noted(getattr(kind, "__name__", "-"), kind(caller), keep_alive=keep_alive)

    async def noted(self, kind: str, work: Awaitable[object], *, keep_alive: bool = False) -> None:
        """Await it; how long it took and what went wrong is one more sample."""
        loop = asyncio.get_running_loop()
        phase, began, problem = self.phase, loop.time(), ""
        try:
            await work
        except AssertionError as error:
            problem = str(error)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            problem = repr(error)
        self.samples.append(Sample(phase, kind, keep_alive, loop.time() - began, problem))

    def _note(self, kind: str, seconds: float, problem: str, *, keep_alive: bool) -> None:
        self.samples.append(Sample(self.phase, kind, keep_alive, seconds, problem))

    def _caller(self, headers: Mapping[str, str], *, keep_alive: bool) -> Caller:
        return Caller(self._sessions[keep_alive], self._url, headers)

    def _some_record(self) -> Item:
        ids = list(self.ledger.records)
        return self.ledger.records[self._random.choice(ids[-500:])]

    def _free_record(self) -> Item:
        """One that nobody writes to, the one that was written longest ago."""
        assert self.ledger.free, "writes are so slow or so broken that no record is free"
        return self.ledger.free.popleft()

    def _new_name(self) -> str:
        self._written += 1
        return f"name {self._written}"

    async def read_record(self, caller: Caller) -> None:
        (await caller.get(self._some_record().path)).ok()

    async def list_records(self, caller: Caller) -> None:
        (await caller.get("/records?limit=20")).ok()

    async def read_history(self, caller: Caller) -> None:
        (await caller.get(f"{self._some_record().path}/audit?limit=10")).ok()

    async def read_role(self, caller: Caller) -> None:
        (await caller.get(self._role.path)).ok()

    async def read_workflow(self, caller: Caller) -> None:
        (await caller.get(self._workflow.path)).ok()

    async def log_in(self, caller: Caller) -> None:
        (await caller.post("/auth/login", {"email": EMAIL, "password": PASSWORD})).ok()

    async def create_record(self, caller: Caller) -> None:
        name = self._new_name()
        body = {"schemaId": SCHEMA, "values": entries({"name": name})}
        made = (await caller.post("/records", body)).ok()
        self.ledger.add_record(Item(f"/records/{made['id']}", (name, STATE_IDS[0])))
        self.ledger.writes += 1

    async def update_record(self, caller: Caller) -> None:
        item = self._free_record()
        name = self._new_name()
        body = {"values": entries({"name": name})}
        content = (name, item.content[1])
        await self._write(item, content, caller.put(item.path, body))
        self.ledger.free.append(item)

    async def move_record(self, caller: Caller) -> None:
        item = self._free_record()
        state = STATE_IDS[(STATE_IDS.index(item.content[1]) + 1) % len(STATE_IDS)]
        content = (item.content[0], state)
        answer = caller.post(f"{item.path}/transition", {"toStateId": state})
        await self._write(item, content, answer)
        self.ledger.free.append(item)

    async def update_role(self, caller: Caller) -> None:
        name = self._new_name()
        granted = [{"schemaId": SCHEMA, "attributePermissions": {"*": "write"}}]
        body = {"id": ROLE, "name": name, "schemaPermissions": granted}
        await self._write_alone(self._role, name, caller, body)

    async def update_workflow(self, caller: Caller) -> None:
        name = self._new_name()
        transitions = [(a, b) for a in STATES for b in STATES if a != b]
        body = workflow_body("lifecycle", STATES, transitions) | {"name": name}
        await self._write_alone(self._workflow, name, caller, body)

    async def _write_alone(
        self, item: Item, name: str, caller: Caller, body: Mapping[str, Any]
    ) -> None:
        """A read instead while another request writes to it."""
        if item.path in self._busy:
            (await caller.get(item.path)).ok()
            return
        self._busy.add(item.path)
        try:
            await self._write(item, name, caller.put(item.path, body))
        finally:
            self._busy.discard(item.path)

    async def _write(self, item: Item, content: Any, answering: Awaitable[Answer]) -> None:
        item.perhaps.append(content)
        answer = await answering
        answer.ok()
        item.perhaps.clear()
        item.acknowledged(content, answer.headers["ETag"])
        self.ledger.writes += 1


def _session(*, force_close: bool) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=force_close),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    )
    # Otherwise a failure of a kept connection would be hidden for reads.
    session._retry_connection = False
    return session
