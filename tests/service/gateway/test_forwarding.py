"""What a service gets to see of a request, and what the client gets back."""

from __future__ import annotations

import gzip
import io
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.process import tracing
from tests.kit.sigma import error
from tests.service.gateway.system import (
    API_KEY,
    System,
    names_of,
    parsed,
    raw,
    request_bytes,
    value_of,
)

UNREADABLE = error(
    400, "VALIDATION_ERROR", "The path contains characters or segments that are not allowed"
)


async def seen(system: System, payload: bytes):
    """What the service received of this request."""
    status, _, _ = parsed(await raw(system.gateway.url, payload))
    assert status == 200
    return system.echo.received[-1]


async def test_a_request_arrives_as_it_was_sent(system: System):
    target = "/api/v1/records/ent-1/values/%C3%A6?x=%2F&y=a+b&&z"
    told = await seen(
        system,
        request_bytes(
            target,
            method="PATCH",
            headers=[
                ("Content-Type", "application/json; charset=utf-8"),
                ("If-Match", '"7"'),
                ("Accept", "application/problem+json"),
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                ("X-Something", "one"),
                ("X-Something", "two"),
                ("Content-Length", "7"),
            ],
            body=b'{"a":1}',
        ),
    )
    assert (told["method"], told["target"], told["body"]) == ("PATCH", target, '{"a":1}')
    assert [value for name, value in told["headers"] if name == "X-Something"] == ["one", "two"]
    for name, value in (
        ("Content-Type", "application/json; charset=utf-8"),
        ("If-Match", '"7"'),
        ("Accept", "application/problem+json"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Content-Length", "7"),
    ):
        assert value_of(told, name) == value
    assert value_of(told, "Host") == system.urls["records_url"].removeprefix("http://")
    assert 0 < int(value_of(told, "X-Sigma-Deadline")) <= 30_000


FORGED = [
    ("X-Sigma-Identity", "forged"),
    ("x_sigma_identity", "forged"),
    ("X-Sigma_Identity", "forged"),
    ("X_SIGMA-IDENTITY", "forged"),
    ("X-Sigma-Workspace", "forged"),
    ("X-Sigma-Deadline", "1"),
    ("X-Sigma-Peer", "203.0.113.7"),
    ("x_sigma_deadline", "1"),
    ("Authorization_", "forged"),
]


async def test_no_identity_header_of_the_client_arrives(system: System):
    told = await seen(system, request_bytes(headers=FORGED))
    assert names_of(told).count("x-sigma-identity") == 1
    assert system.identity_in(told).id == "apikey-all"
    assert sorted(name for name in names_of(told) if "sigma" in name) == [
        "x-sigma-deadline",
        "x-sigma-identity",
    ]
    assert int(value_of(told, "X-Sigma-Deadline")) > 1


async def test_no_identity_header_of_the_client_arrives_at_an_open_address(system: System):
    payload = request_bytes(
        "/api/v1/auth/login", method="POST", headers=[*FORGED, ("Content-Length", "0")], key=None
    )
    told = await seen(system, payload)
    assert sorted(name for name in names_of(told) if "sigma" in name) == [
        "x-sigma-deadline",
        "x-sigma-peer",
    ]
    assert value_of(told, "X-Sigma-Peer") == "127.0.0.1"


async def test_behind_a_trusted_proxy_the_peer_is_whom_it_names(system: System):
    gateway = await system.another(trusted_hops=1)
    payload = request_bytes(
        "/api/v1/auth/login",
        method="POST",
        headers=[("X-Forwarded-For", "198.51.100.1, 192.0.2.1"), ("Content-Length", "0")],
        key=None,
    )
    await raw(gateway.url, payload)
    assert value_of(system.echo.received[-1], "X-Sigma-Peer") == "192.0.2.1"


async def test_what_connection_names_is_dropped_and_what_the_gateway_adds_is_not(system: System):
    told = await seen(
        system,
        request_bytes(
            headers=[
                ("Connection", "X-Sigma-Identity, x-secret"),
                ("Connection", "X-Request-Id,X-Forwarded-For, content-length"),
                ("X-Secret", "1"),
                ("X_Secret", "2"),
                ("Keep-Alive", "timeout=5"),
                ("TE", "trailers"),
                ("Upgrade", "h2c"),
                ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
                ("Proxy-Authorization", "Basic dTpw"),
                ("Proxy-Connection", "keep-alive"),
                ("Trailer", "X-Late"),
            ]
        ),
    )
    assert system.identity_in(told).id == "apikey-all"
    assert sorted(names_of(told)) == [
        "host",
        "x-forwarded-for",
        "x-request-id",
        "x-sigma-deadline",
        "x-sigma-identity",
    ]


async def test_credentials_stay_at_the_door(system: System):
    told = await seen(
        system,
        request_bytes(headers=[("Cookie", "session=1"), ("x_sigma_apikey", API_KEY)]),
    )
    assert not {"authorization", "cookie", "x-sigma-apikey", "x_sigma_apikey"} & set(names_of(told))
    assert API_KEY not in str(told)
    person = (await system.person().get("/records")).ok()
    assert "authorization" not in names_of(person)


async def test_the_chain_of_addresses_grows_by_the_peer(system: System):
    told = await seen(system, request_bytes())
    assert value_of(told, "X-Forwarded-For") == "127.0.0.1"
    told = await seen(
        system,
        request_bytes(
            headers=[("X-Forwarded-For", "203.0.113.7"), ("x-forwarded-for", "2001:db8::1")]
        ),
    )
    assert value_of(told, "X-Forwarded-For") == "203.0.113.7, 2001:db8::1, 127.0.0.1"
    told = await seen(system, request_bytes(headers=[("X-Forwarded-For", "<script>")]))
    assert value_of(told, "X-Forwarded-For") == "127.0.0.1"


async def test_the_span_of_this_hop_stands_between_the_clients_and_the_services(
    system: System, monkeypatch: pytest.MonkeyPatch
):
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    monkeypatch.setattr(tracing, "_tracer", TracerProvider().get_tracer("test"))
    monkeypatch.setattr(tracing, "_propagator", TraceContextTextMapPropagator())
    monkeypatch.setattr(tracing, "enabled", True)
    told = await seen(
        system, request_bytes(headers=[("traceparent", f"00-{trace_id}-{parent}-01")])
    )
    version, same_trace, span, sampled = value_of(told, "traceparent").split("-")
    assert (version, same_trace, sampled) == ("00", trace_id, "01")
    assert span != parent


async def test_the_clients_request_id_is_kept_when_it_is_harmless(system: System):
    answer = await system.program().get("/records", headers={"X-Request-Id": "order-4711_a.b"})
    assert answer.headers.getall("X-Request-Id") == ["order-4711_a.b"]
    assert value_of(answer.ok(), "X-Request-Id") == "order-4711_a.b"
    answer = await system.program().get("/records", headers={"X-Request-Id": "a b; DROP"})
    (made,) = answer.headers.getall("X-Request-Id")
    assert made.isalnum()
    assert value_of(answer.ok(), "X-Request-Id") == made


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/dimensions/..%2fapi-keys",
        "/api/v1/dimensions/..%2Fapi-keys",
        "/api/v1/dimensions/../api-keys",
        "/api/v1/dimensions/%2e%2e/api-keys",
        "/api/v1/dimensions/.%2e/api-keys",
        "/api/v1/dimensions//api-keys",
        "//api/v1/dimensions",
        "/api/v1/auth/../api-keys",
        "/api/v1/auth/..%2fapi-keys",
        "/api/v1/auth/%2e%2e%2fapi-keys",
        "/api/v1/auth/..\\api-keys",
        "/api/v1/auth/..%5capi-keys",
        "/api/v1/auth/%252e%252e/api-keys",
        "/api/v1/auth/..;/api-keys",
        "/api/v1/auth/login%00",
    ],
)
async def test_no_address_is_one_thing_here_and_another_there(system: System, target: str):
    for key in (API_KEY, None):
        status, _, body = parsed(await raw(system.gateway.url, request_bytes(target, key=key)))
        assert status == 400, body
        assert b'"error":"VALIDATION_ERROR"' in body
    assert system.echo.received == []


