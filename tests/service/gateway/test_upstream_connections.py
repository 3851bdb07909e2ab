"""Connections to services: used again, replaced, shared out, and never mixed up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from deploy.local.private_server import free_port
from gateway.gateway import OPEN_REQUESTS_MAX
from gateway.routes import Service
from gateway.upstream import pool
from gateway.upstream.pool import UpstreamPool
from gateway.upstream.response import UpstreamResponse
from shared.errors import ServiceUnavailable
from tests.kit.eventually import eventually
from tests.service.gateway.actors import AWAY, BROKE_OFF, OK, Actor, Script, acting
from tests.service.gateway.system import System, parsed, raw, request_bytes


async def test_a_restarting_service_is_asked_again(system: System, monkeypatch: pytest.MonkeyPatch):
    """Refused is unsent: also a POST waits for the moment in which the service comes back."""
    monkeypatch.setattr(pool, "_CONNECT_PAUSES_S", (0.05,) * 500)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(OK)
        await writer.drain()
        await reader.read(1)

    actor, port = Actor(script), free_port()
    gateway = await system.another(records_url=f"http://127.0.0.1:{port}")
    asking = asyncio.create_task(system.program(gateway).post("/records", {"a": 1}))
    await asyncio.sleep(0.2)
    server = await asyncio.start_server(actor.serve, "127.0.0.1", port)
    assert (await asking).outcome == (200, {})
    assert len(actor.requests) == 1
    server.close()
    await actor.stop()


async def ask_twice(
    system: System, method: str, script: Script, **more: Any
) -> tuple[Any, Any, Actor]:
    async with acting(script) as actor:
        actors.append(actor)
        gateway = await system.another(records_url=actor.url)
        first = await system.program(gateway).ask(method, "/records/ent-1", **more)
        second = await system.program(gateway).ask(method, "/records/ent-1", **more)
        return first, second, actor


actors: list[Actor] = []


async def answers_one_then_closes_when_asked_again(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """What a service that gives up an idle connection looks like to who is just using it."""
    head = await actors[-1].heard(reader)
    writer.write(OK.removesuffix(b"{}") if head.startswith(b"HEAD") else OK)
    await writer.drain()
    await actors[-1].heard(reader)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_an_idle_connection_that_was_just_closed_is_replaced(system: System, method: str):
    first, second, actor = await ask_twice(system, method, answers_one_then_closes_when_asked_again)
    assert (first.status, second.status) == (200, 200)
    assert (actor.connections, len(actor.requests)) == (2, 3)


@pytest.mark.parametrize(
    ("method", "headers"),
    [("POST", {}), ("PATCH", {}), ("PUT", {}), ("PUT", {"If-Match": '"1"'}), ("DELETE", {})],
)
async def test_what_may_have_been_done_is_not_done_again(
    system: System, method: str, headers: dict[str, str]
):
    """A DELETE that was made would be 404 the second time, as if nothing had been there."""
    first, second, actor = await ask_twice(
        system, method, answers_one_then_closes_when_asked_again, data=b"{}", headers=headers
    )
    assert first.status == 200
    assert second.outcome == BROKE_OFF
    assert "Retry-After" not in second.headers
    assert (actor.connections, len(actor.requests)) == (1, 2)


async def test_a_connection_idle_for_longer_than_a_drain_is_not_used_again(
    system: System, monkeypatch: pytest.MonkeyPatch
):
    """A service that stops closes such a connection, perhaps in the moment in which it is used."""
    monkeypatch.setattr(pool, "IDLE_S_MAX", 0.0)
    script = answers_one_then_closes_when_asked_again
    first, second, actor = await ask_twice(system, "POST", script, data=b"{}")
    assert (first.outcome, second.outcome) == ((200, {}), (200, {}))
    assert (actor.connections, len(actor.requests)) == (2, 2)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_new_connection_that_closes_unanswered_is_not_tried_again(
    system: System, method: str
):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        answer = await system.program(gateway).ask(method, "/records", data=b"{}")
        assert answer.outcome == BROKE_OFF
        assert "Retry-After" not in answer.headers
    assert actor.connections == 1


async def test_bytes_that_nobody_asked_for_are_nobodys_answer(system: System):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(OK + b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"forged"')
        await writer.drain()
        await actor.heard(reader)

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        caller = system.program(gateway)
        assert [(await caller.get("/records")).body for _ in range(3)] == [{}, {}, {}]
        assert (actor.connections, len(actor.requests)) == (3, 3)


async def test_bytes_that_come_while_nobody_asks_are_nobodys_answer(system: System):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"forged"')
        await actor.heard(reader)

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        caller = system.program(gateway)
        pool = system.gate(gateway).pools[Service.RECORDS]
        for _ in range(3):
            assert (await caller.get("/records")).body == {}
            await eventually(lambda: not pool._open)
        assert (actor.connections, len(actor.requests)) == (3, 3)


async def test_a_connection_that_was_said_to_end_is_not_used_again(system: System):
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await actor.heard(reader)
        writer.write(OK.replace(b"Content-Type", b"Connection: close\r\nContent-Type"))
        await writer.drain()
        await actor.heard(reader)

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        caller = system.program(gateway)
        assert [(await caller.post("/records", {})).status for _ in range(3)] == [200] * 3
        assert (actor.connections, len(actor.requests)) == (3, 3)


async def test_a_connection_with_half_an_upload_is_not_used_again(system: System):
    """The service would take the next request for the rest of the body."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        actor.requests.append(head)
        writer.write(OK)
        await writer.drain()
        await reader.read(-1)

    async with acting(script) as actor:
        gateway = await system.another(records_url=actor.url)
        payload = request_bytes(
            method="POST", headers=[("Content-Length", "1000000")], body=b"x" * 1_000
        )
        for _ in range(2):
            status, _, _ = parsed(await raw(gateway.url, payload))
            assert status == 200
        assert (await system.program(gateway).get("/records")).body == {}
        assert (actor.connections, len(actor.requests)) == (3, 3)


