"""A service of nothing but the edge, for the tests of the edge itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import aiohttp
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
from shared.http.limits import READER_IDLE_S
from shared.identity import Flag, Permission
from shared.launch import Role, Serving, run
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


def routes() -> Routes:  # noqa: C901, PLR0915 - a list of small handlers
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

    @table.get("/open/patient-flood", open=True)
    async def patient_flood(request: web.Request) -> web.StreamResponse:
        """Piece by piece, for a reader who may pause."""
        request[READER_IDLE_S] = 60.0
        request.app[EVENTS].append("began")
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(64):
            await response.write(b"x" * (1 << 20))
        return response

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
    """Settings of the edge as a process: `python -m tests.service.shelf.edge`."""

    head_read_s_max: float = 10.0


def create_app(config: EdgeConfig, role: Role = "all") -> web.Application:
    """The application that `edge` runs in the test's process."""
    limits = Limits(
        body_bytes_max=config.body_bytes_max,
        connections_max=config.connections_max,
        head_read_s_max=config.head_read_s_max,
        check_every_s=0.02,
    )
    return with_events(new_service(config, [routes()], limits=limits))


def with_events(app: web.Application) -> web.Application:
    app[EVENTS] = []
    app[GO_ON] = asyncio.Event()
    return app


StartEdge = Callable[..., Awaitable[Edge]]


def new_process(keyring: Keyring, folder: Path, role: str = "all", **env: str) -> Process:
    process = Process("edge", folder, module="tests.service.shelf.edge", role=role)
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
