"""Work that goes on at each connection to the broker in turn, until it is cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from aio_pika.abc import AbstractConnection

from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.messaging.connection import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    BROKER_ERRORS,
    Bus,
    NoChannel,
    NotConfirmed,
    abandoning_is_an_error,
)

log = structlog.get_logger(__name__)


def run_on_each_connection(
    bus: Bus, what: str, session: Callable[[AbstractConnection], Awaitable[None]]
) -> asyncio.Task[None]:
    """Run the session on each connection to the broker in turn, until the task is cancelled."""
    task = asyncio.create_task(_run_repeatedly(bus, what, session), name=what)
    bus.watch(task)
    return task


async def _run_repeatedly(
    bus: Bus, what: str, session: Callable[[AbstractConnection], Awaitable[None]]
) -> None:
    pause_s = BACKOFF_FIRST_S
    while True:
        connection = await bus.connection()
        began = time.monotonic()
        try:
            with abandoning_is_an_error():
                await session(connection)
        except (*BROKER_ERRORS, NotConfirmed, ServiceUnavailable, UpstreamTimeout) as error:
            log.warning("session_interrupted", session=what, error=repr(error))
            if isinstance(error, NoChannel):
                bus.leave(connection)
        except Exception:
            # After any other error, too: a consumer that stops for ever would be worse.
            log.exception("session_failed", session=what)
        if time.monotonic() - began > BACKOFF_MAX_S:
            pause_s = BACKOFF_FIRST_S
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, BACKOFF_MAX_S)
