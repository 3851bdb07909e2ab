"""Several servers in one address: `postgresql://user:password@a:5432,b:5432/database`.

One of them takes writes, the others are its standbys, and a failover changes which one it is. So
the servers are asked in the order of the address, and the first that takes writes is used. The next
one is asked when the one before has refused, or has not answered for `ASK_NEXT_AFTER_S`: a machine
that has lost its power refuses nothing, and waiting for it would take the whole time there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from shared.process.hosts import each_host

T = TypeVar("T")

ASK_NEXT_AFTER_S: Final = 0.5
ATTRIBUTE: Final = "target_session_attrs"
TAKES_WRITES: Final = "read-write"


class NoneTakesWrites(ConnectionError):
    """Why none of several servers can be used; without their addresses."""


def candidates(url: str) -> tuple[str, ...]:
    """The address of each server; of several, only one that takes writes will do."""
    urls = each_host(url)
    return urls if len(urls) == 1 else tuple(map(_for_writes, urls))


def for_libpq(url: str) -> str:
    """The same address for libpq, which asks several servers by itself."""
    return url if len(each_host(url)) == 1 else _for_writes(url)


def _for_writes(url: str) -> str:
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if ATTRIBUTE not in dict(query):
        query.append((ATTRIBUTE, TAKES_WRITES))
    return urlunsplit(parts._replace(query=urlencode(query)))


async def first_to_open(
    urls: Sequence[str], open_one: Callable[[str], Awaitable[T]], discard: Callable[[T], None]
) -> T:
    """What `open_one` makes of the first address that works; what comes too late is discarded.

    Raises what the only address raised, or `NoneTakesWrites` with the reasons of all.
    """
    if len(urls) == 1:
        return await open_one(urls[0])
    left = list(reversed(urls))
    asked: set[asyncio.Task[T]] = set()
    reasons: list[str] = []
    try:
        while left or asked:
            if left:
                asked.add(asyncio.ensure_future(_awaited(open_one(left.pop()))))
            done, asked = await asyncio.wait(
                asked,
                timeout=ASK_NEXT_AFTER_S if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            opened = []
            for task in done:
                error = task.exception()
                if error is None:
                    opened.append(task.result())
                else:
                    reasons.append(_reason(error))
            if opened:
                for late in opened[1:]:
                    discard(late)
                return opened[0]
        raise NoneTakesWrites("; ".join(dict.fromkeys(reasons)))
    finally:
        for task in asked:
            task.add_done_callback(lambda late: _discarded(late, discard))
            task.cancel()


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _discarded(task: asyncio.Task[Any], discard: Callable[[Any], None]) -> None:
    if not task.cancelled() and task.exception() is None:
        discard(task.result())


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "a server takes no writes"
    if isinstance(error, TimeoutError):
        return "a server does not answer"
    if isinstance(error, OSError):
        return "a server cannot be reached"
    return str(error) or repr(error)
