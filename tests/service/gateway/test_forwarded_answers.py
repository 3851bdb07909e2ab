"""What a client gets to see of an answer, and of a connection."""

from __future__ import annotations

import asyncio
import gzip
import re

import pytest
from aiohttp import web

from gateway.routes import Service
from shared.http import SMALL_BODY
from tests.kit.sigma import error
from tests.service.gateway.system import (
    API_KEY,
    System,
    names_of,
    parsed,
    raw,
    request_bytes,
)


async def test_the_answer_comes_back_as_it_was_given(system: System):
    async def answer(request: web.Request) -> web.StreamResponse:
        headers = [
            ("ETag", '"3"'),
            ("Link", '</docs/errors#CONFLICT>; rel="help"'),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Connection", "X-Hop"),
            ("X-Hop", "1"),
            ("X-Sigma-Internal", "host-17"),
            ("Server", "secret/1.0"),
            ("X-Request-Id", "of the service"),
        ]
        response = web.Response(status=409, body=b'{"error":"CONFLICT","message":"taken"}')
        response.headers["Content-Type"] = "application/json"
        for name, value in headers:
            response.headers.add(name, value)
        return response

    system.echo.answer = answer
    answered = await system.program().post("/records", {})
    assert answered.outcome == error(409, "CONFLICT", "taken")
    headers = answered.headers
    assert headers.getall("Set-Cookie") == ["a=1", "b=2"]
    assert headers["ETag"] == '"3"'
    assert not {"X-Hop", "X-Sigma-Internal"} & set(headers)
    assert headers["Server"] != "secret/1.0"
    assert headers.getall("X-Request-Id") != ["of the service"]
    assert len(headers.getall("Date")) == len(headers.getall("Content-Type")) == 1


async def test_a_compressed_answer_is_handed_on_as_it_is(system: System):
    packed = gzip.compress(b'{"a":1}' * 100)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    system.echo.answer = answer
    status, headers, body = parsed(await raw(system.gateway.url, request_bytes()))
    assert (status, headers["content-encoding"], body) == (200, "gzip", packed)


async def test_answers_without_a_body(system: System):
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            return web.Response(status=204)
        if "If-None-Match" in request.headers:
            return web.Response(status=304, headers={"ETag": '"3"'})
        return web.Response(body=b"x" * 1_234, content_type="application/json")

    system.echo.answer = answer
    # All over one connection of the pool: what one leaves behind, the next would read.
    for _ in range(3):
        deleted = await system.program().delete("/records/ent-1")
        assert (deleted.status, deleted.body) == (204, None)
        assert "Content-Length" not in deleted.headers
        same = await system.program().get("/records/ent-1", headers={"If-None-Match": '"3"'})
        assert (same.status, same.body, same.headers["ETag"]) == (304, None, '"3"')
        head = await system.program().ask("HEAD", "/records/ent-1")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, None, "1234")
    assert len(system.gate().pools[Service.RECORDS]._open) == 1


async def test_a_large_answer_is_streamed_at_the_pace_of_the_client(system: System):
    """While the client reads nothing, the gateway reads no more than its buffers hold."""
    size, sent = 64 << 20, 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        response.content_length = size
        await response.prepare(request)
        for _ in range(size >> 16):
            await response.write(b"y" * (1 << 16))
            sent += 1 << 16
        return response

    system.echo.answer = answer
    host, port = system.gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 12)
    writer.write(request_bytes())
    await reader.readuntil(b"\r\n\r\n")
    last = -1
    while sent != last:
        last = sent
        await asyncio.sleep(0.3)
    assert sent < 24 << 20, "nothing held the service back"
    received = 0
    while chunk := await reader.read(1 << 20):
        received += len(chunk)
    assert received == size
    writer.close()


