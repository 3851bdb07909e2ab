"""Clients that write without a pause for thought, whatever becomes of the system.

Each client has records of its own, and one request at a time. Half of the writes have an
`Idempotency-Key` and are sent again, as the documentation says, after 503, 504 and no answer at
all; the others are sent once, and what their client was told is all it knows.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.faults.history import TOKEN, Outcome, Write
from tests.kit.sigma import Answer, Caller
from tests.kit.workspace import entries

SCHEMA: Final = "schema-apparel"
RECORDS_OF_A_CLIENT: Final = 20
ANSWER_WITHIN_S: Final = 60.0
"""Longer than the deadline of any request: an answer that comes later never comes."""
REPEATED_FOR_S: Final = 150.0
PAUSE_S: Final = 0.25
UNAVAILABLE, UNKNOWN, CONFLICT = 503, 504, 409


@dataclass(slots=True)
class _Client:
    number: int
    records: list[str] = field(default_factory=list)
    acknowledged_s: float = 0.0
    """When the last request was sent that was acknowledged."""


class Writers:
    """`start()`, then the fault, then `await stop()`; `writes` are in the order of the answers."""

    def __init__(self, caller: Caller, name: str, *, clients: int, pause_s: float) -> None:
        self.writes: list[Write] = []
        self.wrong: list[str] = []
        """Answers outside the envelope, or with a code that no fault explains."""
        self.unanswered = 0
        self.answers: Counter[int] = Counter()
        self.acknowledged_s: list[float] = []
        """When each acknowledgement came, by the clock of the loop."""
        self._caller = caller
        self._name = name
        self._pause_s = pause_s
        self._random = random.Random(name)
        self._clients = [_Client(number) for number in range(clients)]
        self._tokens = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write_on(client)) for client in self._clients]

    async def stop(self) -> None:
        """Send nothing new, and wait for the answers that are missing."""
        self._ending = True
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """End everything, answered or not."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def acknowledged(self) -> int:
        return sum(write.outcome is Outcome.ACKNOWLEDGED for write in self.writes)

    def all_served_since(self, moment_s: float) -> bool:
        """Whether every client had a request acknowledged that it sent after this moment."""
        return all(client.acknowledged_s > moment_s for client in self._clients)

    async def _write_on(self, client: _Client) -> None:
        while not self._ending:
            await self._one(client)
            await asyncio.sleep(self._pause_s * self._random.uniform(0.5, 1.5))

    async def _one(self, client: _Client) -> None:
        self._tokens += 1
        token = f"{TOKEN}{self._name}-{self._tokens}"
        again = self._random.random() < 0.5
        if len(client.records) < RECORDS_OF_A_CLIENT or self._random.random() < 0.1:
            body: dict[str, Any] = {"schemaId": SCHEMA, "values": entries({"name": token})}
            outcome, answer = await self._send(client, "POST", "/records", body, token, again)
        else:
            record = self._random.choice(client.records)
            path = f"/records/{record}/values/name"
            outcome, answer = await self._send(
                client, "PATCH", path, {"value": token}, token, again
            )
        if answer is None:
            self.writes.append(Write(token, outcome))
            return
        record, version = answer.body["id"], int(answer.headers["ETag"].strip('W/"'))
        if record not in client.records:
            client.records.append(record)
        self.writes.append(Write(token, outcome, record, version))

    async def _send(
        self, client: _Client, method: str, path: str, body: Any, token: str, again: bool
    ) -> tuple[Outcome, Answer | None]:
        """What became of the write, and its answer if it was acknowledged."""
        headers = {"Idempotency-Key": token} if again else {}
        loop = asyncio.get_running_loop()
        ends = loop.time() + REPEATED_FOR_S
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    answer = await self._caller.ask(method, path, body, headers=headers)
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.unanswered += 1
                outcome = Outcome.UNKNOWN
            else:
                self.answers[answer.status] += 1
                if answer.status < 300:
                    client.acknowledged_s = began
                    self.acknowledged_s.append(loop.time())
                    return Outcome.ACKNOWLEDGED, answer
                if wrong := wrong_with(answer, again=again):
                    self.wrong.append(f"{method} {path}: {wrong}")
                outcome = Outcome.UNKNOWN if answer.status == UNKNOWN else Outcome.REFUSED
            if not again:
                return outcome, None
            if loop.time() > ends:
                return Outcome.UNKNOWN, None
            await asyncio.sleep(PAUSE_S)


def wrong_with(answer: Answer, *, again: bool) -> str:
    """What is wrong with an answer that is no success; empty if it is as the contract says.

    `again`: the request has an `Idempotency-Key`, so an earlier one may be running still.
    """
    body, shown = answer.body, f"{answer.status} {str(answer.body)[:200]}"
    if answer.headers.get("Content-Type", "").partition(";")[0] != "application/json":
        return f"not JSON: {shown}"
    if not isinstance(body, dict) or set(body) != {"error", "message"}:
        return f"not the envelope: {shown}"
    if not all(isinstance(text, str) and text for text in body.values()):
        return f"not two texts: {shown}"
    allowed = {UNAVAILABLE, UNKNOWN, CONFLICT} if again else {UNAVAILABLE, UNKNOWN}
    if answer.status not in allowed:
        return f"explained by no fault: {shown}"
    if answer.status == UNAVAILABLE and "Retry-After" not in answer.headers:
        return f"without Retry-After: {shown}"
    return ""
