"""How much the edge takes, how long it waits, and how it refuses more."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any, Self

import orjson
import pytest
from aiohttp import web
from pydantic import model_validator

from shared.http import (
    Routes,
    has_large_body,
    json_response,
    read_body,
)
from shared.http.shapes import Shape
from shared.process.offload import LARGE_BYTES, OFFLOAD
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.raw_http import request
from tests.kit.sigma import error
from tests.service.shelf.edge import BODY_BYTES_MAX, GO_ON, NOTE_BYTES_MAX, Edge, StartEdge

JSON = {"Content-Type": "application/json"}
TOO_LARGE = error(413, "PAYLOAD_TOO_LARGE", f"Request body exceeds {BODY_BYTES_MAX} bytes")


# How much.


async def test_a_body_that_says_it_is_too_large_is_not_awaited(edge: Edge):
    headers = {**edge.keyring.headers(identities.admin()), **JSON}
    head = request("POST", "/api/v1/things", {**headers, "Content-Length": str(1 << 40)})
    answer = await edge.speak(head)
    assert answer.outcome == TOO_LARGE
    assert answer.closed


async def test_a_body_that_does_not_say_is_counted(edge: Edge):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 10_000

    headers = {**edge.keyring.headers(identities.admin()), **JSON}
    async with edge.session.post(
        f"{edge.url}/api/v1/things", data=endless(), headers=headers
    ) as answer:
        assert (answer.status, await answer.json()) == TOO_LARGE


@pytest.mark.parametrize("how", ["plain", "chunked", "gzip", "asked first"])
async def test_a_route_may_take_less_than_its_service(edge: Edge, how: str):
    told = error(413, "PAYLOAD_TOO_LARGE", f"Request body exceeds {NOTE_BYTES_MAX} bytes")
    for size, expected in ((NOTE_BYTES_MAX, 200), (NOTE_BYTES_MAX + 1, told[0])):
        body = b'{"name": "a"}'.ljust(size)
        headers = dict(JSON)
        if how == "gzip":
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        if how == "chunked":
            headers["Transfer-Encoding"] = "chunked"
            body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:7], body[7:], b""))
        else:
            headers["Content-Length"] = str(len(body))
        if how == "asked first":
            headers["Expect"] = "100-continue"
        if how in ("plain", "asked first") and expected != 200:
            # Refused for the length that it says: nobody waits for it.
            body = b""
        answer = await edge.speak(request("POST", "/open/notes", headers) + body)
        assert answer.status == expected
        if expected != 200:
            assert answer.outcome == told


class ReadBy(Shape):
    """A body that says which thread read it."""

    thread: str = ""
    padding: str = ""

    @model_validator(mode="after")
    def note(self) -> Self:
        self.thread = threading.current_thread().name
        return self


async def test_a_large_body_is_read_in_another_thread(start_edge: StartEdge):
    table = Routes(tag="")

    @table.post("/api/v1/read", open=True)
    async def read(request: web.Request) -> web.StreamResponse:
        found = await read_body(request, ReadBy)
        return json_response([found.thread, has_large_body(request)])

    edge = await start_edge(table)
    here = threading.current_thread().name
    small, large = (orjson.dumps({"padding": "x" * size}) for size in (1, LARGE_BYTES))
    packed = {**JSON, "Content-Encoding": "gzip"}
    for body, headers, is_large in (
        (small, JSON, False),
        (large, JSON, True),
        (gzip.compress(large), packed, True),
    ):
        answer = await edge.stranger.ask("POST", "/read", data=body, headers=headers)
        thread, was_large = answer.ok()
        assert (thread != here, was_large) == (is_large, is_large)
        assert thread.startswith("offload") == is_large


async def test_a_large_body_waits_for_its_turn_as_long_as_is_configured(start_edge: StartEdge):
    table = Routes(tag="")

    @table.post("/api/v1/read", open=True)
    async def read(request: web.Request) -> web.StreamResponse:
        return json_response(await read_body(request, ReadBy))

    edge = await start_edge(table, wait_seconds=0.001)
    may_end = threading.Event()
    first = asyncio.create_task(edge.app[OFFLOAD].run(None, may_end.wait, 60))
    await asyncio.sleep(0)
    body = orjson.dumps({"padding": "x" * LARGE_BYTES})
    answer = await edge.stranger.ask("POST", "/read", data=body, headers=JSON)
    assert answer.outcome == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
    may_end.set()
    await first


async def test_a_handler_that_streams_is_held_to_the_same_size(edge: Edge):
    part = b"7fff\r\n" + b" " * 0x7FFF + b"\r\n"
    head = request("POST", "/open/stream", {"Transfer-Encoding": "chunked"})
    with socket.create_connection(("127.0.0.1", edge.port)) as connection:
        connection.sendall(head + part)
        await eventually(lambda: "part" in edge.events)
        await asyncio.to_thread(connection.sendall, part * 20 + b"0\r\n\r\n")
        answer = await asyncio.to_thread(connection.recv, 65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert TOO_LARGE[1]["message"].encode() in answer
    small = await edge.speak(head + part + b"0\r\n\r\n")
    assert small.outcome == (200, {"size": 0x7FFF})


async def test_a_handler_that_waits_for_the_body_is_told_that_it_has_turned_bad(edge: Edge):
    head = request("POST", "/open/stream", {"Transfer-Encoding": "chunked"})
    with socket.create_connection(("127.0.0.1", edge.port)) as connection:
        connection.sendall(head + b"2\r\nok\r\n")
        await eventually(lambda: "part" in edge.events)
        connection.sendall(b"zz\r\n")
        connection.settimeout(5)
        answer = await asyncio.to_thread(connection.recv, 65_536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"The request body is malformed" in answer


async def test_a_compressed_body_is_read_and_handed_on_as_it_came(edge: Edge):
    packed = gzip.compress(b'{"name": "in gzip"}')
    headers = {**JSON, "Content-Encoding": "gzip"}
    answer = await edge.admin.post("/things", data=packed, headers=headers)
    assert answer.outcome == (201, {"name": "in gzip", "size": 0})
    half = await edge.admin.post("/things", data=packed[:-8], headers=headers)
    assert half.outcome == error(400, "VALIDATION_ERROR", "Malformed gzip: the body ends too early")
    twice = gzip.compress(b'{"name": ') + gzip.compress(b'"two members"}')
    answer = await edge.admin.post("/things", data=twice, headers=headers)
    assert answer.outcome == (201, {"name": "two members", "size": 0})
    streamed = await edge.speak(request("POST", "/open/stream", headers, packed))
    assert streamed.outcome == (200, {"size": len(packed)})


async def test_a_bomb_in_gzip_is_not_unpacked(edge: Edge):
    packed = gzip.compress(b" " * (50 << 20))
    assert len(packed) < BODY_BYTES_MAX
    answer = await edge.admin.post(
        "/things", data=packed, headers={**JSON, "Content-Encoding": "gzip"}
    )
    assert answer.outcome == TOO_LARGE


async def test_more_connections_than_the_cap_are_told_to_come_back(start_edge: StartEdge):
    edge = await start_edge(connections_max=2, linger_s_max=0.2)
    # Connections are accepted in their order.
    taken = [socket.create_connection(("127.0.0.1", edge.port)) for _ in range(2)]
    answer = await edge.speak(request("GET", "/open"))
    assert answer.outcome == error(503, "SERVICE_UNAVAILABLE", "Too many connections")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert answer.closed
    taken.pop().close()

    async def served() -> Any:
        return (await edge.speak(request("GET", "/open"))).status == 200

    await eventually(served)
    taken.pop().close()


async def test_one_address_comes_to_half_of_the_connections(start_edge: StartEdge):
    edge = await start_edge(connections_max=4, connections_shared=True, linger_s_max=0.2)
    taken = [socket.create_connection(("127.0.0.1", edge.port)) for _ in range(2)]
    answer = await edge.speak(request("GET", "/open"))
    assert answer.outcome == error(503, "SERVICE_UNAVAILABLE", "Too many connections")
    # Linux has every address of 127.0.0.0/8.
    other = socket.create_connection(("127.0.0.1", edge.port), source_address=("127.0.0.2", 0))
    other.sendall(request("GET", "/open"))
    received = await asyncio.to_thread(other.recv, 1_000)
    assert received.startswith(b"HTTP/1.1 200")
    other.close()
    for one in taken:
        one.close()

    async def served() -> Any:
        return (await edge.speak(request("GET", "/open"))).status == 200

    await eventually(served)


async def test_a_connection_on_which_nothing_comes_is_given_up_early(start_edge: StartEdge):
    edge = await start_edge(first_byte_s_max=0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()


# How long.


async def test_a_deadline_cancels_the_handler(edge: Edge):
    answer = await edge.speak(request("GET", "/open/late", {"X-Sigma-Deadline": "300"}))
    assert answer.outcome == error(504, "UPSTREAM_TIMEOUT", "The request timed out")
    assert edge.events == ["began", "cancelled"]


async def test_a_spent_deadline_does_not_begin(edge: Edge):
    answer = await edge.speak(request("GET", "/open/late", {"X-Sigma-Deadline": "0"}))
    assert answer.status == 504
    assert edge.events == []


@pytest.mark.parametrize("told", ["soon", "-1", "1e3", "", "9" * 30, "٣"])
async def test_a_deadline_that_is_no_number_is_none(edge: Edge, told: str):
    headers = {"X-Sigma-Deadline": told.encode().decode("latin-1")}
    assert (await edge.speak(request("GET", "/open", headers))).status == 200


async def test_a_client_that_leaves_cancels_its_handler(edge: Edge):
    with socket.create_connection(("127.0.0.1", edge.port)) as connection:
        connection.sendall(request("GET", "/open/late"))
        await edge.begun()
    await eventually(lambda: edge.events == ["began", "cancelled"])


async def test_a_head_that_trickles_in_is_given_up(start_edge: StartEdge):
    edge = await start_edge(head_read_s_max=0.2)
    answer = await edge.speak(request("GET", "/open"), pause_s=0.05)
    assert answer.outcome == error(
        400, "VALIDATION_ERROR", "The request headers did not arrive in time"
    )
    assert answer.closed


async def test_half_a_head_behind_a_request_is_given_up_too(start_edge: StartEdge):
    edge = await start_edge(head_read_s_max=0.2)
    with socket.create_connection(("127.0.0.1", edge.port)) as connection:
        connection.sendall(request("GET", "/open/short", close=False))
        await edge.begun()
        connection.sendall(b"GET /open HTTP/1.1\r\nHost: a")
        await asyncio.sleep(0.4)
        edge.app[GO_ON].set()
        heard = b""
        while part := await asyncio.to_thread(connection.recv, 65_536):
            heard += part
    assert heard.count(b"HTTP/1.1 200") == 1
    assert b"The request headers did not arrive in time" in heard


LATE_BODY = error(400, "VALIDATION_ERROR", "The request body did not arrive in time")


@pytest.mark.parametrize("path", ["/open/stream", "/api/v1/things"])
async def test_a_body_that_stops_is_given_up(start_edge: StartEdge, path: str):
    edge = await start_edge(body_idle_s_max=0.2)
    headers = {**edge.keyring.headers(identities.admin()), **JSON, "Content-Length": "100"}
    answer = await edge.speak(request("POST", path, headers) + b'{"name":')
    assert answer.outcome == LATE_BODY
    assert answer.closed


async def test_a_body_that_trickles_in_is_given_up(start_edge: StartEdge):
    edge = await start_edge(body_idle_s_max=5.0, body_read_s_max=0.3)
    head = request("POST", "/open/stream", {"Content-Length": "1000"})
    with socket.create_connection(("127.0.0.1", edge.port)) as connection:
        connection.sendall(head)
        connection.settimeout(0.05)
        async with asyncio.timeout(30):
            answer = b""
            while not answer:
                connection.sendall(b"x")
                try:
                    answer = await asyncio.to_thread(connection.recv, 65_536)
                except TimeoutError:
                    continue
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"The request body did not arrive in time" in answer


async def test_a_slow_handler_does_not_count_against_the_client(start_edge: StartEdge):
    slow = Routes(tag="Slow")

    @slow.post("/open/slow-reader", open=True)
    async def slow_reader(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1.5)
        return web.Response(body=str(len(await request.read())).encode())

    edge = await start_edge(slow, body_idle_s_max=0.6, body_read_s_max=0.6, body_bytes_max=10 << 20)
    body = b"x" * (4 << 20)
    answer = await edge.speak(request("POST", "/open/slow-reader", {}, body), 60)
    assert (answer.status, answer.body) == (200, str(len(body)).encode())


async def test_an_idle_connection_is_closed(start_edge: StartEdge):
    edge = await start_edge(idle_s_max=0.2)
    for sent in (b"", request("GET", "/open", close=False)):
        answer = await edge.speak(sent)
        assert answer.closed
        assert answer.status == (200 if sent else 0)


@pytest.mark.parametrize("patient", [False, True])
async def test_an_answer_that_nobody_reads_is_given_up(start_edge: StartEdge, patient: bool):
    """Unless its handler says that its reader may pause."""
    edge = await start_edge(answer_idle_s_max=0.2)
    with socket.create_connection(("127.0.0.1", edge.port)) as connection:
        connection.sendall(request("GET", "/open/patient-flood" if patient else "/open/flood"))
        await edge.begun()
        await asyncio.sleep(1)
        connection.settimeout(60)
        heard = await asyncio.to_thread(_read_all, connection)
    assert (heard > 64 << 20) == patient


def _read_all(connection: socket.socket) -> int:
    heard = 0
    try:
        while part := connection.recv(1 << 20):
            heard += len(part)
    except ConnectionError:
        pass
    return heard


async def test_expect_100_continue_is_met_unless_the_body_would_be_refused(edge: Edge):
    headers = {**edge.keyring.headers(identities.admin()), **JSON, "Expect": "100-continue"}
    answer = await edge.speak(request("POST", "/api/v1/things", headers, b'{"name": "a"}'))
    assert (answer.interim, answer.status) == ((100,), 201)
    large = request("POST", "/api/v1/things", {**headers, "Content-Length": str(1 << 40)})
    answer = await edge.speak(large)
    assert (answer.interim, answer.outcome) == ((), TOO_LARGE)


async def test_an_unknown_expectation_is_told(edge: Edge):
    headers = {**edge.keyring.headers(identities.admin()), **JSON, "Expect": "foo"}
    told = error(400, "VALIDATION_ERROR", "Expect 'foo' is not supported, expected '100-continue'")
    for path in ("/api/v1/things", "/api/v1/nothing"):
        answer = await edge.speak(request("POST", path, headers, b'{"name": "a"}'))
        assert answer.outcome == told


async def test_a_refusal_is_not_lost_with_what_nobody_read(edge: Edge):
    """A reset would reach the client before the answer does."""
    head = request("GET", "/open", {"X-Large": "a" * 9_000}, close=False)
    answer = await edge.speak(head + b"x" * (1 << 20))
    assert answer.status == 413
    assert answer.closed
    assert not answer.reset