async def test_an_absolute_address_is_read_as_the_path_it_holds(system: System):
    told = await seen(system, request_bytes("http://elsewhere/api/v1/records/ent-1?x"))
    assert told["target"] == "/api/v1/records/ent-1?x"
    status, _, _ = parsed(
        await raw(system.gateway.url, request_bytes("http://elsewhere/api/v1/auth/../api-keys"))
    )
    assert status == 400


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_any_size_arrives_whole(system: System, size: int, chunked: bool):
    body = bytes(n % 251 for n in range(1_000)) * (size // 1_000 + 1)
    body = body[:size]

    async def answer(request: web.Request) -> web.StreamResponse:
        received = await request.read()
        return web.json_response({"same": received == body, "size": len(received)})

    system.echo.answer = answer

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 70_000):
            yield body[start : start + 70_000]

    session = system.program()._session
    async with session.post(
        f"{system.gateway.url}/api/v1/records",
        data=pieces() if chunked else io.BytesIO(body),
        headers={"X-Sigma-ApiKey": API_KEY},
    ) as response:
        assert await response.json() == {"same": True, "size": size}


async def test_a_compressed_body_is_handed_on_as_it_is(system: System):
    body = gzip.compress(b'{"a":1}')
    answer = await system.program().ask(
        "POST", "/records", data=body, headers={"Content-Encoding": "gzip"}
    )
    told = answer.ok()
    assert value_of(told, "Content-Encoding") == "gzip"
    assert told["size"] == 7  # Unpacked by the service played here, from what it was given.


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_a_body_is_refused(system: System, chunked: bool):
    gateway = await system.another(body_bytes_max=200_000)
    expected = error(413, "PAYLOAD_TOO_LARGE", "Request body exceeds 200000 bytes")
    if chunked:
        body = b"".join(b"10000\r\n" + b"x" * 65_536 + b"\r\n" for _ in range(5)) + b"0\r\n\r\n"
        payload = request_bytes(
            method="POST", headers=[("Transfer-Encoding", "chunked")], body=body
        )
    else:
        payload = request_bytes(method="POST", headers=[("Content-Length", "200001")])
    status, _, body = parsed(await raw(gateway.url, payload))
    assert (status, body.decode()) == (413, _json(expected[1]))


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_login_of_more_than_16_kib_never_reaches_the_service(system: System, chunked: bool):
    body = b'{"email": "a"}'.ljust(16_385)
    headers = [("Content-Length", str(len(body)))]
    if chunked:
        headers = [("Transfer-Encoding", "chunked")]
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    payload = request_bytes("/api/v1/auth/login", method="POST", headers=headers, body=body)
    status, _, told = parsed(await raw(system.gateway.url, payload))
    expected = error(413, "PAYLOAD_TOO_LARGE", "Request body exceeds 16384 bytes")
    assert (status, told.decode()) == (413, _json(expected[1]))
    assert system.echo.received == []