async def test_a_client_that_leaves_takes_its_connection_along(system: System):
    """The answer that nobody waits for any more must not become the next one's."""
    arrived, finish = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await finish.wait()
        return web.json_response({"for": request.path})

    system.echo.answer = answer
    host, port = system.gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_bytes("/api/v1/records/ent-left"))
    await arrived.wait()
    pool = system.gate().pools[Service.RECORDS]
    assert len(pool._open) == 1
    writer.transport.abort()
    await eventually(lambda: not pool._open)
    finish.set()
    answered = await system.program().get("/records/ent-stays")
    assert answered.outcome == (200, {"for": "/api/v1/records/ent-stays"})


async def test_silent_uploads_of_one_key_leave_slots_to_others(system: System):
    gateway = await system.another(upstream_connections_max=32)
    url = urlsplit(gateway.url)
    silent = request_bytes(
        method="PUT", headers=[("Content-Type", "application/json"), ("Content-Length", "100000")]
    )
    writers = []
    uploads = system.gate(gateway).pools[Service.RECORDS]._upload_slots
    for _ in range(32):
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(silent + b"{")
        writers.append(writer)
    # Eight connections may be lent to uploads: one caller has half, and half of the line.
    await eventually(lambda: uploads._slots._free == 4 and uploads._line._free == 4)
    answer = await system.person(gateway).post("/records", {"padding": "x" * 100_000})
    assert answer.status == 200
    for writer in writers:
        writer.transport.abort()
    await eventually(lambda: uploads._slots._free == 8 and uploads._line._free == 8)


async def test_requests_without_a_credential_are_shared_out_by_address(system: System):
    """One address holds half of what there is; the others find some."""
    gateway = await system.another(trusted_hops=1)
    hold = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        await hold.wait()
        return web.Response()

    system.echo.answer = answer
    guesser, owner = [
        system.caller(gateway, X_Forwarded_For=peer) for peer in ("192.0.2.1", "198.51.100.1")
    ]
    half = OPEN_REQUESTS_MAX // 2
    flood = [asyncio.create_task(guesser.post("/auth/login", {})) for _ in range(200)]
    await eventually(lambda: sum(task.done() for task in flood) == 200 - 2 * half)
    asked = asyncio.create_task(owner.post("/auth/login", {}))
    await eventually(lambda: system.gate(gateway).open_requests._slots._free == half - 1)
    refused = [task.result() for task in flood if task.done()]
    assert {answer.status for answer in refused} == {503}
    assert refused[0].body["message"] == "Too many requests without a credential"
    hold.set()
    assert (await asked).status == 200
    await asyncio.gather(*flood)
    await eventually(lambda: system.gate(gateway).open_requests._slots._free == OPEN_REQUESTS_MAX)


