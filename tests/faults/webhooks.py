"""A storm of webhook deliveries to a receiver that fails now and then, while their sender dies."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from tests.faults.experiments import Form
from tests.faults.listeners import Ear
from tests.faults.scene import Limits, Scene
from tests.kit.receiver import Received, receiving
from tests.kit.sigma import Caller
from tests.kit.stack import WORKFLOW

EVENTS: Final = ("entity.created", "entity.updated", "entity.transition")
FAILS_EVERY: Final = 100
SENDER_KILLED: Final = Limits(writes_s=10, events_s=60)
"""What the receiver refuses is sent again after ten seconds, and its record waits as long."""


class WebhookEar(Ear):
    """A receiver. It refuses every hundredth delivery once; what it takes, it has heard."""

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self._caller = caller
        self._open = AsyncExitStack()
        self._refused: set[str] = set()
        self._requests = 0

    async def start(self) -> None:
        receiver = await self._open.enter_async_context(receiving())
        receiver.answers = self._answer
        body = {"name": "Faults", "url": f"{receiver.url}/hook", "events": list(EVENTS)}
        (await self._caller.post("/webhooks", body)).ok()

    async def close(self) -> None:
        await super().close()
        await self._open.aclose()

    def _answer(self, got: Received) -> int:
        self._requests += 1
        delivery = got.json["deliveryId"]
        if self._requests % FAILS_EVERY == 0 and delivery not in self._refused:
            self._refused.add(delivery)
            return 500
        self.take({"type": got.json["event"], "id": delivery, "data": got.json["data"]})
        return 200


async def storm(scene: Scene, form: Form) -> None:
    """SIGKILL of workflow_service, which sends, again and again under writes."""
    for _ in range(form.server_kills):
        await asyncio.sleep(2)
        await scene.stack.kill(WORKFLOW)
        await scene.stack.start(WORKFLOW)
        await scene.recovered("workflow_service killed while it sends", SENDER_KILLED)
