"""Limits that an operation declares on its route: kept by its service, and by the gateway.

The service played here is made like the real ones, and the gateway reads the description of its
routes: what is declared once holds in both.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from deploy.openapi.description import describe
from gateway import routes as gateway_routes
from shared.http import Routes, json_response, new_service, read_body
from shared.http.limits import USUAL_BODY
from shared.http.shapes import Shape
from shared.identity import Permission
from shared.process.config import ServiceConfig
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import error
from tests.service.gateway.system import API_KEY, System

SMALL = 1_000
LARGE = USUAL_BODY + 100_000
SHORT_S = 0.3
LONG_S = 60.0
KEY = {"X-Sigma-ApiKey": API_KEY}


class Note(Shape):
    """What is sent."""

    text: str = ""
    """Anything."""


class Size(Shape):
    """What came."""

    size: int
    """Bytes."""


class Table:
    """Operations with limits of their own, beside one that has none."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = asyncio.Event()
        self.routes = Routes(tag="Records", about="Notes.")
        self._post("usual")
        self._post("small", body_bytes_max=SMALL)
        self._post("large", body_bytes_max=LARGE)
        self._get("ordinary", self._wait)
        self._get("impatient", self._wait, deadline_s=SHORT_S)
        self._get("patient", self._wait, deadline_s=LONG_S)
        self._get("whole", self._send_in_parts)
        self._get("streamed", self._send_in_parts, streams=True)

    def _post(self, name: str, **limits: Any) -> None:
        async def count(request: web.Request) -> web.StreamResponse:
            """Reads a body as every handler does."""
            self.asked.append(name)
            await read_body(request, Note)
            return json_response({"size": request.content.total_bytes})

        self.routes.post(
            f"/api/v1/records/{name}",
            permission=Permission.READ,
            body=Note,
            answers=Size,
            summary=f"Send what is {name}",
            **limits,
        )(_named(count, f"post_{name}"))

    def _get(self, name: str, answer: Callable[..., Any], **limits: Any) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            """Answers when it may."""
            self.asked.append(name)
            response: web.StreamResponse = await answer(request)
            return response

        self.routes.get(
            f"/api/v1/records/{name}",
            permission=Permission.READ,
            answers=Size,
            summary=f"Get what is {name}",
            **limits,
        )(_named(handle, f"get_{name}"))

    async def _wait(self, _request: web.Request) -> web.StreamResponse:
        await self.go_on.wait()
        return json_response({"size": 1})

    async def _send_in_parts(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first,")
        await self.go_on.wait()
        await response.write(b"last")
        return response


def _named(handler: Any, name: str) -> Any:
    handler.__name__ = name
    return handler


@dataclass(frozen=True, slots=True)
class Limited:
    """A gateway in front of a service with the operations of `Table`."""

    system: System
    service: RunningService
    table: Table

    async def gateway(self, **settings: Any) -> RunningService:
        return await self.system.another(records_url=self.service.url, **settings)


@pytest.fixture
async def limited(
    system: System, services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Limited]:
    table = Table()
    file = tmp_path / "openapi.json"
    file.write_bytes(orjson.dumps(describe("Notes", "1", [table.routes])))
    monkeypatch.setattr(gateway_routes, "OPENAPI_FILE", file)
    service = await services.start(
        lambda config, _role: new_service(config, [table.routes]), ServiceConfig
    )
    yield Limited(system, service, table)
    table.go_on.set()


async def sent(
    url: str, name: str, size: int, credential: dict[str, str], *, chunked: bool = False
) -> tuple[int, Any]:
    """What a body of this many bytes is answered; the server is asked first if it may be sent."""

    body = b"{}".ljust(size)

    async def parts() -> AsyncIterator[bytes]:
        for begin in range(0, size, 1 << 16):
            yield body[begin : begin + (1 << 16)]

    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{url}/api/v1/records/{name}",
            data=parts() if chunked else io.BytesIO(body),
            headers=credential | {"Content-Type": "application/json"},
            expect100=not chunked,
        ) as response,
    ):
        return response.status, await response.json()


