"""Services that are away, slow, dying, or answering something else than was asked."""

from __future__ import annotations

import asyncio
import io
import json
import time

import pytest
from aiohttp import web

from gateway.routes import Service
from shared.http import client
from shared.process import logs
from tests.kit.sigma import error
from tests.service.gateway.actors import AWAY, BROKE_OFF, OK, acting
from tests.service.gateway.system import System, parsed, raw, request_bytes

LATE = error(504, "UPSTREAM_TIMEOUT", "The request timed out")


async def test_a_service_that_is_away_is_told_soon(system: System):
    gateway = await system.another(records_url="http://127.0.0.1:9")
    began = time.monotonic()
    for method in ("GET", "POST"):
        answer = await system.program(gateway).ask(method, "/records", data=b"{}")
        assert answer.outcome == AWAY
        assert answer.headers["Retry-After"] == "1"
    # The time limit of a request is 30 s.
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("settings", "service"),
    [
        ({"records_url": "http://127.0.0.1:9"}, "records_service"),
        ({"auth_url": "http://127.0.0.1:9"}, "auth_service"),
    ],
)
async def test_a_service_that_is_away_is_named_in_the_line_of_the_request_and_counted(
    system: System, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], service: str
):
    """Also where only warnings are logged."""
    gateway = await system.another(**settings)
    out = io.BytesIO()
    access = logs.AccessLog("gateway", out, failures_only=True)
    monkeypatch.setattr(logs, "access", access)
    failures = client.FAILED.labels(service, "SERVICE_UNAVAILABLE")._value
    before = failures.get()
    assert (await system.program(gateway).get("/records")).outcome == AWAY
    assert (await system.caller(gateway).get("/nowhere")).status == 401
    access.flush()
    (line,) = [json.loads(each) for each in out.getvalue().splitlines()]
    assert (line["level"], line["status"], line["upstream"]) == ("warning", 503, service)
    assert "Connect" in line["error"]
    assert failures.get() == before + 1


async def test_the_line_of_a_request_names_the_service_that_answered(
    system: System, monkeypatch: pytest.MonkeyPatch
):
    out = io.BytesIO()
    access = logs.AccessLog("gateway", out)
    monkeypatch.setattr(logs, "access", access)
    assert (await system.program().get("/records")).status == 200
    access.flush()
    (line,) = [json.loads(each) for each in out.getvalue().splitlines()]
    assert (line["level"], line["status"], line["upstream"]) == ("info", 200, "records_service")
    assert "error" not in line


async def test_a_service_that_does_not_answer_is_told_within_the_deadline(system: System):
    gateway = await system.another(request_timeout_s=0.3)

    async def answer(request: web.Request) -> web.StreamResponse:
        await system.over.wait()
        return web.Response()

    system.echo.answer = answer
    began = time.monotonic()
    assert (await system.program(gateway).get("/records")).outcome == LATE
    assert 0.25 < time.monotonic() - began < 15
    # Nobody else may read the answer that still comes: its connection is gone.
    assert not system.gate(gateway).pools[Service.RECORDS]._open


async def test_an_address_that_swallows_everything_is_told_within_the_deadline(system: System):
    gateway = await system.another(records_url="http://192.0.2.1:9", request_timeout_s=0.3)
    began = time.monotonic()
    answer = await system.program(gateway).get("/records")
    assert answer.status in (503, 504)
    assert time.monotonic() - began < 15


HEAD_OF_TEN = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    "beginning",
    [
        HEAD_OF_TEN % 10_000_000 + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"30d40\r\n" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n",
    ],
)
async def test_an_answer_cut_off_in_the_middle_is_cut_off_for_the_client(
    system: System, beginning: bytes
):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(beginning)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(b"neither a chunk nor the rest")

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        try:
            answer = await raw(gateway.url, request_bytes())
        except ConnectionError:
            return
    status, headers, body = parsed(answer)
    assert status == 200
    assert b'"error"' not in body
    if "content-length" in headers:
        assert len(body) < int(headers["content-length"])
    else:
        assert not body.endswith(b"0\r\n\r\n")


async def test_a_small_answer_cut_off_in_the_middle_is_an_error(system: System):
    """Nothing of it is out yet, so the client can be told."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(HEAD_OF_TEN % 10 + b"12345")
        await writer.drain()

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        assert (await system.program(gateway).get("/records")).outcome == BROKE_OFF


async def test_a_small_answer_that_stops_half_way_ends_within_the_deadline(system: System):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(HEAD_OF_TEN % 10 + b"12345")
        await writer.drain()
        await reader.read(1)

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url, request_timeout_s=0.4)
        assert (await system.program(gateway).get("/records")).outcome == LATE
        assert not system.gate(gateway).pools[Service.RECORDS]._open


async def test_a_service_that_does_not_believe_the_gateway_is_no_fault_of_the_client(
    system: System,
):
    async def answer(request: web.Request) -> web.StreamResponse:
        told = {"error": "UNAUTHORIZED", "message": "Missing authentication"}
        return web.json_response(told, status=401)

    system.echo.answer = answer
    assert (await system.program().get("/records")).outcome == AWAY
    # Where no identity is sent along, the refusal is the client's.
    assert (await system.caller().post("/auth/refresh")).status == 401


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_none_is_not_passed_on(system: System, answer: bytes):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(answer)
        await writer.drain()

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        assert (await system.program(gateway).get("/records")).outcome == BROKE_OFF
        assert not system.gate(gateway).pools[Service.RECORDS]._open


async def test_an_interim_answer_is_passed_over(system: System):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
        await writer.drain()
        await reader.read(1)

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        assert (await system.program(gateway).get("/records")).outcome == (200, {})


async def test_an_answer_without_a_length_ends_with_its_connection(system: System):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello ")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"system")
        await writer.drain()
        writer.write_eof()
        await reader.read(1)

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        assert (await system.program(gateway).get("/records")).outcome == (200, "hello system")
