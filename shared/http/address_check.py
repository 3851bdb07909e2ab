"""Checks at start whether the configured addresses lead to the right services.

Every service returns its name at `/internal/service`, on both of its ports and without a
credential. Without this check, an address of the internal port, of another service or of another
program would be noticed only by clients (404 for everything). A service that is unreachable is
asked again until it answers, so services can start in any order. A wrong one is logged once, makes
`/readyz` return 503 with the name of the variable, and is asked again, because the mistake may be
corrected on its side.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import orjson
import structlog
from aiohttp import web

from shared.errors import ServiceUnavailable
from shared.http import INTERNAL, INTRODUCTION_PATH, READINESS

log = structlog.get_logger(__name__)

ASK_AGAIN_S: Final = 2.0
ANSWER_WITHIN_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 4096
_AWAY_STATUSES: Final = range(500, 600)
_DOES_NOT_SAY: Final = (401, 403)
"""The answer of older versions without `/internal/service`; they occur during a rollout."""


class Away(Exception):
    """The service is unreachable, or a proxy in front of it says so."""


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """A service that is expected at an address, and the variable that contains the address."""

    variable: str
    url: str
    service: str

    @property
    def place(self) -> str:
        """The address without a name or a password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def check_addresses(*expected: ServiceAddress) -> Callable[[web.Application], AsyncIterator[None]]:
    """Check all of them while the service starts; ready only if none is wrong."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        wrong: dict[str, str] = {}

        async def ready(_app: web.Application) -> None:
            for complaint in wrong.values():
                raise ServiceUnavailable(complaint)

        app[READINESS].append(ready)
        asking = [asyncio.create_task(_ask_until_right(one, wrong)) for one in expected]
        yield
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    return opened


async def _ask_until_right(address: ServiceAddress, wrong: dict[str, str]) -> None:
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        while True:
            try:
                complaint = await complaint_about(address, session)
            except Away:
                pass
            else:
                if complaint is None:
                    if wrong.pop(address.variable, None) is not None:
                        log.info("service_address_is_right", service=address.service)
                    return
                if wrong.get(address.variable) != complaint:
                    log.error("wrong_service_address", reason=complaint)
                wrong[address.variable] = complaint
            await asyncio.sleep(ASK_AGAIN_S)


async def complaint_about(address: ServiceAddress, session: aiohttp.ClientSession) -> str | None:
    """What is wrong with the answering service, or None; raises `Away` if nothing answers."""
    try:
        async with session.get(
            address.url.rstrip("/") + INTRODUCTION_PATH, allow_redirects=False
        ) as answer:
            status, body = answer.status, await answer.content.read(ANSWER_BYTES_MAX)
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        raise Away from error
    except (aiohttp.ClientError, ValueError):
        status, body = 0, b""
    if status in _AWAY_STATUSES:
        raise Away
    if status in _DOES_NOT_SAY:
        log.warning(
            "service_does_not_say_who_it_is",
            variable=address.variable,
            service=address.service,
        )
        return None
    service, port = _introduction(body)
    if service == address.service and port != INTERNAL:
        return None
    if service is None:
        found = f"does not answer like a service of Sigma PIM (status {status or 'not HTTP'})"
    elif port == INTERNAL:
        found = f"is the internal port of {service}"
    else:
        found = f"is {service}"
    return (
        f"{address.variable} is {address.place}, which {found};"
        f" expected the address of {address.service} with its SIGMA_PORT"
    )


def _introduction(body: bytes) -> tuple[str | None, str | None]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("service"), str):
        return None, None
    return parsed["service"][:100], parsed.get("port")