async def test_no_answer_is_mixed_up_under_pressure(system: System):
    """More callers than connections; a third of them give up half way."""
    gateway = await system.another(upstream_connections_max=4, request_timeout_s=60)
    pool = system.gate(gateway).pools[Service.RECORDS]
    most = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal most
        most = max(most, len(pool._open))
        await asyncio.sleep(0.005)
        return web.json_response({"for": request.path})

    system.echo.answer = answer
    caller = system.program(gateway)

    async def ask(n: int) -> None:
        asking = asyncio.create_task(caller.get(f"/records/ent-{n}"))
        if n % 3 == 0:
            await asyncio.sleep(n % 7 / 1000)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        else:
            assert (await asking).outcome == (200, {"for": f"/api/v1/records/ent-{n}"})

    await asyncio.gather(*(ask(n) for n in range(300)))
    await eventually(lambda: len(pool._open) == len(pool._idle) and not pool._waiting)
    assert len(pool._open) <= 4
    assert pool._opening == 0
    assert most <= 4


async def test_who_waits_for_a_connection_waits_no_longer_than_the_deadline(system: System):
    gateway = await system.another(upstream_connections_max=1, request_timeout_s=0.4)
    pool = system.gate(gateway).pools[Service.RECORDS]
    head = b"GET /api/v1/records HTTP/1.1\r\nHost: records\r\n\r\n"
    held = await pool.send(head, deadline=asyncio.get_running_loop().time() + 600)
    caller = system.program(gateway)
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(caller.get("/records") for _ in range(5)))
    assert [answer.status for answer in answers] == [503] * 5
    held.close()


async def test_a_body_that_stops_half_way_ends_within_the_deadline(system: System):
    gateway = await system.another(request_timeout_s=0.5)
    payload = request_bytes(
        method="POST", headers=[("Content-Length", "1000000")], body=b"x" * 100_000
    )
    began = time.monotonic()
    status, _, body = parsed(await raw(gateway.url, payload))
    assert (status, b"UPSTREAM_TIMEOUT" in body) == (504, True)
    assert time.monotonic() - began < 15


async def test_one_service_away_leaves_the_others_alone(system: System):
    gateway = await system.another(workflow_url="http://127.0.0.1:9")
    caller = system.program(gateway)
    assert (await caller.get("/workflows")).outcome == AWAY
    assert (await caller.get("/records")).status == 200
    assert (await caller.get("/healthz")).outcome == (200, {"status": "ok"})
    ready = await gateway.stranger().at(gateway.internal_url).get("/readyz")
    assert ready.status == 200


async def test_a_turn_that_is_not_taken_goes_to_the_next(system: System):
    """One waits, is called, and has left: whoever waits behind must not wait for ever."""
    loop = asyncio.get_running_loop()
    pool = UpstreamPool(system.urls["records_url"], connections_max=1)
    head = b"GET /api/v1/records/%d HTTP/1.1\r\nHost: records\r\n\r\n"
    first = await pool.send(head % 1, deadline=loop.time() + 30)
    second = asyncio.create_task(pool.send(head % 2, deadline=loop.time() + 30))
    third = asyncio.create_task(pool.send(head % 3, deadline=loop.time() + 30))
    await eventually(lambda: len(pool._waiting) == 2)
    first.take()
    second.cancel()
    answer = await asyncio.wait_for(third, 30)
    assert b'"target":"/api/v1/records/3"' in await answer.read(loop.time() + 30)
    await pool.close()


