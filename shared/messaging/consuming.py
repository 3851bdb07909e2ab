"""Consumer of a durable queue: effect and inbox row in one transaction, then the acknowledgement.

Outcomes of a message:

    handled                      acknowledged
    handled before               acknowledged, no second effect
    the handler failed           delivered again after a growing pause; after the queue's limit of
                                 deliveries it goes to the dead letters. Others do not wait for it
    a dependency is unavailable  (`ServiceUnavailable`, `UpstreamTimeout`) repeated here, which does
                                 not count as a delivery: an outage does not fill the dead letters
    not an event                 to the dead letters at once

Events of one subject are handled one after the other, in order; a failure breaks that order, so a
handler ignores an event whose `version` is not newer than what it has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

import asyncpg
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiohttp import web

from shared.database import DATABASE, Conn, Database
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.events import Event
from shared.messaging import inbox
from shared.messaging.by_subject import BySubject
from shared.messaging.connection import (
    ANSWER_TIMEOUT_S,
    BACKOFF_FIRST_S,
    BROKER_ERRORS,
    BUS,
    Bus,
    abandoning_is_an_error,
    cancel_all,
    declare,
    open_channel,
)
from shared.messaging.consumer_metrics import (
    CONSUMED,
    CONSUMER_LAG,
    CONSUMER_WAITING,
    DEAD_LETTERS,
)
from shared.messaging.sessions import run_on_each_connection
from shared.messaging.topology import Queue
from shared.process import tracing

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[Conn, Event], Awaitable[None]]
"""The effect, in the transaction of the inbox."""
First: TypeAlias = Callable[[Database, Event], Awaitable[None]]
"""Work before the effect; it must be repeatable."""

PREFETCH: Final = 32
WORKERS: Final = 4
HANDLER_TIMEOUT_S: Final = 30.0
PAUSE_MAX_S: Final = 2.0
STOP_WAIT_S: Final = 3.0
HOUSEKEEPING_S: Final = 5.0
SWEEP_EVERY_S: Final = 3600.0

_TRY_AGAIN_HERE: Final = (
    ServiceUnavailable,
    UpstreamTimeout,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)


def by_type(reactions: Mapping[str, Handler]) -> Handler:
    """One handler that calls the handler of the event's type; other types are ignored."""

    async def react(conn: Conn, event: Event) -> None:
        handler = reactions.get(event.type)
        if handler is not None:
            await handler(conn, event)

    return react


