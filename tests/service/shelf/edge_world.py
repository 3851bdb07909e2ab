"""A service of nothing but the edge, for the tests of the edge itself.

Not a test file: `test_http_edge*.py` take its fixtures by importing them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import BaseModel, Field

from shared.errors import Conflict, NotFound
from shared.http import (
    Limits,
    Page,
    Routes,
    identity_of,
    json_response,
    new_service,
    no_content,
    read_body,
    read_query,
    request_id_of,
)
from shared.identity import Flag, Permission
from shared.launch import Role, Serving, run, serving
from shared.process.config import ServiceConfig
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.identities import Keyring
from tests.kit.processes import Process
from tests.kit.raw_http import ANSWER_WITHIN_S, RawAnswer, speak
from tests.kit.sigma import Caller

BODY_BYTES_MAX = 100_000
NOTE_BYTES_MAX = 1_000


class ThingDraft(BaseModel):
    name: Annotated[str, Field(max_length=20)]
    size: Annotated[int, Field(ge=0, le=10)] = 0


def routes() -> Routes:  # noqa: C901 - a list of small handlers
    """One route of each kind, and handlers that misbehave."""
    table = Routes(tag="Things")

    @table.get("/api/v1/things/{id}", permission=Permission.READ, answers=dict[str, Any])
    async def get_thing(request: web.Request) -> web.StreamResponse:
        """Tell who asked."""
        if request.match_info["id"] == "missing":
            raise NotFound.of("Thing", "missing")
        return json_response(
            {
                "id": request.match_info["id"],
                "caller": identity_of(request).id,
                "requestId": request_id_of(request),
            }
        )

    @table.get("/api/v1/things", permission=Permission.READ, query=Page)
    async def list_things(request: web.Request) -> web.StreamResponse:
        return json_response(read_query(request, Page))

    @table.post("/api/v1/things", permission=Permission.UPDATE_DATA, body=ThingDraft, status=201)
    async def create_thing(request: web.Request) -> web.StreamResponse:
        return json_response(await read_body(request, ThingDraft), status=201)

    @table.post("/open/notes", open=True, body=ThingDraft, body_bytes_max=NOTE_BYTES_MAX)
    async def take_note(request: web.Request) -> web.StreamResponse:
        return json_response(await read_body(request, ThingDraft))

    @table.delete("/api/v1/things/{id}", permission=Permission.DELETE_DATA)
    async def delete_thing(request: web.Request) -> web.StreamResponse:
        return no_content()

    @table.get("/api/v1/people-only", user_only=True)
    async def people_only(request: web.Request) -> web.StreamResponse:
        return no_content()

    @table.get("/api/v1/settings", permission=Permission.READ, flag=Flag.MANAGE_SCHEMAS)
    async def settings(request: web.Request) -> web.StreamResponse:
        return no_content()

    @table.internal_get("/internal/things")
    async def internal_things(request: web.Request) -> web.StreamResponse:
        return json_response({"caller": identity_of(request).id})

    @table.get("/open", open=True)
    async def open_to_all(request: web.Request) -> web.StreamResponse:
        return json_response({"open": True})

    @table.get("/open/taken", open=True)
    async def taken(request: web.Request) -> web.StreamResponse:
        raise Conflict.taken("Thing", "a")

    @table.get("/open/broken", open=True)
    async def broken(request: web.Request) -> web.StreamResponse:
        raise RuntimeError("SELECT secret FROM host.internal")

    @table.get("/open/late", open=True)
    async def late(request: web.Request) -> web.StreamResponse:
        request.app[EVENTS].append("began")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            request.app[EVENTS].append("cancelled")
            raise
        return no_content()

    @table.get("/open/short", open=True)
    async def short(request: web.Request) -> web.StreamResponse:
        request.app[EVENTS].append("began")
        await request.app[GO_ON].wait()
        request.app[EVENTS].append("finished")
        return json_response({"finished": True})

    @table.get("/open/half", open=True)
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half of it")
        raise Conflict.taken("Thing", "a")

    @table.get("/open/flood", open=True)
    async def flood(request: web.Request) -> web.StreamResponse:
        request.app[EVENTS].append("began")
        try:
            return web.Response(body=b"x" * (64 << 20))
        finally:
            request.app[EVENTS].append("finished")

    @table.post("/open/stream", open=True)
    async def stream(request: web.Request) -> web.StreamResponse:
        """What a gateway does: hand on what comes, piece by piece."""
        size = 0
        async for part in request.content.iter_any():
            size += len(part)
            request.app[EVENTS].append("part")
        return json_response({"size": size})

    return table


EVENTS = web.AppKey("events", list[str])
GO_ON = web.AppKey("go_on", asyncio.Event)


class Edge:
    """A running edge, its callers, and raw sockets to it."""

    def __init__(self, served: Serving, keyring: Keyring, session: aiohttp.ClientSession) -> None:
        assert served.port is not None
        self.served = served
        self.app = served.app
        self.port = served.port
        self.url = served.url
        self.keyring = keyring
        self.session = session

    @property
    def events(self) -> list[str]:
        return self.app[EVENTS]

    def as_(self, identity: Any) -> Caller:
        return Caller(self.session, self.url, self.keyring.headers(identity))

    @property
    def admin(self) -> Caller:
        return self.as_(identities.admin())

    @property
    def stranger(self) -> Caller:
        return Caller(self.session, self.url)

    async def speak(
        self, sent: bytes, within_s: float = ANSWER_WITHIN_S, *, pause_s: float = 0.0
    ) -> RawAnswer:
        return await asyncio.to_thread(
            speak, "127.0.0.1", self.port, sent, within_s, pause_s=pause_s
        )

    async def begun(self) -> None:
        """Until a handler has noted that it began."""
        await eventually(lambda: "began" in self.events)


class EdgeConfig(ServiceConfig):
    """Settings of the edge as a process: `python -m tests.service.shelf.edge_world`."""

    head_read_s_max: float = 10.0


def create_app(config: EdgeConfig, role: Role = "all") -> web.Application:
    """The application that `edge` runs in the test's process."""
    limits = Limits(
        body_bytes_max=config.body_bytes_max,
        connections_max=config.connections_max,
        head_read_s_max=config.head_read_s_max,
        look_every_s=0.02,
    )
    return with_events(new_service(config, [routes()], limits=limits))