@asynccontextmanager
async def one_connection_that_two_wait_for(
    system: System,
) -> AsyncIterator[tuple[UpstreamPool, UpstreamResponse, list[asyncio.Task[UpstreamResponse]]]]:
    """A pool of one, the response that keeps its connection, and the requests behind it."""
    loop = asyncio.get_running_loop()
    pool = UpstreamPool(system.urls["records_url"], connections_max=1)
    head = b"GET /api/v1/records/%d HTTP/1.1\r\nHost: records\r\n\r\n"
    first = await pool.send(head % 1, deadline=loop.time() + 30)
    waiting = [asyncio.create_task(pool.send(head % n, deadline=loop.time() + 30)) for n in (2, 3)]
    await eventually(lambda: len(pool._waiting) == 2)
    yield pool, first, waiting
    await pool.close()


async def body_of(response: UpstreamResponse) -> bytes:
    return await response.read(asyncio.get_running_loop().time() + 30)


async def test_a_connection_that_closes_as_it_is_assigned_is_replaced(system: System):
    async with one_connection_that_two_wait_for(system) as (pool, first, waiting):
        (connection,) = pool._open
        first.take()
        connection.close()

        async def answered(request: asyncio.Task[UpstreamResponse]) -> bytes:
            return await body_of(await request)

        bodies = await asyncio.wait_for(asyncio.gather(*map(answered, waiting)), 30)
        for n, body in enumerate(bodies, 2):
            assert b'"target":"/api/v1/records/%d"' % n in body
        assert len(pool._open) == 1
        assert pool._opening == 0


async def test_room_that_a_cancelled_request_was_given_goes_to_the_next(system: System):
    async with one_connection_that_two_wait_for(system) as (pool, first, (second, third)):
        first.close()
        second.cancel()
        response = await asyncio.wait_for(third, 30)
        assert b'"target":"/api/v1/records/3"' in await body_of(response)
        assert pool._opening == 0


async def test_a_pool_that_closes_refuses_those_that_wait_and_opens_nothing(system: System):
    async with one_connection_that_two_wait_for(system) as (pool, first, (second, third)):
        # The second request has room, and has not begun to open its connection.
        first.close()
        await pool.close()
        for request in (second, third):
            with pytest.raises(ServiceUnavailable):
                await asyncio.wait_for(request, 30)
        assert not pool._open
        assert pool._opening == 0


async def test_who_does_not_begin_in_time_is_told_so_and_is_not_sent(system: System):
    gateway = await system.another(upstream_connections_max=1, wait_seconds=0.2)
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        await system.over.wait()
        return web.Response()

    system.echo.answer = answer
    caller = system.program(gateway)
    first = asyncio.create_task(caller.post("/records", {}))
    await eventually(lambda: len(seen) == 1)
    refused = await caller.post("/records", {})
    assert refused.outcome == AWAY
    assert int(refused.headers["Retry-After"]) >= 1
    first.cancel()
    assert len(seen) == 1


async def test_a_workspace_in_overload_does_not_make_the_others_wait(system: System):
    """And what was waited for here is told to the service, which goes on counting."""
    loop = asyncio.get_running_loop()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await actor.heard(reader)
            writer.write(OK)
            await writer.drain()

    async with acting(script) as actor:
        pool = UpstreamPool(actor.url, connections_max=1, wait_s=30)
        head = b"GET /%s HTTP/1.1\r\nHost: records\r\n\r\n"

        async def send(path: bytes, workspace_id: str) -> None:
            answer = await pool.send(
                head % path, deadline=loop.time() + 30, workspace_id=workspace_id
            )
            await answer.read(loop.time() + 30)

        first = await pool.send(head % b"0", deadline=loop.time() + 30, workspace_id="ws-busy")
        waiting = [asyncio.create_task(send(b"busy", "ws-busy")) for _ in range(8)]
        await eventually(lambda: len(pool._waiting) == 8)
        waiting.append(asyncio.create_task(send(b"other", "ws-other")))
        await eventually(lambda: len(pool._waiting) == 9)
        await first.read(loop.time() + 30)
        await asyncio.gather(*waiting)
        paths = [request.split()[1] for request in actor.requests]
        assert paths.index(b"/other") <= 2
        waited = [b"\r\nX-Sigma-Waited: " in request for request in actor.requests]
        assert waited == [False] + [True] * 9
        await pool.close()
