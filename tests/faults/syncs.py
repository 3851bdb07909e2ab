"""The process that synchronises channels dies in the middle of it, again and again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from tests.faults.background import asked
from tests.faults.experiments import Form
from tests.faults.history import Copy, Effects, Recovery
from tests.faults.outside import Stored, execute, read, waited_for
from tests.faults.scene import Scene
from tests.kit.eventually import eventually
from tests.kit.rest_target import RestTarget
from tests.kit.shopify.server import TOKEN as SHOP_TOKEN
from tests.kit.shopify.server import ShopifyServer, shopify_server
from tests.kit.stack import WORKFLOW

ENDED_WITHIN_S: Final = 60.0
ANSWERED_AFTER_S: Final = 0.02
STARTS_AT_ONCE: Final = 3
LEASES_ENDED: Final = """
    UPDATE sync_runs SET due_at = now() WHERE workspace_id = $1 AND status = 'running'
"""


class Channel:
    """A channel that pushes records to a target, which is asked what it has."""

    def __init__(
        self,
        scene: Scene,
        stored: Stored,
        name: str,
        *,
        objects: Callable[[], Mapping[str, str]],
        made: Callable[[], list[str]],
    ) -> None:
        """`objects`: the token of each object by its id. `made`: that of each create it had."""
        self.done = made
        self.id = f"ch-{name}"
        self._scene = scene
        self._stored = stored
        self._name = name
        self._objects = objects
        self._rounds = 0

    async def create(self, kind: str, config: Mapping[str, Any]) -> None:
        """The channel."""
        mapping = {"sourceAttribute": "name", "targetField": "title"}
        body = {
            "id": self.id,
            "name": self._name,
            "alias": self._name,
            "type": kind,
            "config": config,
            "fieldMappings": [mapping],
            "schemaId": self._stored.schema,
        }
        (await self._scene.admin.post("/channels", body)).ok()

    async def begin(self) -> asyncio.Task[Any]:
        """Start a push several times at once; one of them has to be accepted."""
        self._rounds += 1
        starts = [
            asyncio.create_task(asked(self._scene, "POST", f"/channels/{self.id}/push"))
            for _ in range(STARTS_AT_ONCE)
        ]
        return asyncio.create_task(asyncio.wait(starts))

    async def logs(self) -> list[Mapping[str, Any]]:
        """All logs, newest first."""
        found: list[Mapping[str, Any]] = await read(self._scene, f"/channels/{self.id}/sync-logs")
        return found

    async def ended(self, within_s: float) -> None:
        """Wait for the newest push, and compare what the target has with the records."""

        async def newest() -> Mapping[str, Any]:
            return (await self.logs())[0]

        log = await waited_for(newest, within_s)
        name, found = f"{self._name} {self._rounds}", self._scene.found
        told = {one: log[one] for one in ("status", "failed", "error")}
        if told != {"status": "success", "failed": 0, "error": None}:
            found.unfinished.append(f"push {name} ended as {told}")
            return
        counted = log["created"] + log["updated"] + log["skipped"]
        expected = len(self._stored.tokens)
        found.effects[f"log of push {name}"] = Effects({}, {}, counted=counted, events=expected)
        self.compare(f"target of push {name}")

    def compare(self, name: str) -> None:
        """Each record is one object, which has what the record has."""
        objects = [(self._stored.owner(token), token) for token in self._objects().values()]
        self._scene.found.copies[name] = Copy(dict(self._stored.tokens), objects)

    async def reckon(self) -> None:
        """What all pushes have left."""
        found, tokens = self._scene.found, self._stored.tokens
        logs = len(await self.logs())
        found.effects[f"pushes of {self._name}"] = Effects(
            {}, {}, counted=logs, events=self._rounds
        )
        self.compare(f"{self._name} in the end")
        created = [(self._stored.owner(token), "once") for token in self.done()]
        found.copies[f"creates at {self._name}"] = Copy(dict.fromkeys(tokens, "once"), created)
        ids = {self._stored.owner(token): one for one, token in self._objects().items()}
        mappings = await read(self._scene, f"/channels/{self.id}/sync-mappings")
        known = [(one["entityId"], one["externalId"]) for one in mappings]
        found.copies[f"mappings of {self._name}"] = Copy(ids, known)


async def custom(
    scene: Scene, stored: Stored, target: RestTarget, after_s: float = ANSWERED_AFTER_S
) -> Channel:
    """A channel to a REST endpoint that knows no `Idempotency-Key`, and takes its time."""

    async def slowly(_: web.Request) -> None:
        await asyncio.sleep(after_s)

    target.interfere = slowly
    channel = Channel(
        scene,
        stored,
        "custom",
        objects=lambda: {one: each["title"] for one, each in target.products.items()},
        made=lambda: [body["title"] for how, _, body in target.asked if how == "POST"],
    )
    await channel.create("custom", {"url": target.url})
    return channel


async def shopify(scene: Scene, stored: Stored, shop: ShopifyServer) -> Channel:
    """A channel to a shop, which gets many records by one bulk operation."""

    def objects() -> dict[str, str]:
        products = shop.catalogue.products.items()
        return {str(one): each.values["title"] for one, each in products}

    channel = Channel(scene, stored, "shopify", objects=objects, made=lambda: [*objects().values()])
    config = {"shopUrl": "https://coastal.myshopify.com", "apiKey": SHOP_TOKEN}
    await channel.create("shopify", config)
    return channel


async def kill_in_syncs(scene: Scene, form: Form) -> None:
    """Pushes to two targets, each killed once or twice while it is under way."""
    rows = form.rows // 50
    async with RestTarget(keeps_keys=False).serve() as target, shopify_server() as shop:
        await scene.stack.restart(WORKFLOW, SIGMA_SHOPIFY_URL=shop.url)
        stored = Stored(scene, "synced")
        await stored.create(rows)
        channel = await custom(scene, stored, target)
        before = target.counts
        await _killed_in(scene, form, channel, stored, lambda: before["POST"] + before["PUT"], 10)
        channel = await shopify(scene, stored, shop)
        await _killed_in(scene, form, channel, stored, shop.asked.total, 4)


async def _killed_in(
    scene: Scene,
    form: Form,
    channel: Channel,
    stored: Stored,
    requests: Callable[[], int],
    requests_max: int,
) -> None:
    """`requests` counts what the target was asked; a push asks more than `requests_max` times."""
    chance = random.Random(scene.name)
    loop = asyncio.get_running_loop()
    for number in range((form.server_kills + 1) // 2):
        if number:
            await stored.change(2)
        for again in range(1 + number % 2):
            had = requests()
            if not again:
                starting = await channel.begin()
            more = chance.randint(1, requests_max)
            await eventually(lambda had=had, more=more: requests() >= had + more, 30)
            await scene.stack.kill(WORKFLOW)
            await starting
            # The lease of a process that is gone lasts up to 30 seconds; here it ends at once.
            await execute(scene, LEASES_ENDED, scene.id)
            began = loop.time()
            await scene.stack.start(WORKFLOW)
        await channel.ended(2 * ENDED_WITHIN_S)
        took = Recovery("sync killed: ended", loop.time() - began, ENDED_WITHIN_S)
        scene.found.recoveries.append(took)
    await channel.reckon()
