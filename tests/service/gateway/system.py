"""A gateway with services that the test plays: one that echoes, one that knows identities."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from gateway.app import create_app
from gateway.config import GatewayConfig
from gateway.gateway import GATEWAY_KEY, Gateway
from shared.identity import ALL_PERMISSIONS, IDENTITY_HEADER, Identity, IdentityVerifier
from shared.identity.tokens import Claims, TokenKeys
from tests.kit.identities import Keyring
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller

TOKEN_KEYS = f"test={base64.b64encode(b't' * 32).decode()}"
API_KEY = "sigma_sk_live_aaaaaaaaaaaaaaaaaa"
READER_KEY = "sigma_sk_live_rrrrrrrrrrrrrrrrrr"


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def key_identity(name: str, permissions: Any = ALL_PERMISSIONS) -> dict[str, Any]:
    return {
        "kind": "api_key",
        "id": name,
        "workspaceId": "ws-1",
        "roleId": None,
        "roleVersion": 0,
        "flags": [],
        "permissions": sorted(permissions),
        "recordLimit": 500,
    }


class AuthService:
    """`POST /internal/identities`, as auth_service answers it."""

    def __init__(self, keyring: Keyring) -> None:
        self._verifier = keyring.public
        self.known: dict[str, dict[str, Any]] = {
            hash_of(API_KEY): key_identity("apikey-all"),
            hash_of(READER_KEY): key_identity("apikey-reader", ["read"]),
            "user-1": {
                "kind": "user",
                "id": "user-1",
                "workspaceId": "ws-1",
                "roleId": "role-editor",
                "roleVersion": 3,
                "flags": ["canExport"],
                "permissions": sorted(ALL_PERMISSIONS),
                "recordLimit": 500,
            },
        }
        self.asked: list[dict[str, Any]] = []
        self.request_ids: list[str] = []
        self.pause_s = 0.0
        self.held: asyncio.Event | None = None
        """Until it is set, nothing is answered."""
        self.app = web.Application()
        self.app.router.add_post("/internal/identities", self._identity)

    async def _identity(self, request: web.Request) -> web.Response:
        question = await request.json()
        self.asked.append(question)
        self.request_ids.append(request.headers["X-Request-Id"])
        assert IDENTITY_HEADER in request.headers
        known = self.known.get(question.get("apiKeyHash") or question.get("userId"))
        await asyncio.sleep(self.pause_s)
        if self.held is not None:
            await self.held.wait()
        if known is None:
            message = "Invalid API key" if "apiKeyHash" in question else "Invalid or expired token"
            return web.json_response({"error": "UNAUTHORIZED", "message": message}, status=401)
        return web.json_response(known)


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Echo:
    """Any other service: tells what it received, unless `answer` says otherwise."""

    def __init__(self) -> None:
        self.answer: Answering | None = None
        self.received: list[dict[str, Any]] = []
        self.app = web.Application(client_max_size=1 << 30)
        self.app.router.add_route("*", "/{path:.*}", self._handle)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.answer is not None:
            return await self.answer(request)
        body = await request.read()
        told = {
            "method": request.method,
            "target": request.raw_path,
            "headers": [
                [name.decode(), value.decode("utf-8", "surrogateescape")]
                for name, value in request.raw_headers
            ],
            "size": len(body),
            "body": body[:1_000].decode("latin-1"),
        }
        self.received.append(told)
        return web.Response(body=orjson.dumps(told), content_type="application/json")


def names_of(told: Mapping[str, Any]) -> list[str]:
    return [name.lower() for name, _ in told["headers"]]


def value_of(told: Mapping[str, Any], name: str) -> str:
    (value,) = [value for known, value in told["headers"] if known.lower() == name.lower()]
    return str(value)


class System:
    """The system under test: a running gateway and the services behind it."""

    def __init__(self, services: Services, keyring: Keyring) -> None:
        self.services = services
        self.keyring = keyring
        self.auth = AuthService(keyring)
        self.echo = Echo()
        self.auth.app.router.add_route("*", "/{path:.*}", self.echo._handle)
        self.urls: dict[str, str] = {}
        # What a service that never answers waits for.
        self.over = asyncio.Event()
        self.gateway: RunningService

    async def open(self) -> System:
        self.urls["auth_url"] = await self.services.serve(self.auth.app)
        self.urls["records_url"] = self.urls["workflow_url"] = await self.services.serve(
            self.echo.app
        )
        self.gateway = await self.another()
        return self

    async def another(self, **settings: Any) -> RunningService:
        """One more gateway, with other settings if given."""
        config = {"token_keys": TOKEN_KEYS, **self.urls, **settings}
        return await self.services.start(create_app, GatewayConfig, **config)

    def gate(self, gateway: RunningService | None = None) -> Gateway:
        return (gateway or self.gateway).app[GATEWAY_KEY]

    def caller(self, gateway: RunningService | None = None, **headers: str) -> Caller:
        return (
            (gateway or self.gateway)
            .stranger()
            .having({name.replace("_", "-"): value for name, value in headers.items()})
        )

    def program(self, gateway: RunningService | None = None, key: str = API_KEY) -> Caller:
        return self.caller(gateway, X_Sigma_ApiKey=key)

    def person(self, gateway: RunningService | None = None) -> Caller:
        return self.caller(gateway, Authorization=f"Bearer {token()}")

    def identity_in(self, told: Mapping[str, Any]) -> Identity:
        return IdentityVerifier.parse(self.keyring.public).verify(value_of(told, IDENTITY_HEADER))


def token(*, user: str = "user-1", issued_s_ago: float = 0, keys: str = TOKEN_KEYS) -> str:
    claims = Claims.new(user, "ws-1", "role-editor", now=time.time() - issued_s_ago)
    return TokenKeys.parse(keys).sign(claims)


async def raw(url: str, payload: bytes, *, half_close: bool = False, within_s: float = 30) -> bytes:
    """Send these bytes and read until the other side closes, or says no more for a while."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(payload)
    if half_close:
        writer.write_eof()
    try:
        async with asyncio.timeout(within_s):
            return await reader.read(-1)
    finally:
        writer.transport.abort()


def request_bytes(
    target: str = "/api/v1/records/ent-1",
    *,
    method: str = "GET",
    headers: list[tuple[str, str]] | None = None,
    body: bytes = b"",
    key: str | None = API_KEY,
) -> bytes:
    """A request as it goes over the wire; closes after the answer."""
    lines = [f"{method} {target} HTTP/1.1", "Host: gateway", "Connection: close"]
    if key is not None:
        lines.append(f"X-Sigma-ApiKey: {key}")
    lines += [f"{name}: {value}" for name, value in headers or []]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, body with chunks left as they are."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), {name.lower(): value for name, value in headers.items()}, body