def with_events(app: web.Application) -> web.Application:
    app[EVENTS] = []
    app[GO_ON] = asyncio.Event()
    return app


StartEdge = Callable[..., Awaitable[Edge]]


@pytest.fixture
async def start_edge(keyring: Keyring) -> AsyncIterator[StartEdge]:
    """`await start_edge(**limits)`: an edge with these limits, until the test ends.

    `wait_seconds` is a setting and no limit.
    """
    async with AsyncExitStack() as exits:

        async def start(*more: Routes, wait_seconds: float = 2.0, **limits: Any) -> Edge:
            config = ServiceConfig(
                port=0,
                internal_port=0,
                amqp_url="amqp://nobody",
                identity_keys=keyring.public,
                drain_seconds=0,
                wait_seconds=wait_seconds,
            )
            bounded = Limits(**{"body_bytes_max": BODY_BYTES_MAX, "look_every_s": 0.02} | limits)
            app = with_events(new_service(config, [routes(), *more], limits=bounded))
            served = await exits.enter_async_context(serving(app))
            session = await exits.enter_async_context(aiohttp.ClientSession())
            return Edge(served, keyring, session)

        yield start


@pytest.fixture
async def edge(start_edge: StartEdge) -> Edge:
    """An edge with the usual limits."""
    return await start_edge()


@pytest.fixture(scope="module")
def edge_process(keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The edge as services run it: a process of its own, on uvloop."""
    process = new_process(keyring, tmp_path_factory.mktemp("edge"))
    process.start()
    process.wait_ready()
    yield process
    process.stop()


def new_process(keyring: Keyring, folder: Path, role: str = "all", **env: str) -> Process:
    process = Process("edge", folder, module="tests.service.shelf.edge_world", role=role)
    process.configure(
        {
            "SIGMA_HOST": "127.0.0.1",
            "SIGMA_AMQP_URL": "amqp://nobody",
            "SIGMA_IDENTITY_KEYS": keyring.public,
            "SIGMA_DRAIN_SECONDS": "0",
            "SIGMA_BODY_BYTES_MAX": str(BODY_BYTES_MAX),
            **env,
        }
    )
    return process


if __name__ == "__main__":
    run(create_app, EdgeConfig)