def _json(envelope: dict[str, str]) -> str:
    return f'{{"error":"{envelope["error"]}","message":"{envelope["message"]}"}}'


async def test_a_malformed_chunk_is_the_clients_fault(system: System):
    payload = request_bytes(
        method="POST",
        headers=[("Transfer-Encoding", "chunked")],
        body=b"5\r\nhello\r\nzz\r\nnonsense\r\n",
    )
    status, _, body = parsed(await raw(system.gateway.url, payload))
    assert status == 400
    assert b'"error":"VALIDATION_ERROR"' in body
    # The connection that carried the half is gone: the next request is not mixed up with it.
    assert (await system.program().get("/records/ent-2")).ok()["target"] == "/api/v1/records/ent-2"


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("Transfer-Encoding", "chunked, identity")],
        [("Transfer-Encoding", "xchunked")],
        [("Content-Length", "+5")],
        [("Host", "two")],
        [("X-Bad ", "space before colon")],
    ],
)
async def test_no_second_request_hides_in_a_body(system: System, headers: list[tuple[str, str]]):
    hidden = b"0\r\n\r\nGET /api/v1/api-keys HTTP/1.1\r\nHost: x\r\n\r\n"
    status, _, _ = parsed(
        await raw(system.gateway.url, request_bytes(method="POST", headers=headers, body=hidden))
    )
    assert status == 400
    assert system.echo.received == []
