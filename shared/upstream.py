"""Asks another service in the caller's name, and raises what it answered as it was meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from shared.errors import InternalError, ServiceUnavailable, UpstreamTimeout, from_envelope
from shared.identity import IDENTITY_HEADER
from shared.web import DEADLINE_HEADER, REQUEST_ID_HEADER, request_id_of, seconds_left

ANSWER_BYTES_MAX = 32 << 20
TIMEOUT_S = 10.0
CONNECTIONS_MAX = 64


class Upstream:
    """One other service."""

    def __init__(
        self, base_url: str, name: str, session: aiohttp.ClientSession, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._name = name
        self._session = session
        self._timeout_s = timeout_s

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        request: web.Request | None = None,
        identity_token: str | None = None,
    ) -> Any:
        """The parsed answer, None for 204.

        Passes on the caller's identity, request id, trace and what is left of the deadline. Raises
        the error that the service answered; `ServiceUnavailable` when it cannot be reached,
        `UpstreamTimeout` when it does not answer in time.
        """
        headers = {"Accept": "application/json"}
        timeout_s = self._timeout_s
        if request is not None:
            headers[REQUEST_ID_HEADER] = request_id_of(request)
            for name in (IDENTITY_HEADER, "traceparent", "tracestate"):
                if name in request.headers:
                    headers[name] = request.headers[name]
            left = seconds_left(request)
            if left is not None:
                timeout_s = min(timeout_s, left)
        if identity_token is not None:
            headers[IDENTITY_HEADER] = identity_token
        if timeout_s <= 0:
            raise UpstreamTimeout
        headers[DEADLINE_HEADER] = str(int(timeout_s * 1000))
        data = None
        if json is not None:
            data = orjson.dumps(json)
            headers["Content-Type"] = "application/json"
        try:
            async with asyncio.timeout(timeout_s):
                async with self._session.request(
                    method, self._base_url + path, data=data, headers=headers
                ) as answer:
                    body = await answer.content.read(ANSWER_BYTES_MAX)
                    status, told = answer.status, answer.headers
        except TimeoutError:
            raise UpstreamTimeout from None
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceUnavailable from error
        try:
            parsed = orjson.loads(body) if body else None
        except orjson.JSONDecodeError:
            raise InternalError from None
        if status >= 400:  # noqa: PLR2004 - where errors begin
            raise from_envelope(status, parsed, told)
        return parsed


def upstream(
    key: web.AppKey[Upstream], url: str, name: str
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Keep connections to another service under `app[key]` while this one runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=15)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=2),
        ) as session:
            app[key] = Upstream(url, name, session)
            yield

    return opened