def too_large(limit: int) -> tuple[int, Any]:
    return error(413, "PAYLOAD_TOO_LARGE", f"Request body exceeds {limit} bytes")


def test_only_what_differs_is_described():
    operations = {
        path.rpartition("/")[2]: {
            key: value
            for key, value in operation.items()
            if key in ("x-body-bytes-max", "x-deadline-seconds")
        }
        for path, methods in describe("Notes", "1", [Table().routes])["paths"].items()
        for operation in methods.values()
    }
    assert {name: limits for name, limits in operations.items() if limits} == {
        "small": {"x-body-bytes-max": SMALL},
        "large": {"x-body-bytes-max": LARGE},
        "impatient": {"x-deadline-seconds": SHORT_S},
        "patient": {"x-deadline-seconds": LONG_S},
    }
    assert "streamed" in operations


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_operation_may_take_less_or_more_than_is_configured(
    limited: Limited, chunked: bool
):
    gateway = await limited.gateway()
    for name, limit in (("small", SMALL), ("usual", USUAL_BODY), ("large", LARGE)):
        assert await sent(gateway.url, name, limit, KEY, chunked=chunked) == (200, {"size": limit})
        limited.table.asked.clear()
        assert await sent(gateway.url, name, limit + 1, KEY, chunked=chunked) == too_large(limit)
        if not chunked or name == "small":
            # Not even the head reaches the service.
            assert limited.table.asked == []


@pytest.mark.parametrize("name", ["small", "usual", "large"])
async def test_the_service_keeps_the_same_limit_by_itself(limited: Limited, name: str):
    limit = {"small": SMALL, "usual": USUAL_BODY, "large": LARGE}[name]
    admin = limited.service.keyring.headers(identities.admin())
    url = limited.service.url
    for chunked in (False, True):
        assert await sent(url, name, limit, admin, chunked=chunked) == (200, {"size": limit})
        assert await sent(url, name, limit + 1, admin, chunked=chunked) == too_large(limit)


async def test_what_is_usual_is_configured(limited: Limited):
    gateway = await limited.gateway(body_bytes_max=SMALL * 2)
    for name, limit in (("small", SMALL), ("usual", SMALL * 2)):
        assert await sent(gateway.url, name, limit + 1, KEY) == too_large(limit)
    assert await sent(gateway.url, "large", LARGE, KEY) == (200, {"size": LARGE})


async def test_an_operation_may_have_more_time_than_is_configured(limited: Limited):
    gateway = await limited.gateway(request_timeout_s=SHORT_S)
    program = limited.system.program(gateway)
    patient = asyncio.create_task(program.get("/records/patient"))
    await eventually(lambda: limited.table.asked == ["patient"])
    assert (await program.get("/records/ordinary")).status == 504
    assert not patient.done()
    limited.table.go_on.set()
    assert (await patient).ok() == {"size": 1}


async def test_an_operation_may_have_less_time_than_is_configured(limited: Limited):
    program = limited.system.program(await limited.gateway(request_timeout_s=LONG_S))
    ordinary = asyncio.create_task(program.get("/records/ordinary"))
    await eventually(lambda: limited.table.asked == ["ordinary"])
    assert (await program.get("/records/impatient")).status == 504
    assert not ordinary.done()
    limited.table.go_on.set()
    assert (await ordinary).ok() == {"size": 1}


async def test_an_answer_that_is_streamed_goes_on_after_the_deadline(limited: Limited):
    gateway = await limited.gateway(request_timeout_s=SHORT_S)
    url = f"{gateway.url}/api/v1/records"
    async with aiohttp.ClientSession(headers=KEY) as session:
        streamed = await session.get(f"{url}/streamed")
        assert await streamed.content.readexactly(6) == b"first,"
        # Begun later, so what ends it would have ended the one above.
        whole = await session.get(f"{url}/whole")
        with pytest.raises(aiohttp.ClientPayloadError):
            await whole.read()
        limited.table.go_on.set()
        assert await streamed.read() == b"last"