async def test_a_large_upload_is_streamed_at_the_pace_of_the_service(system: System):
    size, go = 64 << 20, asyncio.Event()
    gateway = await system.another(body_bytes_max=size)

    async def answer(request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.json_response({"size": len(await request.read())})

    system.echo.answer = answer
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = request_bytes(method="POST", headers=[("Content-Length", str(size))])
    writer.write(head)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for _ in range(size >> 16):
            writer.write(b"z" * (1 << 16))
            await writer.drain()
            sent += 1 << 16

    sending = asyncio.create_task(send())
    last = -1
    while sent != last:
        last = sent
        await asyncio.sleep(0.3)
    held = sent
    go.set()
    await sending
    answered = await reader.read(-1)
    assert answered.endswith(b'{"size": %d}' % size)
    assert held < size, "nothing held the client back"
    writer.close()


async def test_a_refusal_during_an_upload_reaches_the_client(system: System):
    """The service answers before the body has come; the client need not send the rest."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "PAYLOAD_TOO_LARGE", "message": "no"}, status=413)

    system.echo.answer = answer
    payload = request_bytes(
        method="POST", headers=[("Content-Length", "1000000")], body=b"x" * 200_000
    )
    status, _, body = parsed(await raw(system.gateway.url, payload))
    assert (status, body) == (413, b'{"error": "PAYLOAD_TOO_LARGE", "message": "no"}')
    system.echo.answer = None
    assert (await system.program().get("/records/ent-2")).ok()["target"] == "/api/v1/records/ent-2"


async def test_expect_continue_is_answered_here(system: System):
    host, port = system.gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        request_bytes(method="POST", headers=[("Expect", "100-continue"), ("Content-Length", "2")])
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    status, _, _ = parsed(await reader.read(-1))
    assert status == 200
    assert "expect" not in names_of(system.echo.received[-1])
    writer.close()


async def test_nobody_is_told_to_send_a_body_that_will_be_refused(system: System):
    headers = [("Expect", "100-continue"), ("Content-Length", str(SMALL_BODY + 1))]
    too_large = (
        f'{{"error":"PAYLOAD_TOO_LARGE","message":"Request body exceeds {SMALL_BODY} bytes"}}'
    )
    for target in (
        "/api/v1/auth/login",
        "/api/v1/auth/login?a=b",
        "http://sigma/api/v1/auth/login",
    ):
        payload = request_bytes(target, method="POST", headers=headers)
        status, _, body = parsed(await raw(system.gateway.url, payload))
        assert (status, body) == (413, too_large.encode())


async def test_requests_on_one_connection_are_answered_one_after_the_other(system: System):
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1 if request.path.endswith("1") else 0)
        return web.Response(text=f"<{request.path}>")

    system.echo.answer = answer
    keep = b"Connection: close\r\n"
    pipelined = b"".join(
        request_bytes(f"/api/v1/records/ent-{n}").replace(keep, b"" if n < 3 else keep)
        for n in (1, 2, 3)
    )
    answered = await raw(system.gateway.url, pipelined)
    assert re.findall(rb"<(.*?)>; rel|<(/api.*?)>", answered) == [
        (b"", b"/api/v1/records/ent-%d" % n) for n in (1, 2, 3)
    ]


async def test_an_upgrade_is_not_offered_and_what_follows_is_a_request(system: System):
    payload = request_bytes(
        headers=[
            ("Upgrade", "websocket"),
            ("Connection", "upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ]
    )
    status, headers, _ = parsed(await raw(system.gateway.url, payload))
    assert status == 200
    assert "upgrade" not in headers


@pytest.mark.parametrize("line", ["OPTIONS * HTTP/1.1", "CONNECT elsewhere:443 HTTP/1.1"])
async def test_a_target_that_is_no_address_leads_nowhere(system: System, line: str):
    payload = f"{line}\r\nHost: gateway\r\nX-Sigma-ApiKey: {API_KEY}\r\nConnection: close\r\n\r\n"
    status, headers, body = parsed(await raw(system.gateway.url, payload.encode()))
    assert status in (400, 401)
    assert headers["content-type"] == "application/json"
    assert body.startswith(b'{"error":"')
    assert system.echo.received == []


@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_a_client_of_http_1_0_gets_the_whole_answer(system: System, size: int):
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)  # Without a length: in chunks, which 1.0 does not know.
        for _ in range(10):
            await response.write(b"x" * (size // 10))
        return response

    system.echo.answer = answer
    payload = request_bytes().replace(b"HTTP/1.1", b"HTTP/1.0")
    status, headers, body = parsed(await raw(system.gateway.url, payload))
    assert (status, body) == (200, b"x" * size)
    assert "transfer-encoding" not in headers
