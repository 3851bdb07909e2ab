"""The client for uploads, and a receiver of files. The other servers are in the folder above."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from workflow_service.destinations import File
from workflow_service.outbound.addresses import Allowed
from workflow_service.outbound.client import Outbound

FILE = File("all-20260204T173000Z.csv", "run-1", 1, "text/csv; charset=utf-8")


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    """The client of an operator who allows the servers of these tests."""
    opened = Outbound(Allowed.parse("127.0.0.1"))
    yield opened
    await opened.close()


@dataclass
class Receiver:
    """A server that takes files by POST."""

    url: str = ""
    status: int = 200
    answers_first: bool = False
    """Whether it answers before it has read the body."""
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """Headers and bodies of the requests that came whole."""
    cut: int = 0
    """How many ended before their end."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        self.reached.set()
        if self.answers_first or request.method == "HEAD":
            return web.Response(status=self.status)
        try:
            body = await request.read()
        except (ConnectionError, asyncio.CancelledError):
            self.cut += 1
            raise
        self.heard.append((dict(request.headers), body))
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/hook", receiver.take)
    async with TestServer(app, host="127.0.0.1") as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver
