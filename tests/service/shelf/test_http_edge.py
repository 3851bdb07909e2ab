"""What the edge does around every handler: who may, how long, how much, and how it is told."""

from __future__ import annotations

import asyncio
import tomllib
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from shared.http import (
    DRAINING,
    READINESS,
    Routes,
    name_route,
)
from shared.identity import ALL_PERMISSIONS, Identity, IdentitySigner
from tests.kit import identities
from tests.kit.raw_http import request, speak
from tests.kit.servers import ROOT
from tests.kit.sigma import Caller, error
from tests.service.shelf.edge import GO_ON, Edge, StartEdge

JSON = {"Content-Type": "application/json"}
MISSING = error(401, "UNAUTHORIZED", "Missing authentication")
DENIED = error(403, "PERMISSION_DENIED", "Permission denied")


# Who may.


@pytest.mark.parametrize(
    "path", ["/api/v1/things/a", "/api/v1/nothing", "/internal/things", "/api/v1/people-only"]
)
async def test_without_identity_everything_but_open_routes_is_401(edge: Edge, path: str):
    answer = await edge.stranger.get(path.removeprefix("/api/v1"))
    assert answer.outcome == MISSING
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_an_open_route_asks_nobody(edge: Edge):
    async with edge.session.get(f"{edge.url}/open") as answer:
        assert (answer.status, await answer.json()) == (200, {"open": True})


async def test_a_forged_identity_is_no_identity(edge: Edge):
    stranger_key = identities.new_signing_key("gateway")
    token = IdentitySigner.parse(stranger_key).sign(identities.admin())
    for forged in (token, "x", "", "a.b.c", token.replace(".", "..")):
        caller = edge.stranger.having({"X-Sigma-Identity": forged})
        assert (await caller.get("/things/a")).outcome == MISSING


async def test_an_api_key_needs_the_permission_of_the_route(edge: Edge):
    reader = edge.as_(identities.api_key(permissions=["read"]))
    assert (await reader.get("/things/a")).status == 200
    assert (await reader.post("/things", {"name": "a"})).outcome == DENIED
    assert (await reader.delete("/things/a")).outcome == DENIED
    writer = edge.as_(identities.api_key(permissions=["update-data", "delete-data"]))
    assert (await writer.get("/things/a")).outcome == DENIED
    assert (await writer.post("/things", {"name": "a"})).status == 201
    assert (await writer.delete("/things/a")).outcome == (204, None)


async def test_what_is_for_people_refuses_every_api_key(edge: Edge):
    assert (await edge.as_(identities.api_key()).get("/people-only")).outcome == DENIED
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
    assert (await service.get("/internal/things")).outcome == (200, {"caller": "gateway"})
    greedy = Identity("service", "gateway", "ws-test", permissions=ALL_PERMISSIONS)
    token = IdentitySigner.parse(edge.keyring.signing_key("gateway")).sign(greedy)
    for caller in (service, edge.stranger.having({"X-Sigma-Identity": token})):
        assert (await caller.get("/things/a")).outcome == DENIED
    assert (await edge.admin.get("/internal/things")).outcome == (200, {"caller": "user-admin"})


async def test_an_unknown_route_is_told_to_those_we_know(edge: Edge):
    assert (await edge.admin.get("/nothing")).outcome == error(
        404, "NOT_FOUND", "Route '/api/v1/nothing' not found"
    )


async def test_a_wrong_method_is_told_with_those_that_are_right(edge: Edge):
    answer = await edge.admin.put("/things", {})
    assert answer.outcome == error(
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
        assert answer.outcome == error(400, "VALIDATION_ERROR", first)
        assert answer.headers["Content-Type"] == "application/json"
    accept = "text/html;q=0, Application/Problem+JSON; q=0.5"
    answer = await edge.admin.post("/things", sent, headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.outcome == (
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
    assert (await edge.stranger.get("/things/a")).outcome == MISSING
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
    assert answer.outcome == (200, {"finished": True})
    assert answer.headers["connection"] == "close"


async def test_a_refused_address_says_which_part_of_it_is_wrong(edge: Edge):
    caller = edge.as_(identities.admin())
    for address, where in (
        ("/things/a%00?page=1", "path"),
        ("/things?page=%00", "query"),
        ("/things?a?b=%00", "query"),
    ):
        assert (await caller.get(address)).outcome == error(
            400, "VALIDATION_ERROR", f"The {where} contains a NUL or an unencoded character"
        )
