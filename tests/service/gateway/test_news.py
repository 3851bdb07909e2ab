"""Two gateways hear from auth_service through a real broker, and do without when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.identities import TTL_WITH_WATERMARKS_S
from shared.events import Event, EventType
from shared.messaging.connection import Bus
from shared.messaging.publishing import Publisher
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import error
from tests.kit.wire import Wire
from tests.service.gateway.system import API_KEY, System, hash_of

BAD_KEY = error(401, "UNAUTHORIZED", "Invalid API key")
KEY_HASH = hash_of(API_KEY)
SOON_S = TTL_WITH_WATERMARKS_S / 2
"""By news, that is: on a quiet machine it takes a few milliseconds."""


class News:
    """What auth_service's outbox relay would publish."""

    def __init__(self, url: str) -> None:
        self._bus = Bus(url, "news")
        self._beating: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._bus.start()
        self._publisher = await Publisher.open(await self._bus.connection())

    async def tell(self, kind: str, workspace_id: str = "ws-1", **data: Any) -> None:
        event = Event(kind, "/auth_service", workspace_id, "subject", data)
        await self._publisher.publish(kind, event.id, event.to_json())

    def beat(self) -> None:
        self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await self.tell(EventType.AUTH_WATERMARK, "*")
            await asyncio.sleep(0.25)

    async def silence(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def close(self) -> None:
        await self.silence()
        await self._publisher.close()
        await self._bus.stop()


@pytest.fixture
async def amqp_url(services: Services) -> str:
    return await services.broker()


@pytest.fixture
async def news(amqp_url: str) -> AsyncIterator[News]:
    opened = News(amqp_url)
    await opened.open()
    yield opened
    await opened.close()


async def trusting(system: System, *gateways: RunningService) -> None:
    """Wait until these gateways hear the watermark and keep what they know of the key."""

    async def all_keep() -> bool:
        for gateway in gateways:
            assert (await system.program(gateway).get("/records")).status == 200
        asked = len(system.auth.asked)
        await asyncio.sleep(0.7)
        for gateway in gateways:
            assert (await system.program(gateway).get("/records")).status == 200
        return len(system.auth.asked) == asked

    await eventually(all_keep, what="trust in what is kept")


async def seconds_until_refused(system: System, *gateways: RunningService) -> float:
    """When the last request was sent that was not refused.

    Not when its answer came, nor when the first was refused: a busy machine may take its time.
    """
    began = time.monotonic()
    last = 0.0

    async def refused() -> bool:
        nonlocal last
        sent_s = time.monotonic() - began
        answers = [await system.program(gateway).get("/records") for gateway in gateways]
        if any(answer.status == 200 for answer in answers):
            last = sent_s
        return all(answer.outcome == BAD_KEY for answer in answers)

    await eventually(refused)
    return last


async def test_a_deactivated_key_is_refused_by_every_gateway_soon(
    system: System, news: News, amqp_url: str
):
    news.beat()
    first, second = [await system.another(amqp_url=amqp_url) for _ in range(2)]

    async def trusts() -> bool:
        await trusting(system, first, second)
        known = system.auth.known.pop(KEY_HASH)
        await asyncio.sleep(0.6)
        # Nobody has told it yet, and it is right to trust: the watermark says there is no news.
        if (await system.program(first).get("/records")).status == 200:
            return True
        # No watermark came for a while: it was right to ask.
        system.auth.known[KEY_HASH] = known
        return False

    await eventually(trusts, within_s=90)
    await news.tell("auth.key.deactivated", keyId="apikey-all", version=2, keyHash=KEY_HASH)
    assert await seconds_until_refused(system, first, second) < SOON_S


async def test_a_changed_role_reaches_services_soon(system: System, news: News, amqp_url: str):
    news.beat()
    gateways = [await system.another(amqp_url=amqp_url) for _ in range(2)]
    for gateway in gateways:
        told = (await system.person(gateway).get("/records")).ok()
        assert system.identity_in(told).role_version == 3
    await trusting(system, *gateways)
    system.auth.known["user-1"]["roleVersion"] = 4
    await news.tell("auth.role.updated", roleId="role-editor", version=4)

    async def changed() -> bool:
        told = [(await system.person(gateway).get("/records")).ok() for gateway in gateways]
        return all(system.identity_in(one).role_version == 4 for one in told)

    began = time.monotonic()
    await eventually(changed)
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("how", ["cut", "hold"])
async def test_a_deactivated_key_is_refused_within_a_second_while_the_broker_is_away(
    system: System, news: News, amqp_url: str, how: str
):
    """`cut`: the connection breaks. `hold`: it stays open and nothing comes any more."""
    news.beat()
    async with Wire(amqp_url) as wire:
        gateway = await system.another(amqp_url=wire.url)
        await trusting(system, gateway)
        getattr(wire, how)()
        system.auth.known.pop(KEY_HASH)
        assert await seconds_until_refused(system, gateway) < 1
        wire.mend()


async def test_a_stuck_relay_is_noticed(system: System, news: News, amqp_url: str):
    """The broker is up, but auth_service publishes nothing: no news is no good news."""
    news.beat()
    gateway = await system.another(amqp_url=amqp_url)
    await trusting(system, gateway)
    await news.silence()
    system.auth.known.pop(KEY_HASH)
    assert await seconds_until_refused(system, gateway) < 1


async def test_what_happened_while_nobody_listened_is_found_out(
    system: System, news: News, amqp_url: str
):
    news.beat()
    async with Wire(amqp_url) as wire:
        gateway = await system.another(amqp_url=wire.url)
        await trusting(system, gateway)
        wire.cut()
        system.auth.known.pop(KEY_HASH)
        # The news goes to a queue that is gone; the watermark goes on.
        await news.tell("auth.key.deactivated", keyId="apikey-all", version=2, keyHash=KEY_HASH)
        wire.mend()
        assert await seconds_until_refused(system, gateway) < 1
        await asyncio.sleep(1)
        assert (await system.program(gateway).get("/records")).outcome == BAD_KEY


async def test_an_answer_overtaken_by_the_news_is_not_kept(
    system: System, news: News, amqp_url: str
):
    news.beat()
    gateway = await system.another(amqp_url=amqp_url)
    await trusting(system, gateway)
    identities = system.gate(gateway).identities
    heard = identities._generation
    await news.tell("auth.key.created", keyId="apikey-all", version=1, keyHash=KEY_HASH)
    await eventually(lambda: identities._generation > heard)
    system.auth.held = asyncio.Event()
    asked = len(system.auth.asked)
    early = asyncio.create_task(system.program(gateway).get("/records"))
    await eventually(lambda: len(system.auth.asked) > asked)
    system.auth.known.pop(KEY_HASH)
    heard = identities._generation
    await news.tell("auth.key.deactivated", keyId="apikey-all", version=2, keyHash=KEY_HASH)
    await eventually(lambda: identities._generation > heard)
    system.auth.held.set()
    assert (await early).status == 200
    assert (await system.program(gateway).get("/records")).outcome == BAD_KEY


async def test_a_gateway_starts_and_serves_without_a_broker(system: System):
    gateway = await system.another(amqp_url="amqp://guest:guest@127.0.0.1:9/")
    assert (await system.program(gateway).get("/records")).status == 200
    ready = await gateway.stranger().at(gateway.internal_url).get("/readyz")
    assert ready.status == 200