def consume(
    queue: Queue,
    handler: Handler | None,
    *,
    first: First | None = None,
    prefetch: int = PREFETCH,
    workers: int = WORKERS,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Handle the queue's events while the service runs; stopping finishes the current messages.

    `first` runs before the handler at every delivery, in transactions of its own: for work that
    must be committed before the effect, or is too much for one transaction.
    """

    async def opened(app: web.Application) -> AsyncIterator[None]:
        consumer = Consumer(
            app[DATABASE],
            app[BUS],
            queue,
            handler,
            first=first,
            prefetch=prefetch,
            workers=workers,
        )
        consumer.start()
        yield
        await consumer.stop()

    return opened


class Consumer:
    """Consumes one durable queue, on each connection in turn, until it is stopped."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        queue: Queue,
        handler: Handler | None,
        *,
        first: First | None = None,
        prefetch: int = PREFETCH,
        workers: int = WORKERS,
    ) -> None:
        self._database = database
        self._bus = bus
        self._queue = queue
        self._handler = handler
        self._first = first
        self._prefetch = prefetch
        self._workers = workers
        self._reading: _Reading | None = None
        self._closed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start consuming as soon as the broker is connected."""
        what = f"consume {self._queue.name}"
        self._tasks = [
            run_on_each_connection(self._bus, what, self._read),
            asyncio.create_task(self._sweep_now_and_then(), name=f"sweep {self._queue.name}"),
        ]

    @property
    def nobody_waits(self) -> bool:
        """Whether a handler may take its time: no other message is known to wait, nor the end.

        The broker may have more than it has sent only where it has sent all that it may.
        """
        return self._reading is not None and self._reading.nobody_waits(self._prefetch)

    async def stop(self) -> None:
        """Stop receiving, finish the received messages, and end."""
        if self._reading is not None:
            await self._reading.finish()
            # A channel that is not closed in order keeps what it was given and did not answer.
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await self._closed.wait()
        await cancel_all(*self._tasks)

    async def _read(self, connection: AbstractConnection) -> None:
        await self._database.migrated.wait()
        # A queue that an operator removed is made again, like any other part of the topology.
        await declare(connection, [self._queue])
        self._closed.clear()
        try:
            async with await open_channel(connection, publisher_confirms=False) as channel:
                await channel.set_qos(prefetch_count=self._prefetch)
                self._reading = _Reading(
                    channel,
                    self._database,
                    self._queue,
                    self._handler,
                    first=self._first,
                    workers=self._workers,
                )
                await self._reading.run()
        finally:
            self._reading = None
            self._closed.set()

    async def _sweep_now_and_then(self) -> None:
        while True:
            await self._database.migrated.wait()
            try:
                while await inbox.sweep(self._database) == inbox.SWEPT_AT_ONCE_MAX:
                    pass
            except (ServiceUnavailable, UpstreamTimeout):
                pass
            except Exception:
                log.exception("inbox_not_swept")
            await asyncio.sleep(SWEEP_EVERY_S)


@dataclass(slots=True)
class _Delivery:
    """One received message; `waits` counts how often a dependency was unavailable."""

    message: AbstractIncomingMessage
    event: Event
    waits: int = 0


class _Reading:
    """Consuming on one channel, until the channel is lost."""

    def __init__(
        self,
        channel: AbstractChannel,
        database: Database,
        queue: Queue,
        handler: Handler | None,
        *,
        first: First | None,
        workers: int,
    ) -> None:
        self._channel = channel
        self._database = database
        self._queue = queue
        self._handler = handler
        self._first = first
        self._workers = workers
        self._deliveries = BySubject[_Delivery]()
        self._at_hand: dict[int, Event] = {}
        self._paused: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._is_finishing = False
        self._tag = ""

    async def run(self) -> None:
        """Consume until the channel is lost or `finish` is called; raises what ended it."""
        self._channel.close_callbacks.add(lambda *_: self._over.set())
        underlay = await self._channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: self._over.set())
        CONSUMER_LAG.labels(self._queue.name).set_function(self._lag_s)
        amqp_queue = await self._channel.get_queue(self._queue.name, ensure=False)
        tasks = [
            asyncio.create_task(self._over.wait()),
            *(asyncio.create_task(self._work()) for _ in range(self._workers)),
            asyncio.create_task(self._count_waiting()),
        ]
        try:
            self._tag = await amqp_queue.consume(self._receive, timeout=ANSWER_TIMEOUT_S)
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            await cancel_all(*tasks, *self._paused)
            self._at_hand.clear()

    def nobody_waits(self, prefetch: int) -> bool:
        """Whether all that the broker has are the messages that are being handled."""
        return (
            not self._is_finishing
            and len(self._at_hand) < prefetch
            and not self._deliveries.is_any_waiting
        )

    async def finish(self) -> None:
        """Stop receiving, handle the received messages, then end `run`."""
        self._is_finishing = True
        with suppress(*BROKER_ERRORS), abandoning_is_an_error():
            async with asyncio.timeout(STOP_WAIT_S):
                underlay = await self._channel.get_underlay_channel()
                await underlay.basic_cancel(self._tag)
                await self._deliveries.join()
        self._over.set()

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        try:
            event = Event.from_json(message.body)
        except ValueError as error:
            log.error("malformed_message", queue=self._queue.name, error=str(error))  # noqa: TRY400
            self._count("malformed")
            await self._settle(message.reject(requeue=False))
            return
        self._at_hand[id(message)] = event
        self._put(_Delivery(message, event))

    def _put(self, delivery: _Delivery) -> None:
        self._deliveries.put((delivery.event.workspace_id, delivery.event.subject), delivery)

    async def _work(self) -> None:
        while True:
            subject, delivery = await self._deliveries.take()
            try:
                with (
                    structlog.contextvars.bound_contextvars(
                        queue=self._queue.name,
                        event_id=delivery.event.id,
                        event_type=delivery.event.type,
                        workspace=delivery.event.workspace_id,
                    ),
                    tracing.handling(self._queue.name, delivery.event),
                ):
                    await self._handle(delivery)
            finally:
                self._deliveries.done(subject)

    async def _handle(self, delivery: _Delivery) -> None:
        event, message = delivery.event, delivery.message
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                if self._first is not None:
                    await self._first(self._database, event)
                is_new = self._handler is None or await self._effect(self._handler, event)
        except _TRY_AGAIN_HERE as error:
            log.warning("event_must_wait", error=repr(error))
            self._count("waited")
            pause_s = min(BACKOFF_FIRST_S * 2.0**delivery.waits, PAUSE_MAX_S)
            delivery.waits += 1
            self._after(pause_s, self._handle_again(delivery))
        except Exception:
            # Any other failure may lie in the message: it is delivered again, at most to its limit.
            deliveries = int(str(message.headers.get("x-delivery-count") or 0))
            log.exception("event_not_handled", deliveries_before=deliveries)
            self._count("failed")
            self._after(min(BACKOFF_FIRST_S * 2.0**deliveries, PAUSE_MAX_S), self._refuse(message))
        else:
            self._count("handled" if is_new else "repeated")
            await self._settle(message.ack())
            self._at_hand.pop(id(message), None)

    async def _effect(self, handler: Handler, event: Event) -> bool:
        """Run the handler in the inbox's transaction; False if the event was handled before."""
        async with self._database.transaction() as conn:
            is_new = await inbox.first_time(conn, self._queue.name, event.id)
            if is_new:
                await handler(conn, event)
        return is_new

    def _after(self, pause_s: float, work: Coroutine[None, None, None]) -> None:
        """Run the work after a pause; other events of the subject do not wait."""

        async def later() -> None:
            try:
                await asyncio.sleep(pause_s)
            except asyncio.CancelledError:
                work.close()
                raise
            await work

        task = asyncio.create_task(later())
        self._paused.add(task)
        task.add_done_callback(self._paused.discard)

    async def _handle_again(self, delivery: _Delivery) -> None:
        self._put(delivery)

    async def _refuse(self, message: AbstractIncomingMessage) -> None:
        # RabbitMQ 4 counts a reject towards the limit, but no longer every nack.
        await self._settle(message.reject(requeue=True))
        self._at_hand.pop(id(message), None)

    async def _settle(self, answer: Awaitable[None]) -> None:
        """Answer the broker; if that fails, it delivers again, and the inbox knows the event."""
        with suppress(*BROKER_ERRORS):
            await answer

    async def _count_waiting(self) -> None:
        gauges = {
            self._queue.name: CONSUMER_WAITING.labels(self._queue.name),
            self._queue.dead: DEAD_LETTERS.labels(self._queue.name),
        }
        while True:
            for name, gauge in gauges.items():
                declared = await self._channel.declare_queue(
                    name, passive=True, timeout=ANSWER_TIMEOUT_S
                )
                gauge.set(declared.declaration_result.message_count or 0)
            await asyncio.sleep(HOUSEKEEPING_S)

    def _count(self, outcome: str) -> None:
        CONSUMED.labels(self._queue.name, outcome).inc()
        tracing.note_outcome(outcome, failed=outcome == "failed")

    def _lag_s(self) -> float:
        oldest = min((event.time.timestamp() for event in self._at_hand.values()), default=None)
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)
