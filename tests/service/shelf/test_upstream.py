"""A call to another service: what goes along, and what comes back as what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from shared.errors import (
    ApiError,
    InternalError,
    NotFound,
    RateLimited,
    ServiceUnavailable,
    TransitionError,
    UpstreamTimeout,
)
from shared.http import Routes, call_of, identity_of, json_response, read_body
from shared.http.client import Upstream, new_session, upstream
from shared.identity import Permission
from tests.kit import identities
from tests.kit.identities import Keyring
from tests.kit.service import NOBODY
from tests.kit.sigma import error
from tests.service.shelf.edge import Edge, StartEdge, ThingDraft

FAR = web.AppKey("far", Upstream)


def far_routes() -> Routes:
    """What the asked service answers."""
    table = Routes(tag="Far")

    @table.internal_get("/internal/headers")
    async def headers(request: web.Request) -> web.StreamResponse:
        names = ("X-Request-Id", "traceparent", "tracestate", "X-Sigma-Deadline", "Accept")
        told: dict[str, Any] = {name: request.headers.get(name) for name in names}
        return json_response({**told, "caller": identity_of(request).id})

    @table.internal_post("/internal/transition")
    async def transition(request: web.Request) -> web.StreamResponse:
        raise TransitionError("Transition from 'draft' to 'published' is not allowed")

    @table.internal_get("/internal/late")
    async def late(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return json_response(None)

    @table.internal_get("/internal/soon")
    async def soon(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return json_response(None)

    @table.internal_get("/internal/not-json")
    async def not_json(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>")

    @table.internal_get("/internal/teapot")
    async def teapot(request: web.Request) -> web.StreamResponse:
        return json_response({"error": "NOT_FOUND", "message": "secret"}, status=418)

    @table.internal_get("/internal/rate")
    async def rate(request: web.Request) -> web.StreamResponse:
        raise RateLimited.after(7)

    @table.internal_delete("/internal/nothing")
    async def nothing(request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    @table.internal_post("/internal/echo")
    async def echo(request: web.Request) -> web.StreamResponse:
        return json_response(await read_body(request, ThingDraft))

    return table


def near_routes(far_url: str) -> Routes:
    """A service that passes on what it is asked to the other one."""
    table = Routes(tag="Near")

    @table.post("/api/v1/ask", permission=Permission.READ)
    async def ask(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        far = Upstream(far_url, "far", timeout_s=asked.get("timeout", 5.0))
        try:
            return json_response(
                await far.request(
                    asked["method"],
                    asked["path"],
                    json=asked.get("json"),
                    call=call_of(request),
                    timeout_s=asked.get("longer"),
                )
            )
        finally:
            await far.close()

    return table


@pytest.fixture
async def near(start_edge: StartEdge) -> Edge:
    """A service in front of another one."""
    far = await start_edge(far_routes())
    return await start_edge(near_routes(far.url))


async def ask(edge: Edge, path: str, method: str = "GET", **more: Any) -> Any:
    headers = more.pop("headers", {})
    question = {"method": method, "path": path, **more}
    return await edge.admin.post("/ask", question, headers=headers)


async def test_an_error_that_crosses_two_services_arrives_as_it_left(near: Edge):
    answer = await ask(near, "/internal/transition", "POST")
    assert answer.outcome == error(
        400, "TRANSITION_ERROR", "Transition from 'draft' to 'published' is not allowed"
    )
    answer = await ask(near, "/internal/rate")
    assert answer.outcome == error(429, "RATE_LIMITED", "Too many requests. Retry after 7 seconds.")
    assert answer.headers["Retry-After"] == "7"
    answer = await ask(near, "/internal/echo", "POST", json={"name": 1})
    assert answer.outcome == error(
        400, "VALIDATION_ERROR", "Field 'name' expects type 'string', got 'number'"
    )


async def test_what_is_no_answer_of_ours_is_not_told(near: Edge):
    internal = error(500, "INTERNAL_ERROR", "Internal server error")
    assert (await ask(near, "/internal/not-json")).outcome == internal
    assert (await ask(near, "/internal/teapot")).outcome == internal


async def test_caller_request_id_trace_and_deadline_go_along(near: Edge):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"X-Request-Id": "id-1", "traceparent": trace, "tracestate": "a=b"}
    told = (await ask(near, "/internal/headers", headers=headers, timeout=500)).ok()
    left_ms = int(told.pop("X-Sigma-Deadline"))
    assert told == {**headers, "caller": "user-admin", "Accept": "application/json"}
    assert 400_000 < left_ms <= 500_000
    headers = {"X-Sigma-Deadline": "200000"}
    told = (await ask(near, "/internal/headers", headers=headers, timeout=500)).ok()
    assert 100_000 < int(told["X-Sigma-Deadline"]) <= 200_000


async def test_an_empty_answer_is_none(near: Edge):
    assert (await ask(near, "/internal/nothing", "DELETE")).outcome == (200, None)


async def test_too_slow_is_504_and_away_is_503(near: Edge, start_edge: StartEdge):
    slow = await ask(near, "/internal/late", timeout=0.5)
    assert (slow.status, slow.body["error"]) == (504, "UPSTREAM_TIMEOUT")
    slow = await ask(near, "/internal/late", headers={"X-Sigma-Deadline": "500"})
    assert (slow.status, slow.body["error"]) == (504, "UPSTREAM_TIMEOUT")
    patient = await ask(near, "/internal/soon", timeout=0.1, longer=20)
    assert patient.status == 200
    lonely = await start_edge(near_routes(NOBODY))
    away = await ask(lonely, "/internal/headers")
    assert away.outcome == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
    assert away.headers["Retry-After"] == "1"


async def test_a_connection_that_closes_in_the_moment_of_its_use_is_not_an_outage(keyring: Keyring):
    """As a server that closes an idle connection does: a read is asked again, a change is not."""
    asked: list[bytes] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if len(asked) % 2 == 0:
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    far = Upstream(f"http://127.0.0.1:{port}", "far")
    assert await far.request("GET", "/") is None
    assert len(asked) == 2
    with pytest.raises(UpstreamTimeout):
        await far.request("POST", "/")
    assert len(asked) == 3
    await far.close()
    server.close()


async def test_what_was_sent_before_the_service_went_away_is_never_called_unsent(keyring: Keyring):
    """An idempotent request is asked again; that nobody is there by then says nothing of it."""
    asked: list[bytes] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        server.close()
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    far = Upstream(f"http://127.0.0.1:{port}", "far", new_session())
    assert await far.request("DELETE", "/") is None
    with pytest.raises(UpstreamTimeout):
        await far.request("DELETE", "/")
    assert len(asked) == 2
    with pytest.raises(ServiceUnavailable):
        await far.request("DELETE", "/")
    await far.close()


@pytest.mark.parametrize(
    ("answer", "of_a_change", "of_a_read"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", InternalError, InternalError),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
            UpstreamTimeout,
            ServiceUnavailable,
        ),
        (b"garbage\r\n\r\n", UpstreamTimeout, ServiceUnavailable),
        (b"", UpstreamTimeout, ServiceUnavailable),
    ],
)
async def test_half_an_answer_is_an_outage(
    answer: bytes, of_a_change: type[ApiError], of_a_read: type[ApiError]
):
    """Of a read that broke off nothing can have happened, so its caller may be told 503."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for method, reads, kind in (
        ("POST", False, of_a_change),
        ("PUT", False, of_a_change),
        ("POST", True, of_a_read),
        ("GET", False, of_a_read),
    ):
        far = Upstream(url, "far")
        with pytest.raises(kind):
            await far.request(method, "/", reads=reads)
        await far.close()
    server.close()


async def test_the_context_lends_one_upstream_for_the_life_of_the_app(near: Edge):
    app = web.Application()
    app.cleanup_ctx.append(upstream(FAR, near.url, "far"))
    runner = web.AppRunner(app)
    await runner.setup()
    token = near.keyring.headers(identities.admin())["X-Sigma-Identity"]
    told = await app[FAR].request("GET", "/api/v1/things/a", identity_token=token)
    assert told["caller"] == "user-admin"
    with pytest.raises(NotFound, match="Thing 'missing' not found"):
        await app[FAR].request("GET", "/api/v1/things/missing", identity_token=token)
    await runner.cleanup()
