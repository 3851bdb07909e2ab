"""Requests to a target: in JSON, patient with one that asks for time, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson
from aiohttp import hdrs, web

from workflow_service.connectors.model import BUSY_S_MAX, WAIT_S_MAX, TargetBusy, TargetFailed
from workflow_service.outbound.addresses import OutboundFailed, RefusedAddress, Unresolved
from workflow_service.outbound.client import OUTBOUND

TIMEOUT_S: Final = 30.0
PAUSES_S: Final = (0.3, 1.0)
"""Before a request is sent again."""
RETRY_AFTER_DEFAULT_S: Final = 2.0
THROTTLED_MAX: Final = 8
"""How often one request waits because the target asks for it (429)."""
DETAIL_LENGTH_MAX: Final = 500
_READ_FOR_DETAIL: Final = 64 << 10
"""More than is shown: a secret that stands across the end of that is still known as one."""
ANSWER_BYTES_MAX: Final = 1 << 20
HIDDEN: Final = "********"
SECRET_LENGTH_MIN: Final = 6
"""Shorter words are in many texts by chance."""
_THROTTLED: Final = 429
_AWAY: Final = 503
_FAILURES_BEGIN: Final = 500


class Unanswered(Exception):
    """A request that has no answer, though it may have been carried out; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the target answered."""

    status: int
    body: bytes
    is_cut: bool = False

    secrets: Sequence[str] = field(default=(), repr=False)
    """What was sent and must not be shown, also where the target repeats it."""

    @property
    def text(self) -> str:
        """Its beginning, without secrets."""
        text = self.body[:_READ_FOR_DETAIL].decode(errors="replace")
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text[:DETAIL_LENGTH_MAX]

    def json(self) -> Any:
        """Its content, None if that is no JSON or was too large."""
        try:
            return None if self.is_cut else orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


class Target:
    """One target, with the headers that each request to it has."""

    def __init__(
        self,
        app: web.Application,
        headers: Mapping[str, str],
        check: Callable[[], Awaitable[None]],
    ) -> None:
        """`check`: awaited before each request; what it raises keeps that from being sent."""
        self._app = app
        self._check = check
        self._headers = headers
        self._secrets = _words(headers.values())

    async def ask(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        again: bool,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> Answer:
        """The answer. `again` says that sending it twice does what sending it once does.

        Raises `TargetFailed` where the target cannot be reached, or asks to wait too long or too
        often, `TargetBusy` where it asks to wait for more than some seconds, and `Unanswered` where
        what may be sent once only has no answer.
        """
        sent = {hdrs.ACCEPT: "application/json", **self._headers, **(headers or {})}
        data = None
        if body is not None:
            data = orjson.dumps(body)
            sent[hdrs.CONTENT_TYPE] = "application/json"
        throttled = 0
        pauses = iter(PAUSES_S)
        while True:
            await self._check()
            try:
                async with self._app[OUTBOUND].request(
                    method,
                    url,
                    headers=sent,
                    data=data,
                    timeout_s=TIMEOUT_S,
                    answer_bytes_max=answer_bytes_max,
                ) as answer:
                    found = Answer(answer.status, answer.body, answer.is_cut, self._secrets)
                    asked = answer.headers.get(hdrs.RETRY_AFTER)
            except OutboundFailed as error:
                pause_s = next(pauses, None)
                is_hopeless = isinstance(error, (RefusedAddress, Unresolved))
                if not (again or error.is_unsent):
                    raise Unanswered(str(error)) from None
                if is_hopeless or pause_s is None:
                    raise TargetFailed(str(error)) from None
                await asyncio.sleep(pause_s or 0)
                continue
            if found.status == _THROTTLED:
                throttled += 1
                await asyncio.sleep(_throttled_s(asked, throttled))
                continue
            if found.status == _AWAY or (again and found.status >= _FAILURES_BEGIN):
                wait_s = _away_s(found.status, asked)
                pause_s = next(pauses, None)
                if pause_s is not None:
                    await asyncio.sleep(max(pause_s, wait_s))
                    continue
            return found


def _throttled_s(asked: str | None, times: int) -> float:
    """How long to wait after a 429; raises `TargetBusy` or `TargetFailed`."""
    wait_s = retry_after_s(asked)
    message = f"The target asks to wait (429) for {wait_s:.0f} seconds"
    if times > THROTTLED_MAX or wait_s > BUSY_S_MAX:
        raise TargetFailed(f"{message}, time {times} in a row for one request")
    if wait_s > WAIT_S_MAX:
        raise TargetBusy(message, wait_s)
    return wait_s


def _away_s(status: int, asked: str | None) -> float:
    """How long to wait at least after a failure; raises `TargetBusy`."""
    wait_s = 0.0 if asked is None else min(retry_after_s(asked), BUSY_S_MAX)
    if wait_s > WAIT_S_MAX:
        raise TargetBusy(f"The target asks to wait ({status}) for {wait_s:.0f} seconds", wait_s)
    return wait_s


def _words(texts: Iterable[str]) -> Sequence[str]:
    """The texts and the words in them, the longest first: of `Bearer x`, `x` is the secret."""
    found = {word for text in texts for word in (text.strip(), *text.split())}
    return sorted((each for each in found if len(each) >= SECRET_LENGTH_MIN), key=len, reverse=True)


def retry_after_s(header: str | None) -> float:
    """The seconds that a `Retry-After` asks for: a number, or a time (RFC 9110, 10.2.3)."""
    if header is None:
        return RETRY_AFTER_DEFAULT_S
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return RETRY_AFTER_DEFAULT_S
