"""The balancer of `make rolling` is late, and sends to nobody whom it does not believe ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from tests.kit.eventually import always, eventually
from tests.rolling import balancer as rolling_balancer
from tests.rolling.balancer import MARGIN_S, Balancer, Timing

TIMING = Timing(period_s=0.05, late_s=0.05 + MARGIN_S + 0.05)


class Replica:
    """An HTTP server that says who it is; `ready` is what its probe answers."""

    def __init__(self, name: str, *, ready: bool = True) -> None:
        self.name = name
        self.ready = ready
        self.port = 0

    @property
    def internal_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/readyz", self._readyz)
        app.router.add_post("/who", self._who)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def _readyz(self, _request: web.Request) -> web.Response:
        return web.Response(status=200 if self.ready else 503)

    async def _who(self, request: web.Request) -> web.Response:
        return web.Response(text=f"{self.name} {len(await request.read())}")


class Balanced:
    def __init__(self, opened: AsyncExitStack) -> None:
        self._opened = opened
        self.balancer = Balancer(TIMING, seed=1)

    async def replica(self, name: str, *, ready: bool = True) -> Replica:
        replica = Replica(name, ready=ready)
        runner = await replica.start()
        self._opened.push_async_callback(runner.cleanup)
        self.balancer.add(cast(Any, replica))
        return replica

    def believes(self, replica: Replica) -> bool:
        return self.balancer.believes(cast(Any, replica))

    def client(self, *, keep: bool) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=not keep))
        self._opened.push_async_callback(session.close)
        return session

    async def who(self, session: aiohttp.ClientSession, body: bytes = b"") -> str:
        async with session.post(f"{self.balancer.url}/who", data=body) as answer:
            return await answer.text()


@pytest.fixture
async def balanced(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Balanced]:
    # A replica is not ready when it says so, and not when this machine is busy.
    monkeypatch.setattr(rolling_balancer, "PROBE_WITHIN_S", 60.0)
    async with AsyncExitStack() as opened:
        made = Balanced(opened)
        await made.balancer.start()
        opened.push_async_callback(made.balancer.close)
        yield made


async def test_new_connections_go_to_replicas_believed_ready(balanced: Balanced):
    first = await balanced.replica("first")
    second = await balanced.replica("second", ready=False)
    await eventually(lambda: balanced.believes(first))
    session = balanced.client(keep=False)
    assert {await balanced.who(session) for _ in range(10)} == {"first 0"}
    second.ready = True
    await eventually(lambda: balanced.believes(second))
    assert {await balanced.who(session) for _ in range(30)} == {"first 0", "second 0"}
    first.ready = False
    await eventually(lambda: not balanced.believes(first))
    assert {await balanced.who(session) for _ in range(10)} == {"second 0"}


async def test_an_established_connection_stays_where_it_is(balanced: Balanced):
    first = await balanced.replica("first")
    await eventually(lambda: balanced.believes(first))
    kept = balanced.client(keep=True)
    assert await balanced.who(kept) == "first 0"
    second = await balanced.replica("second")
    first.ready = False
    await eventually(lambda: balanced.believes(second) and not balanced.believes(first))
    assert {await balanced.who(kept) for _ in range(5)} == {"first 0"}


async def test_a_large_body_arrives_whole(balanced: Balanced):
    first = await balanced.replica("first")
    await eventually(lambda: balanced.believes(first))
    assert await balanced.who(balanced.client(keep=False), b"x" * 900_000) == "first 900000"


async def test_a_connection_that_both_sides_have_ended_is_closed(balanced: Balanced):
    first = await balanced.replica("first")
    await eventually(lambda: balanced.believes(first))
    session = balanced.client(keep=False)
    for _ in range(5):
        await balanced.who(session)
    await eventually(lambda: not balanced.balancer._halves)


async def test_without_a_replica_a_connection_is_reset_and_counted(balanced: Balanced):
    url = urlsplit(balanced.balancer.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    assert balanced.balancer.unanswered == 1


async def test_a_replica_that_has_left_is_forgotten_when_it_is_not_believed_any_more(
    balanced: Balanced,
):
    first = await balanced.replica("first")
    await eventually(lambda: balanced.believes(first))
    balanced.balancer.forget(cast(Any, first))
    await always(lambda: balanced.believes(first), during_s=0.2)
    first.ready = False
    await eventually(lambda: not balanced.balancer._probes)


def test_the_news_is_never_later_than_was_said():
    timing = Timing(period_s=2.0, late_s=5.0)
    assert timing.period_s + timing.travel_s_max < timing.late_s
    assert Timing(period_s=2.0, late_s=1.0).travel_s_max == 0.0
