"""HTTP client for the API of one workspace; retries while the API is unavailable.

    async with Sigma(url, api_key) as sigma:
        record = await sigma.find("/records/ent-1")          # None where there is none
        await sigma.send("POST", "/records", body)           # raises Refused with what is wrong

What can pass by itself (429, 502, 503, 504, no connection, no answer in time) is tried again, after
`Retry-After` or a growing pause. A request whose answer was lost may be tried after it had taken
effect: whoever creates must be ready to find its own object there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

ANSWER_WITHIN_S = 30.0
PATIENCE_S = 120.0
FIRST_PAUSE_S = 0.25
PAUSE_S_MAX = 15.0

_PASSING = frozenset({429, 502, 503, 504})
_PREFIX = "/api/v1"
# Problem documents also say which part of the body is wrong.
_ACCEPT = "application/json, application/problem+json"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a body: where, as a JSON pointer, and what."""

    pointer: str
    message: str


class Refused(Exception):
    """The API's answer to a request that it understood and does not grant."""

    def __init__(
        self, status: int, code: str, message: str, faults: tuple[Fault, ...] = ()
    ) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code
        self.message = message
        self.faults = faults


class Denied(Refused):
    """The key lacks a permission; or, on an existing record, its state makes a value read-only."""

    def __str__(self) -> str:
        return f"{self.message}. The API key needs the permissions read, update-data, update-model"


class CannotGoOn(Exception):
    """No further request can succeed: the API is away for long, or does not let this key in."""


@dataclass(frozen=True, slots=True)
class Found:
    """A resource and the version of it that was read."""

    body: Any
    tag: str | None


class Sigma:
    """One API key at one address; safe to use by many tasks at once."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        connections: int = 8,
        patience_s: float = PATIENCE_S,
        answer_within_s: float = ANSWER_WITHIN_S,
        pause: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"X-Sigma-ApiKey": api_key, "Accept": _ACCEPT}
        self._connections = connections
        self._patience_s = patience_s
        self._answer_within_s = answer_within_s
        self._pause = pause
        self._session: aiohttp.ClientSession | None = None
        self.retries = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=self._answer_within_s),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Any:
        """The body of what is there."""
        return (await self._ask("GET", path, None, {})).body

    async def find(self, path: str) -> Found | None:
        """What is there, or None."""
        try:
            return await self._ask("GET", path, None, {})
        except Refused as refusal:
            if refusal.status == 404:  # noqa: PLR2004  what the method is about
                return None
            raise

    async def send(
        self, method: str, path: str, body: Mapping[str, Any], *, tag: str | None = None
    ) -> Any:
        """The body of the answer; `tag` refuses a version other than the one that was read."""
        headers = {"Content-Type": "application/json"}
        if tag is not None:
            headers["If-Match"] = tag
        return (await self._ask(method, path, orjson.dumps(body), headers)).body

    async def _ask(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> Found:
        """Ask until there is an answer that more asking would not change."""
        waited_s, pause_s = 0.0, FIRST_PAUSE_S
        while True:
            why, wait_s = await self._ask_once(method, path, data, headers)
            if isinstance(why, Found):
                return why
            wait_s = max(wait_s, pause_s)
            if waited_s + wait_s > self._patience_s:
                raise CannotGoOn(
                    f"{self._url} gave no valid answer for {waited_s:.0f} s"
                    f" ({method} {path}: {why}). Run again when it is available: nothing is"
                    f" imported twice"
                )
            self.retries += 1
            await self._pause(wait_s)
            waited_s += wait_s
            pause_s = min(pause_s * 2, PAUSE_S_MAX)

    async def _ask_once(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Found | str, float]:
        """The answer, or why there is none yet and how long the API asks to wait."""
        assert self._session is not None, "Sigma is used outside of `async with`"
        try:
            async with self._session.request(
                method, f"{self._url}{_PREFIX}{path}", data=data, headers=headers
            ) as response:
                raw = await response.read()
        except TimeoutError:
            return f"no answer within {self._answer_within_s:g} s", 0.0
        except aiohttp.ClientConnectionError as error:
            return str(error) or "the connection broke", 0.0
        except aiohttp.ClientPayloadError:
            return "the connection broke during the answer", 0.0
        except aiohttp.ClientError as error:
            raise CannotGoOn(f"{self._url} does not answer with valid HTTP: {error}") from error
        if response.status in _PASSING:
            return f"{response.status} {response.reason}", _seconds(response)
        body = _parsed(raw)
        if response.ok and body is not None:
            return Found(body, response.headers.get("ETag")), 0.0
        raise _refusal(response, body, self._url)


def _seconds(response: aiohttp.ClientResponse) -> float:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else 0.0


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _refusal(response: aiohttp.ClientResponse, body: Any, url: str) -> Exception:
    envelope = body if isinstance(body, dict) else {}
    code = envelope.get("code", envelope.get("error"))
    message = envelope.get("detail", envelope.get("message"))
    if not isinstance(code, str) or not isinstance(message, str):
        return CannotGoOn(
            f"{url} answered {response.status} without the two fields of an API error. Check"
            f" that this is the URL of the API"
        )
    if response.status == 401:  # noqa: PLR2004  the key, for every request
        return CannotGoOn(f"the API key is not accepted: {message}")
    kind = Denied if code == "PERMISSION_DENIED" else Refused
    return kind(response.status, code, message, tuple(_faults(envelope.get("errors"))))


def _faults(errors: Any) -> list[Fault]:
    return [
        Fault(str(error.get("pointer", "")), str(error.get("detail", "")))
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, dict)
    ]
