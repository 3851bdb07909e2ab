"""The API as a test speaks it: a caller with verbs, and whole answers to compare."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from multidict import CIMultiDict, CIMultiDictProxy

PREFIX = "/api/v1"
_OUTSIDE_THE_API = ("/api/", "/internal/", "/healthz", "/readyz", "/metrics", "/docs")
_NOTHING: Any = object()
_PIECE_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The body is parsed; None when it is empty, text when it is not JSON."""

    status: int
    body: Any
    headers: CIMultiDictProxy[str]

    @property
    def outcome(self) -> tuple[int, Any]:
        """Status and body, to compare an answer as a whole."""
        return self.status, self.body

    def ok(self) -> Any:
        """The body of a success; `AssertionError` with the whole answer otherwise."""
        assert 200 <= self.status < 300, f"{self.status} {self.body}"
        return self.body


def error(status: int, code: str, message: str) -> tuple[int, dict[str, str]]:
    """The whole answer that an error is, to compare with `answer.outcome`."""
    return status, {"error": code, "message": message}


class Caller:
    """One credential at one address. `/records` means `/api/v1/records`; other roots are kept."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._session = session
        self.url = url.rstrip("/")
        self.headers = dict(headers or {})

    def at(self, url: str) -> Caller:
        """The same credential at another address, such as a second gateway."""
        return Caller(self._session, url, self.headers)

    def having(self, headers: Mapping[str, str]) -> Caller:
        """The same credential with more headers on every request."""
        return Caller(self._session, self.url, {**self.headers, **headers})

    async def ask(
        self,
        method: str,
        path: str,
        json: Any = _NOTHING,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. `json` is sent as JSON, `data` as it stands."""
        sent = CIMultiDict({**self.headers, **(headers or {})})
        if json is not _NOTHING:
            data = orjson.dumps(json)
            sent.setdefault("Content-Type", "application/json")
        root = "" if path == "/" or path.startswith(_OUTSIDE_THE_API) else PREFIX
        async with self._session.request(
            method,
            f"{self.url}{root}{path}",
            # aiohttp wants to write large bodies piece by piece.
            data=data if data is None or len(data) <= _PIECE_BYTES_MAX else io.BytesIO(data),
            headers=sent,
            params=params,
            allow_redirects=False,
        ) as response:
            body = _parsed(response, await response.read())
            return Answer(response.status, body, response.headers)

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, json: Any = _NOTHING, **more: Any) -> Answer:
        return await self.ask("POST", path, json, **more)

    async def put(self, path: str, json: Any = _NOTHING, **more: Any) -> Answer:
        return await self.ask("PUT", path, json, **more)

    async def patch(self, path: str, json: Any = _NOTHING, **more: Any) -> Answer:
        return await self.ask("PATCH", path, json, **more)

    async def delete(self, path: str, **more: Any) -> Answer:
        return await self.ask("DELETE", path, **more)


def _parsed(response: aiohttp.ClientResponse, raw: bytes) -> Any:
    if not raw:
        return None
    if response.content_type == "application/json" or response.content_type.endswith("+json"):
        return orjson.loads(raw)
    return raw.decode("utf-8", "replace")
