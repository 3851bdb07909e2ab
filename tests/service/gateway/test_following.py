"""Long polls and streams without an end, on their way through a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from shared.http import DRAINING
from tests.kit.eventually import eventually
from tests.kit.service import RunningService
from tests.kit.sigma import error
from tests.service.gateway.system import API_KEY, System, hash_of, key_identity

CHANGES = "/changes?wait=30"


class Source:
    """A service that sends what a test says, to everybody who follows."""

    def __init__(self, system: System) -> None:
        self.following = 0
        self.news = asyncio.Condition()
        self.sent: list[bytes] = []
        self.is_over = False
        self.asked_as: list[str | None] = []
        self._system = system
        system.echo.answer = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if not request.path.startswith("/api/v1/changes"):
            return web.json_response({})
        told = {"headers": list(request.headers.items())}
        self.asked_as.append(self._system.identity_in(told).role_id)
        self.following += 1
        try:
            if "text/event-stream" in request.headers.get("Accept", ""):
                return await self._stream(request)
            async with self.news:
                await self.news.wait_for(lambda: self.sent)
            return web.json_response({"items": [], "next": "x", "more": False})
        finally:
            self.following -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        left = 0
        while not self.is_over:
            async with self.news:
                while len(self.sent) == left and not self.is_over:
                    await self.news.wait()
            for part in self.sent[left:]:
                await response.write(part)
            left = len(self.sent)
        return response

    async def send(self, part: bytes) -> None:
        async with self.news:
            self.sent.append(part)
            self.news.notify_all()

    async def end(self) -> None:
        async with self.news:
            self.is_over = True
            self.news.notify_all()


@pytest.fixture
async def source(system: System) -> AsyncIterator[Source]:
    made = Source(system)
    yield made
    await made.send(b"")
    await made.end()


@asynccontextmanager
async def stream(
    gateway: RunningService, key: str = API_KEY
) -> AsyncIterator[aiohttp.ClientResponse]:
    headers = {"Accept": "text/event-stream", "X-Sigma-ApiKey": key}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{gateway.url}/api/v1/changes", headers=headers) as response,
    ):
        yield response


@asynccontextmanager
async def stream_in_time(gateway: RunningService) -> AsyncIterator[aiohttp.ClientResponse]:
    """A stream that began within the time of a request: on a busy machine the first may not."""
    while True:
        async with stream(gateway) as response:
            if response.status == 504:
                continue
            assert response.status == 200
            yield response
            return


async def test_a_stream_is_handed_on_part_by_part_for_longer_than_an_answer_may_take(
    system: System, source: Source
):
    gateway = await system.another(request_timeout_s=0.3)
    async with stream_in_time(gateway) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        for part in (b"data: 1\n\n", b"data: 2\n\n"):
            await asyncio.sleep(0.4)
            await source.send(part)
            async with asyncio.timeout(30):
                assert await response.content.readexactly(len(part)) == part
        await source.end()
        async with asyncio.timeout(30):
            assert await response.content.read() == b""


async def test_a_stream_ends_cleanly_when_its_key_is_revoked(system: System, source: Source):
    async with stream(system.gateway) as response:
        await source.send(b"data: 1\n\n")
        assert await response.content.readexactly(9) == b"data: 1\n\n"
        del system.auth.known[hash_of(API_KEY)]
        async with asyncio.timeout(30):
            # A connection that broke would raise.
            assert await response.content.read() == b""
    await eventually(lambda: not system.gate().follower_pools["records_service"]._open)


async def test_a_stream_ends_when_its_caller_sees_something_else(system: System, source: Source):
    async with stream(system.gateway) as response:
        system.auth.known[hash_of(API_KEY)] = key_identity("apikey-all", ["read"])
        async with asyncio.timeout(30):
            assert await response.content.read() == b""


async def test_a_long_poll_is_answered_for_who_the_caller_is_by_then(
    system: System, source: Source
):
    poll = asyncio.create_task(system.person().get(CHANGES))
    await eventually(lambda: source.following == 1)
    known = system.auth.known["user-1"]
    system.auth.known["user-1"] = {**known, "roleId": "role-other", "roleVersion": 4}
    system.gate().identities.forget_all()
    await source.send(b"x")
    assert (await poll).status == 200
    assert source.asked_as == ["role-editor", "role-other"]


async def test_a_long_poll_of_a_revoked_key_tells_nothing(system: System, source: Source):
    poll = asyncio.create_task(system.program().get(CHANGES))
    await eventually(lambda: source.following == 1)
    del system.auth.known[hash_of(API_KEY)]
    system.gate().identities.forget_all()
    await source.send(b"x")
    assert (await poll).outcome == error(401, "UNAUTHORIZED", "Invalid API key")


async def test_who_waits_takes_no_connection_from_others(system: System, source: Source):
    gateway = await system.another(upstream_connections_max=1, followers_max=4, wait_seconds=0.2)
    program = system.program(gateway)
    polls = [asyncio.create_task(program.get(CHANGES)) for _ in range(2)]
    await eventually(lambda: source.following == 2)

    assert (await program.get("/records")).status == 200
    # One caller has half of the places at most, one of which the next one waits for in vain.
    assert {(await program.get(CHANGES)).status for _ in range(2)} == {503}
    async with asyncio.timeout(30):
        other = asyncio.create_task(system.person(gateway).get(CHANGES))
        await eventually(lambda: source.following == 3)
    await source.send(b"x")
    assert [(await poll).status for poll in [*polls, other]] == [200] * 3


async def test_a_gateway_that_stops_sends_its_followers_away(system: System, source: Source):
    gateway = await system.another()
    poll = asyncio.create_task(system.program(gateway).get(CHANGES))
    async with stream(gateway) as response:
        await eventually(lambda: source.following == 2)
        gateway.app[DRAINING].set()
        async with asyncio.timeout(30):
            assert (await poll).outcome[0] == 503
            assert await response.content.read() == b""
