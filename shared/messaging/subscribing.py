"""Subscription of one process to events, for invalidating what it caches (the gateways)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aiohttp import web

from shared.events import Event
from shared.messaging import topology
from shared.messaging.connection import ANSWER_TIMEOUT_S, BUS, cancel_all, open_channel
from shared.messaging.sessions import run_on_each_connection

log = structlog.get_logger(__name__)

Listener: TypeAlias = Callable[[Event], None]


def subscribe(
    binding: str,
    listener: Listener,
    *,
    on_up: Callable[[], None],
    on_down: Callable[[], None],
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Receive every event of this binding from now on, in this process alone.

    Between `on_up` and `on_down` no event is missed: `on_up` is called when the queue is bound,
    before its first event; what the process cached earlier may be out of date. If the listener
    raises or a message cannot be read, an event was missed: `on_down` is called, then `on_up`.
    Events are not acknowledged; the queue is deleted with the connection.
    """

    async def listen(connection: AbstractConnection) -> None:
        over = asyncio.Event()

        async def hear(message: AbstractIncomingMessage) -> None:
            try:
                listener(Event.from_json(message.body))
            except Exception:
                log.exception("listener_failed", binding=binding)
                over.set()

        async with await open_channel(connection, publisher_confirms=False) as channel:
            channel.close_callbacks.add(lambda *_: over.set())
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _: over.set())
            queue = await channel.declare_queue(
                exclusive=True, auto_delete=True, timeout=ANSWER_TIMEOUT_S
            )
            await queue.bind(topology.EVENTS, binding, timeout=ANSWER_TIMEOUT_S)
            on_up()
            try:
                await queue.consume(hear, no_ack=True, timeout=ANSWER_TIMEOUT_S)
                await over.wait()
            finally:
                on_down()

    async def opened(app: web.Application) -> AsyncIterator[None]:
        listening = run_on_each_connection(app[BUS], f"subscribe {binding}", listen)
        yield
        await cancel_all(listening)

    return opened
