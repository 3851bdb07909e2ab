"""Requests that wait for news: they end when the caller may not ask any more, or the gateway stops.

Such a request takes half a minute, or has no end. Meanwhile its caller may have become somebody
else, who sees less, or nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from gateway.identities import Caller
from gateway.upstream.response import UpstreamResponse
from shared.errors import ApiError, ServiceUnavailable, UpstreamTimeout

log = structlog.get_logger()

StillAsking = Callable[[], Awaitable[Caller]]
"""Who the caller of a request is by now, or the error for one who may not ask any more."""

LOOKED_AT_EVERY_S: Final = 0.5
UNKNOWN_S_MAX: Final = 5.0
"""For how long a stream goes on while nobody can say who its caller is."""


async def unless_draining(
    sending: Coroutine[Any, Any, UpstreamResponse], draining: asyncio.Event
) -> UpstreamResponse:
    """The response, or `ServiceUnavailable` if this process stops before there is one."""
    waiting = asyncio.create_task(sending)
    stopping = asyncio.create_task(draining.wait())
    try:
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        raise ServiceUnavailable
    finally:
        stopping.cancel()
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})


async def copy_while_asking(
    copying: Coroutine[Any, Any, None],
    still_asking: StillAsking,
    caller: Caller,
    draining: asyncio.Event,
) -> bool:
    """Copy a stream to its end, and return True, or as long as its caller may ask for it.

    It ends then as if there were no more: its reader asks for the next, as somebody else or not at
    all.
    """
    task = asyncio.create_task(copying)
    try:
        while not (await asyncio.wait({task}, timeout=LOOKED_AT_EVERY_S))[0]:
            if draining.is_set():
                return False
            if not await _is(still_asking, caller):
                log.info("stream_ended", reason="its caller may see something else by now")
                return False
        task.result()
        return True
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _is(still_asking: StillAsking, caller: Caller) -> bool:
    """Whether the caller is who they were."""
    loop = asyncio.get_running_loop()
    until = loop.time() + UNKNOWN_S_MAX
    while True:
        try:
            return (await still_asking()).identity == caller.identity
        except (ServiceUnavailable, UpstreamTimeout):
            if loop.time() > until:
                return False
            await asyncio.sleep(LOOKED_AT_EVERY_S)
        except ApiError:
            return False
