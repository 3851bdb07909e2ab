"""Asks at start whether the services at the configured addresses are the right ones.

A service tells its name at `/internal/service`, on both of its ports, to anybody: an address that
leads to the internal port, to another service or to another program is otherwise seen only in what
clients are answered (404 for everything). Whoever is away is asked again until it is there, so any
order of start works. A wrong one is told in one line, makes `/readyz` say 503 with the variable's
name, and is asked again, because it may be its side that is put right.
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
from shared.web import INTERNAL, INTRODUCTION_PATH, READINESS

log = structlog.get_logger(__name__)

ASK_AGAIN_S: Final = 2.0
ANSWER_WITHIN_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 4096
_AWAY_STATUSES: Final = range(500, 600)
_DOES_NOT_SAY: Final = (401, 403)
"""What services answered before they told their names; during a rollout there are some."""


class Away(Exception):
    """It cannot be reached, or what stands before it says so."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Who is expected where, and which variable says so."""

    variable: str
    url: str
    service: str

    @property
    def place(self) -> str:
        """The address without a name or a password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def neighbours(*expected: Neighbour) -> Callable[[web.Application], AsyncIterator[None]]:
    """Ask all of them while the service starts, and be ready only if none is the wrong one."""

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


async def _ask_until_right(neighbour: Neighbour, wrong: dict[str, str]) -> None:
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        while True:
            try:
                complaint = await complaint_about(neighbour, session)
            except Away:
                pass
            else:
                if complaint is None:
                    if wrong.pop(neighbour.variable, None) is not None:
                        log.info("neighbour_is_right", service=neighbour.service)
                    return
                if wrong.get(neighbour.variable) != complaint:
                    log.error("wrong_neighbour", reason=complaint)
                wrong[neighbour.variable] = complaint
            await asyncio.sleep(ASK_AGAIN_S)


async def complaint_about(neighbour: Neighbour, session: aiohttp.ClientSession) -> str | None:
    """What is wrong with who answers there, None when it is the right one; `Away` if none does."""
    try:
        async with session.get(
            neighbour.url.rstrip("/") + INTRODUCTION_PATH, allow_redirects=False
        ) as answer:
            status, told = answer.status, await answer.content.read(ANSWER_BYTES_MAX)
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        raise Away from error
    except (aiohttp.ClientError, ValueError):
        status, told = 0, b""
    if status in _AWAY_STATUSES:
        raise Away
    if status in _DOES_NOT_SAY:
        log.warning(
            "neighbour_does_not_say_who_it_is",
            variable=neighbour.variable,
            service=neighbour.service,
        )
        return None
    service, port = _introduction(told)
    if service == neighbour.service and port != INTERNAL:
        return None
    if service is None:
        found = f"does not answer like a service of Sigma PIM (status {status or 'not HTTP'})"
    elif port == INTERNAL:
        found = f"is the internal port of {service}"
    else:
        found = f"is {service}"
    return (
        f"{neighbour.variable} is {neighbour.place}, which {found};"
        f" expected the address of {neighbour.service} with its SIGMA_PORT"
    )


def _introduction(told: bytes) -> tuple[str | None, str | None]:
    try:
        parsed = orjson.loads(told)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("service"), str):
        return None, None
    return parsed["service"][:100], parsed.get("port")
