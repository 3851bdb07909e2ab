"""The whole system under writes, set back: what was before is there, what was after is undone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import asyncpg

from shared.messaging.topology import QUEUES
from tests.kit.eventually import eventually
from tests.kit.receiver import Receiver, receiving
from tests.kit.servers import ROOT
from tests.kit.sigma import Answer, Caller
from tests.kit.stack import RECORDS, SERVICES, WITH_DATABASE, Stack
from tests.kit.workspace import Workspace, entries

WRITERS: Final = 6
BEFORE_S: Final = 3.0
AFTER_S: Final = 3.0
UNCLEAR_S: Final = 0.5
"""Of what was answered so close to the moment, nobody knows on which side its commit was."""
CALM_S: Final = 12.0
"""Longer than anything takes that is done now and then."""
SEARCHED: Final = {"attribute": "name", "operator": "equals", "value": "again"}


@dataclass
class Written:
    """What one writer knows of its record: each value, with its version and its time."""

    record_id: str
    acknowledged: list[tuple[datetime, int, int]] = field(default_factory=list)

    def at(self, moment: datetime) -> tuple[int, int] | None:
        """Version and value at that moment; None where the moment was too near to a write."""
        if any(abs(moment - at) < timedelta(seconds=UNCLEAR_S) for at, _, _ in self.acknowledged):
            return None
        before = [(version, value) for at, version, value in self.acknowledged if at < moment]
        return before[-1] if before else None


class Scenario:
    """One run. `say` is told each step; `AssertionError` where something is not as it has to be."""

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._say = say
        self._stop = asyncio.Event()
        self._quiet = asyncio.Event()

    async def run(self) -> None:
        async with receiving() as receiver:
            await self._run(receiver)

    async def _run(self, receiver: Receiver) -> None:
        stack, sigma = self._stack, await self._stack.workspace(record_limit=10_000)
        await self._model(sigma, receiver)
        written = [Written(f"r{number}") for number in range(WRITERS)]
        writing = [asyncio.create_task(self._write(sigma, one)) for one in written]
        self._say("base backups, under writes")
        await asyncio.to_thread(stack.servers.postgres.back_up)
        await asyncio.sleep(BEFORE_S)
        key = (await sigma.admin.post("/api-keys", {"name": "k", "permissions": ["read"]})).ok()
        kept_token = await self._token(sigma.admin)
        # One writer after the other pauses, so that each has a clear state at the moment.
        self._quiet.set()
        await asyncio.sleep(2 * UNCLEAR_S)
        moment = datetime.now(UTC)
        await asyncio.sleep(2 * UNCLEAR_S)
        self._quiet.clear()
        await asyncio.sleep(AFTER_S)
        self._stop.set()
        await asyncio.gather(*writing)
        await self._more(sigma, key["id"])
        lost_tag = (await sigma.admin.get("/records/r0")).headers["ETag"]
        lost_token = await self._token(sigma.admin)
        lost_writes = sum(at > moment for one in written for at, _, _ in one.acknowledged)

        began = time.monotonic()
        for name in SERVICES:
            await stack.kill(name)
        await asyncio.to_thread(stack.servers.postgres.set_back, moment)
        self._say(
            f"three servers set back to {moment:%H:%M:%S.%f}: {time.monotonic() - began:.1f} s"
        )
        await self._nobody_serves_unasked()
        self._delete_queues()
        for name in WITH_DATABASE:
            self._say(self._command("shared.database.restored", name, service=name))
        ready = datetime.now(UTC).isoformat()
        for name in SERVICES:
            stack[name].start()
        await asyncio.to_thread(stack.wait_ready)
        self._say(f"all serve again after {time.monotonic() - began:.1f} s")
        self._say(
            self._command(
                *("records_service.feed.telling_again", "--type", "schema.#"),
                *("--since", (moment - timedelta(hours=1)).isoformat()),
                service=RECORDS,
            )
        )
        await self._old_sessions_have_ended(sigma.admin)
        sigma.admin = await sigma.log_in(sigma.email("user-admin"))
        await self._records_are_those_of(moment, written, sigma.admin)
        await self._followers_are_told(sigma.admin, kept_token, lost_token)
        await self._tags_are_of_no_version(sigma.admin, lost_tag)
        await self._references_hold(sigma)
        await self._everything_answers(sigma)
        (active,) = [
            one for one in (await sigma.admin.get("/api-keys")).ok() if one["id"] == key["id"]
        ]
        assert active["active"], "what was deactivated after the backup is as it was: docs say so"
        await eventually(
            lambda: any(one.json["event"] == "records.restored" for one in receiver.received),
            within_s=60,
        )
        await self._is_calm(ready)
        self._say(
            f"{sum(len(one.acknowledged) for one in written)} acknowledged writes,"
            f" {lost_writes} of them undone; everything is as it was at the moment"
        )

    async def _model(self, sigma: Workspace, receiver: Receiver) -> None:
        await sigma.workflow()
        await sigma.attribute("cost", "number")
        await sigma.attribute("name")
        await sigma.schema("x", ["cost", "name"], "wf-lifecycle")
        await sigma.role("role-seller", {"schema-x": {"*": "write"}})
        hook = {
            "name": "Copy",
            "url": f"{receiver.url}/hook",
            "events": ["entity.updated", "records.restored"],
        }
        (await sigma.admin.post("/webhooks", hook)).ok()

    async def _write(self, sigma: Workspace, written: Written) -> None:
        """Create one record, and change it again and again."""
        made = await sigma.record("schema-x", {"cost": 0, "name": "first"}, id=written.record_id)
        written.acknowledged.append((datetime.now(UTC), made["version"], 0))
        for value in count(1):
            if self._stop.is_set():
                return
            if self._quiet.is_set():
                await asyncio.sleep(0.05)
                continue
            body = {"values": entries({"cost": value})}
            answer = (await sigma.admin.put(f"/records/{written.record_id}", body)).ok()
            written.acknowledged.append((datetime.now(UTC), answer["version"], value))
            await asyncio.sleep(0.02)

    async def _more(self, sigma: Workspace, key_id: str) -> None:
        """Something after the moment in each of the databases, which refers to the others."""
        await sigma.role("role-lost", {"schema-x": {"*": "write"}})
        await sigma.user("role-lost", "user-lost")
        (await sigma.admin.post(f"/api-keys/{key_id}/deactivate")).ok()
        await sigma.workflow("lost")
        await sigma.attribute("lost")
        await sigma.schema("lost", ["lost", "name"], "wf-lost")
        await sigma.record("schema-lost", {"name": "lost"}, id="lost")
        (await sigma.admin.post("/records/r1/transition", {"toStateId": "state-review"})).ok()
        (await sigma.admin.delete("/records/r2")).ok()

    async def _token(self, caller: Caller) -> str:
        """Behind all that was written."""
        await asyncio.sleep(1)
        token: str = (await caller.get("/changes")).ok()["next"]
        return token

    async def _nobody_serves_unasked(self) -> None:
        """Processes that are started on the restored databases say what is to be done."""
        stack = self._stack
        for name in WITH_DATABASE:
            stack[name].start()
        for name in WITH_DATABASE:
            await eventually(lambda: "shared.database.restored" in stack[name].tail(), within_s=60)  # noqa: B023
            assert not stack[name].ready
            await asyncio.to_thread(stack[name].stop)

    def _delete_queues(self) -> None:
        rabbit = self._stack.servers.rabbit.private
        assert rabbit is not None
        vhost = (
            "/" if self._stack.amqp_url.count("/") < 4 else self._stack.amqp_url.rpartition("/")[2]
        )
        for queue in QUEUES:
            for name in (queue.name, queue.dead):
                rabbit.control("--vhost", vhost or "/", "delete_queue", name)

    def _command(self, module: str, *arguments: str, service: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self._stack.environment(service),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    async def _old_sessions_have_ended(self, caller: Caller) -> None:
        assert (await caller.get("/records")).status == 401

    async def _records_are_those_of(
        self, moment: datetime, written: list[Written], admin: Caller
    ) -> None:
        listed = (await admin.get("/records?limit=500")).ok()["items"]
        assert {one["id"] for one in listed} == {one.record_id for one in written}
        for one in written:
            known = one.at(moment)
            assert known is not None, "the writers were to be quiet at the moment"
            record = (await admin.get(f"/records/{one.record_id}")).ok()
            found = (record["version"], record["values"]["cost"][0]["value"])
            assert found == known, f"{one.record_id} is {found}, was {known}"

    async def _followers_are_told(self, admin: Caller, kept: str, lost: str) -> None:
        answer = await admin.get(f"/changes?after={lost}")
        assert answer.outcome[0] == 410, answer
        assert "was restored to a moment before" in answer.body["message"]
        types = await self._types_after(admin, kept)
        assert "records.restored" in types, types

    async def _types_after(self, admin: Caller, token: str) -> list[str]:
        types: list[str] = []
        while True:
            page = (await admin.get(f"/changes?after={token}&limit=1000")).ok()
            types += [each["type"] for each in page["items"]]
            token = page["next"]
            if not page["more"]:
                return types

    async def _tags_are_of_no_version(self, admin: Caller, lost: str) -> None:
        body = {"values": entries({"name": "blind"})}
        answer = await admin.put("/records/r0", body, headers={"If-Match": lost})
        assert answer.status == 412, answer

    async def _references_hold(self, sigma: Workspace) -> None:
        """What one database says of another is there, and what is gone is gone in all."""
        admin = sigma.admin
        for path in ("/schemas/schema-lost", "/workflows/wf-lost", "/roles/role-lost"):
            assert (await admin.get(path)).status == 404, path
        assert (await admin.get("/attributes/attr-lost")).status == 404
        await eventually(lambda: self._is_bound(admin), within_s=60)
        # Made again under the same ids, with other content.
        await sigma.role("role-lost", {"schema-x": {"*": "read"}})
        await sigma.workflow("lost", ["open", "closed"])
        await sigma.attribute("lost", "number")
        await sigma.schema("lost", ["lost"], "wf-lost")
        made = await sigma.record("schema-lost", {"lost": 1}, id="lost")
        assert made["lifecycleStateId"] == "state-open"
        reader = await sigma.user("role-lost", "user-lost")
        body = {"values": entries({"cost": 1})}
        assert (await reader.put("/records/r0", body)).status == 403
        assert (await reader.get("/records/r0")).status == 200

    async def _is_bound(self, admin: Caller) -> bool:
        return (await admin.delete("/workflows/wf-lifecycle")).status == 409

    async def _everything_answers(self, sigma: Workspace) -> None:
        admin = sigma.admin
        asked: list[Answer] = [
            await admin.post("/records/r1/transition", {"toStateId": "state-review"}),
            await admin.put("/records/r2", {"values": entries({"name": "again"})}),
            await admin.post("/search", {"criteria": [SEARCHED], "criteriaOperator": "and"}),
            await admin.get("/audit?limit=5"),
            await admin.get("/changes/snapshot"),
            await admin.get("/webhooks"),
            await admin.put("/attributes/attr-name", await self._renamed(admin)),
        ]
        assert [answer.status for answer in asked] == [200] * len(asked), asked

    async def _renamed(self, admin: Caller) -> dict[str, Any]:
        return (await admin.get("/attributes/attr-name")).ok() | {"name": "Label"}

    async def _is_calm(self, ready: str) -> None:
        """Nothing fails or begins again and again: no error is logged, nothing waits."""
        await asyncio.sleep(CALM_S)
        for name in SERVICES:
            said = await asyncio.to_thread(Path(self._stack[name].log).read_text)
            events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
            assert events, f"{name} has logged nothing"
            # Those of the last start: before it, each database was one that nobody had told of.
            wrong = [one for one in events if one["level"] == "error" and one["timestamp"] > ready]
            assert not wrong, wrong[:3]
        for name in WITH_DATABASE:
            conn = await asyncpg.connect(self._stack.databases[name])
            try:
                assert await conn.fetchval("SELECT count(*) FROM outbox") == 0
                if name == RECORDS:
                    assert await conn.fetchval("SELECT count(*) FROM jobs") == 0
            finally:
                await conn.close()
