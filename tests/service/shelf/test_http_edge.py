"""What the edge does around every handler: who may, how long, how much, and how it is told."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import tomllib
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
import orjson
import pytest
from aiohttp import web
from pydantic import model_validator

from shared.http import (
    DRAINING,
    READINESS,
    Routes,
    has_large_body,
    json_response,
    name_route,
    read_body,
)
from shared.http.shapes import Shape
from shared.identity import ALL_PERMISSIONS, Identity, IdentitySigner
from shared.process.offload import LARGE_BYTES, OFFLOAD
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.raw_http import request, speak
from tests.kit.servers import ROOT
from tests.kit.sigma import Caller, error
from tests.service.shelf.edge import BODY_BYTES_MAX, GO_ON, NOTE_BYTES_MAX, Edge, StartEdge

JSON = {"Content-Type": "application/json"}
MISSING = error(401, "UNAUTHORIZED", "Missing authentication")
DENIED = error(403, "PERMISSION_DENIED", "Permission denied")
TOO_LARGE = error(413, "PAYLOAD_TOO_LARGE", f"Request body exceeds {BODY_BYTES_MAX} bytes")


# Who may.


@pytest.mark.parametrize(
    "path", ["/api/v1/things/a", "/api/v1/nothing", "/internal/things", "/api/v1/people-only"]
)
async def test_without_identity_everything_but_open_routes_is_401(edge: Edge, path: str):
    answer = await edge.stranger.get(path.removeprefix("/api/v1"))
    assert answer.told == MISSING
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_an_open_route_asks_nobody(edge: Edge):
    async with edge.session.get(f"{edge.url}/open") as answer:
        assert (answer.status, await answer.json()) == (200, {"open": True})


async def test_a_forged_identity_is_no_identity(edge: Edge):
    stranger_key = identities.new_signing_key("gateway")
    token = IdentitySigner.parse(stranger_key).sign(identities.admin())
    for forged in (token, "x", "", "a.b.c", token.replace(".", "..")):
        caller = edge.stranger.having({"X-Sigma-Identity": forged})
        assert (await caller.get("/things/a")).told == MISSING


async def test_an_api_key_needs_the_permission_of_the_route(edge: Edge):
    reader = edge.as_(identities.api_key(permissions=["read"]))
    assert (await reader.get("/things/a")).status == 200
    assert (await reader.post("/things", {"name": "a"})).told == DENIED
    assert (await reader.delete("/things/a")).told == DENIED
    writer = edge.as_(identities.api_key(permissions=["update-data", "delete-data"]))
    assert (await writer.get("/things/a")).told == DENIED
    assert (await writer.post("/things", {"name": "a"})).status == 201
    assert (await writer.delete("/things/a")).told == (204, None)


async def test_what_is_for_people_refuses_every_api_key(edge: Edge):
    assert (await edge.as_(identities.api_key()).get("/people-only")).told == DENIED
    assert (await edge.admin.get("/people-only")).status == 204


async def test_a_problem_document_and_the_log_say_what_a_caller_lacks(
    edge: Edge, capsys: pytest.CaptureFixture[str]
):
    problems = {"Accept": "application/problem+json"}
    lacks = {
        "errors": [{"pointer": "", "detail": "The API key lacks the permission 'update-data'"}]
    }
    reader = edge.as_(identities.api_key(permissions=["read"])).having(problems)
    denied = await reader.post("/things", {"name": "a"})
    assert denied.status == 403
    assert denied.body.items() >= {"message": "Permission denied", **lacks}.items()
    editor = edge.as_(identities.user(role="role-editor")).having(problems)
    denied = await editor.get("/settings")
    assert denied.body["errors"] == [
        {"pointer": "", "detail": "The role lacks the flag 'canManageSchemas'"}
    ]
    assert (await edge.admin.get("/settings")).status == 204
    denied = await reader.get("/people-only")
    assert denied.body["errors"] == [
        {"pointer": "", "detail": "Only users can do this, not API keys"}
    ]
    refused = [line for line in capsys.readouterr().out.splitlines() if "refused" in line]
    for line, reason in zip(
        refused, ("'update-data'", "'canManageSchemas'", "not API keys"), strict=True
    ):
        assert reason in line


async def test_a_service_speaks_on_internal_routes_only(edge: Edge):
    service = Caller(edge.session, edge.url, edge.keyring.service_headers("gateway"))
    assert (await service.get("/internal/things")).told == (200, {"caller": "gateway"})
    greedy = Identity("service", "gateway", "ws-test", permissions=ALL_PERMISSIONS)
    token = IdentitySigner.parse(edge.keyring.signing_key("gateway")).sign(greedy)
    for caller in (service, edge.stranger.having({"X-Sigma-Identity": token})):
        assert (await caller.get("/things/a")).told == DENIED
    assert (await edge.admin.get("/internal/things")).told == (200, {"caller": "user-admin"})


async def test_an_unknown_route_is_told_to_those_we_know(edge: Edge):
    assert (await edge.admin.get("/nothing")).told == error(
        404, "NOT_FOUND", "Route '/api/v1/nothing' not found"
    )


async def test_a_wrong_method_is_told_with_those_that_are_right(edge: Edge):
    answer = await edge.admin.put("/things", {})
    assert answer.told == error(
        405,
        "METHOD_NOT_ALLOWED",
        "Method 'PUT' is not allowed for '/api/v1/things', expected GET, HEAD, POST",
    )
    assert answer.headers["Allow"] == "GET, HEAD, POST"


async def test_head_is_get_without_a_body(edge: Edge):
    answer = await edge.admin.ask("HEAD", "/things/a")
    assert (answer.status, answer.body) == (200, None)
    assert int(answer.headers["Content-Length"]) > 0


# How it is told.


async def test_the_request_id_goes_in_and_out(edge: Edge):
    answer = await edge.admin.get("/things/a", headers={"X-Request-Id": "from-a.client_1"})
    assert answer.headers["X-Request-Id"] == answer.body["requestId"] == "from-a.client_1"
    assert answer.headers["Server"] == "Sigma"


@pytest.mark.parametrize("bad", ["", "a b", "a" * 129, 'a"b', "ä", "{}", "..-", "a\tb"])
async def test_a_request_id_that_would_spoil_a_log_is_replaced(edge: Edge, bad: str):
    first = (await edge.admin.get("/things/a", headers={"X-Request-Id": bad})).body["requestId"]
    again = (await edge.admin.get("/things/a", headers={"X-Request-Id": bad})).body["requestId"]
    assert first.isalnum()
    assert first not in (bad, again)


async def test_an_unforeseen_error_says_nothing_about_itself(edge: Edge, capfd: Any):
    async with edge.session.get(f"{edge.url}/open/broken") as answer:
        told = (answer.status, await answer.json())
        assert told == error(500, "INTERNAL_ERROR", "Internal server error")
        assert answer.headers["X-Request-Id"]
    assert "SELECT secret" in capfd.readouterr().out, "the log has to have it"


async def test_a_problem_document_comes_only_when_it_is_named(edge: Edge):
    sent = {"name": 7, "size": "large"}
    first = "Field 'name' expects type 'string', got 'number'"
    for accept in ("*/*", "application/*", "application/json", "application/problem+json;q=0"):
        answer = await edge.admin.post("/things", sent, headers={"Accept": accept})
        assert answer.told == error(400, "VALIDATION_ERROR", first)
        assert answer.headers["Content-Type"] == "application/json"
    accept = "text/html;q=0, Application/Problem+JSON; q=0.5"
    answer = await edge.admin.post("/things", sent, headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.told == (
        400,
        {
            "error": "VALIDATION_ERROR",
            "message": first,
            "type": "about:blank",
            "title": "A field is missing, has the wrong type, or breaks a validation rule.",
            "status": 400,
            "detail": first,
            "code": "VALIDATION_ERROR",
            "errors": [
                {"pointer": "/name", "detail": first},
                {"pointer": "/size", "detail": "Field 'size' expects type 'number', got 'string'"},
            ],
        },
    )


async def test_every_error_links_to_help(edge: Edge):
    async with edge.session.get(f"{edge.url}/open/taken") as answer:
        assert answer.status == 409
        assert answer.headers["Link"] == '</docs/errors#CONFLICT>; rel="help"'


async def test_an_error_after_the_head_aborts_the_connection(edge: Edge):
    answer = await edge.speak(request("GET", "/open/half"))
    assert answer.status == 200
    assert b"half of it" in answer.body
    assert b"CONFLICT" not in answer.body
    assert not answer.body.endswith(b"0\r\n\r\n"), "half of an answer looks like a whole one"
    assert answer.closed


async def test_a_connection_survives_errors(edge: Edge):
    opened: list[object] = []
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(_noting(opened))
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        caller = Caller(session, edge.url, edge.keyring.headers(identities.admin()))
        assert (await caller.get("/things/missing")).status == 404
        assert (await caller.post("/things", {"name": 1})).status == 400
        assert (await caller.post("/things", data=b"{", headers=JSON)).status == 400
        assert (await caller.delete("/things/a", headers={"X-Sigma-Identity": "x"})).status == 401
        assert (await caller.get("/things/a")).status == 200
    assert len(opened) == 1


def _noting(events: list[object]) -> Any:
    async def note(*event: object) -> None:
        events.append(event)

    return note


# How much.


async def test_a_body_that_says_it_is_too_large_is_not_awaited(edge: Edge):
    headers = {**edge.keyring.headers(identities.admin()), **JSON}
    head = request("POST", "/api/v1/things", {**headers, "Content-Length": str(1 << 40)})
    answer = await edge.speak(head)
    assert answer.told == TOO_LARGE
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
            assert answer.told == told


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
    first = asyncio.create_task(edge.app[OFFLOAD].run(None, may_end.wait, 1))
    await asyncio.sleep(0)
    body = orjson.dumps({"padding": "x" * LARGE_BYTES})
    answer = await edge.stranger.ask("POST", "/read", data=body, headers=JSON)
    assert answer.told == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
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
    assert small.told == (200, {"size": 0x7FFF})


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
    assert answer.told == (201, {"name": "in gzip", "size": 0})
    half = await edge.admin.post("/things", data=packed[:-8], headers=headers)
    assert half.told == error(400, "VALIDATION_ERROR", "Malformed gzip: the body ends too early")
    twice = gzip.compress(b'{"name": ') + gzip.compress(b'"two members"}')
    answer = await edge.admin.post("/things", data=twice, headers=headers)
    assert answer.told == (201, {"name": "two members", "size": 0})
    streamed = await edge.speak(request("POST", "/open/stream", headers, packed))
    assert streamed.told == (200, {"size": len(packed)})


async def test_a_bomb_in_gzip_is_not_unpacked(edge: Edge):
    packed = gzip.compress(b" " * (50 << 20))
    assert len(packed) < BODY_BYTES_MAX
    answer = await edge.admin.post(
        "/things", data=packed, headers={**JSON, "Content-Encoding": "gzip"}
    )
    assert answer.told == TOO_LARGE


async def test_more_connections_than_the_cap_are_told_to_come_back(start_edge: StartEdge):
    edge = await start_edge(connections_max=2, linger_s_max=0.2)
    taken = [socket.create_connection(("127.0.0.1", edge.port)) for _ in range(2)]
    await asyncio.sleep(0.05)
    answer = await edge.speak(request("GET", "/open"))
    assert answer.told == error(503, "SERVICE_UNAVAILABLE", "Too many connections")
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
    await asyncio.sleep(0.05)
    answer = await edge.speak(request("GET", "/open"))
    assert answer.told == error(503, "SERVICE_UNAVAILABLE", "Too many connections")
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
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


# How long.


async def test_a_deadline_cancels_the_handler(edge: Edge):
    answer = await edge.speak(request("GET", "/open/late", {"X-Sigma-Deadline": "50"}))
    assert answer.told == error(504, "UPSTREAM_TIMEOUT", "The request timed out")
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
    assert answer.told == error(
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
    assert answer.told == LATE_BODY
    assert answer.closed


async def test_a_body_that_trickles_in_is_given_up(start_edge: StartEdge):
    edge = await start_edge(body_idle_s_max=5.0, body_read_s_max=0.3)
    head = request("POST", "/open/stream", {"Content-Length": "1000"})
    with socket.create_connection(("127.0.0.1", edge.port)) as connection:
        connection.sendall(head)
        connection.settimeout(0.05)
        async with asyncio.timeout(5):
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
    edge = await start_edge(body_idle_s_max=0.1, body_read_s_max=0.1, body_bytes_max=10 << 20)
    slow = Routes(tag="Slow")

    @slow.post("/open/slow-reader", open=True)
    async def slow_reader(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.5)
        return web.Response(body=str(len(await request.read())).encode())

    edge = await start_edge(slow, body_idle_s_max=0.1, body_read_s_max=0.1, body_bytes_max=10 << 20)
    body = b"x" * (4 << 20)
    answer = await edge.speak(request("POST", "/open/slow-reader", {}, body), 10)
    assert (answer.status, answer.body) == (200, str(len(body)).encode())


async def test_an_idle_connection_is_closed(start_edge: StartEdge):
    edge = await start_edge(idle_s_max=0.2)
    for sent in (b"", request("GET", "/open", close=False)):
        answer = await edge.speak(sent)
        assert answer.closed
        assert answer.status == (200 if sent else 0)


async def test_an_answer_that_nobody_reads_is_given_up(start_edge: StartEdge):
    edge = await start_edge(answer_idle_s_max=0.2)
    with socket.create_connection(("127.0.0.1", edge.port)) as connection:
        connection.sendall(request("GET", "/open/flood"))
        await edge.begun()
        await asyncio.sleep(1)
        connection.settimeout(2)
        heard = await asyncio.to_thread(_read_all, connection)
    assert heard < 64 << 20, "the connection was still there"


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
    assert (answer.interim, answer.told) == ((), TOO_LARGE)


async def test_an_unknown_expectation_is_told(edge: Edge):
    headers = {**edge.keyring.headers(identities.admin()), **JSON, "Expect": "foo"}
    told = error(400, "VALIDATION_ERROR", "Expect 'foo' is not supported, expected '100-continue'")
    for path in ("/api/v1/things", "/api/v1/nothing"):
        answer = await edge.speak(request("POST", path, headers, b'{"name": "a"}'))
        assert answer.told == told


async def test_a_refusal_is_not_lost_with_what_nobody_read(edge: Edge):
    """A reset would reach the client before the answer does."""
    head = request("GET", "/open", {"X-Large": "a" * 9_000}, close=False)
    answer = await edge.speak(head + b"x" * (1 << 20))
    assert answer.status == 413
    assert answer.closed
    assert not answer.reset


# One handler for every address.


async def test_a_catch_all_takes_what_no_route_takes_and_names_it(start_edge: StartEdge):
    gateway = Routes(tag="")

    @gateway.catch_all()
    async def pass_on(request: web.Request) -> web.StreamResponse:
        name_route(request, "/passed-on")
        return web.Response(body=request.raw_path.encode())

    edge = await start_edge(gateway)
    headers = {"X-Sigma-Deadline": "0"}
    for method, path in (
        ("GET", "/anything?a=1"),
        ("DELETE", "/open"),
        ("POST", "/a/b/c"),
        ("GET", "/a%0ab"),
    ):
        answer = await edge.speak(request(method, path, headers))
        assert (answer.status, answer.body) == (200, path.encode())
    assert (await edge.stranger.get("/things/a")).told == MISSING
    metrics = await _internal(edge, "/metrics")
    assert 'sigma_http_requests_total{method="DELETE",route="/passed-on",status="200"}' in metrics


# The internal port.


async def _internal(edge: Edge, path: str, status: int = 200) -> str:
    async with edge.session.get(edge.served.internal_url + path) as answer:
        assert answer.status == status
        return await answer.text()


async def test_probes_and_metrics_are_on_the_internal_port_only(edge: Edge):
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await edge.admin.get(path)).status == 404
        await _internal(edge, path)
    async with edge.session.get(edge.served.internal_url + "/api/v1/things/a") as answer:
        told = (answer.status, await answer.json())
        assert told == error(404, "NOT_FOUND", "Route '/api/v1/things/a' not found")
    raw = await asyncio.to_thread(
        speak, "127.0.0.1", edge.served.internal_port, b"BREW / HTTP/1.1\r\n\r\n"
    )
    assert raw.headers["content-type"] == "application/json"
    assert raw.status == 400


async def test_readiness_follows_what_the_service_needs(edge: Edge):
    async def broken(_app: web.Application) -> None:
        raise OSError("connection to 10.0.0.7 refused")

    edge.app[READINESS].append(broken)
    told = await _internal(edge, "/readyz", 503)
    assert told == '{"error":"SERVICE_UNAVAILABLE","message":"Service unavailable"}'
    assert await _internal(edge, "/healthz") == '{"status":"ok"}'


async def test_metrics_tell_the_version_and_no_series_that_nobody_asks_for(edge: Edge):
    text = await _internal(edge, "/metrics")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'sigma_build_info{{version="{version}"}} 1.0' in text
    assert "_created" not in text


async def test_metrics_count_by_template_and_status(edge: Edge):
    for thing in ("a", "b", "missing"):
        await edge.admin.get(f"/things/{thing}")
    await edge.admin.get("/nothing/at/all")
    text = await _internal(edge, "/metrics")
    route = 'method="GET",route="/api/v1/things/{id}"'
    assert f'sigma_http_requests_total{{{route},status="200"}}' in text
    assert f'sigma_http_requests_total{{{route},status="404"}}' in text
    assert f'sigma_http_request_seconds_bucket{{le="+Inf",{route}}}' in text
    assert 'route="-",status="404"' in text
    assert "/things/a" not in text
    assert "sigma_http_requests_in_flight 0.0" in text
    assert "sigma_loop_lag_seconds" in text


# The end.


async def test_what_is_in_flight_is_finished_and_told_to_close(start_edge: StartEdge):
    edge = await start_edge()
    asked = asyncio.create_task(edge.speak(request("GET", "/open/short", close=False)))
    await edge.begun()
    edge.app[DRAINING].set()
    assert "Shutting down" in await _internal(edge, "/readyz", 503)
    assert (await edge.speak(request("GET", "/open", close=False))).headers["connection"] == "close"
    edge.app[GO_ON].set()
    answer = await asked
    assert answer.told == (200, {"finished": True})
    assert answer.headers["connection"] == "close"


async def test_a_refused_address_says_which_part_of_it_is_wrong(edge: Edge):
    caller = edge.as_(identities.admin())
    for address, where in (
        ("/things/a%00?page=1", "path"),
        ("/things?page=%00", "query"),
        ("/things?a?b=%00", "query"),
    ):
        assert (await caller.get(address)).told == error(
            400, "VALIDATION_ERROR", f"The {where} contains a NUL or an unencoded character"
        )
