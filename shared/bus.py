"""Connects to RabbitMQ and stays connected; publishes with confirms, and reads queues safely.

A service starts and serves without the broker. One task keeps one connection alive, declares the
topology each time it connects, and tries again for ever when it is lost; readers and the relay wait
for `Bus.connection` and start over on the next one.

`consume` reads a durable queue: the handler runs in a transaction that also remembers the event
(`shared.inbox`), the message is acknowledged after the commit. What becomes of a message:

    handled                      acknowledged
    handled before               acknowledged, no second effect
    the handler failed           delivered again after a growing pause; after the queue's limit of
                                 deliveries it goes to the dead letters. Others are not held up
    what it needs is away        (`ServiceUnavailable`, `UpstreamTimeout`) tried again here, without
                                 using up deliveries: an outage does not fill the dead letters
    not an event                 to the dead letters at once

Events of one subject are handled one after the other, in order; a failure breaks that order, so a
handler ignores an event whose `version` is not newer than what it has.

`subscribe` listens with a queue of its own that lives as long as the connection, for processes that
keep something in memory (the gateways) and must know when they may have missed something.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import aio_pika
import asyncpg
import structlog
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractIncomingMessage,
)
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPError,
    ChannelPreconditionFailed,
    PublishError,
)
from aiohttp import web
from aiormq.channel import Channel as UnderlayChannel
from pamqp.commands import Basic
from prometheus_client import Counter, Gauge

from shared import inbox, topology
from shared.config import ServiceConfig
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.events import Event
from shared.postgres import DATABASE, Conn, Database
from shared.topology import Queue

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[Conn, Event], Awaitable[None]]
Listener: TypeAlias = Callable[[Event], None]

CONTENT_TYPE: Final = "application/cloudevents+json"
HEARTBEAT_S: Final = 5
CONNECT_TIMEOUT_S: Final = 5.0
PUBLISH_TIMEOUT_S: Final = 10.0
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 2.0
PREFETCH: Final = 32
WORKERS: Final = 4
HANDLER_TIMEOUT_S: Final = 30.0
STOP_WAIT_S: Final = 10.0
CANCEL_AGAIN_S: Final = 0.5
CANCEL_TIMES_MAX: Final = 20
HOUSEKEEPING_S: Final = 5.0
SWEEP_EVERY_S: Final = 3600.0

BUS_UP: Final = Gauge("sigma_bus_up", "Whether the broker is connected and knows our queues")
CONSUMED: Final = Counter(
    "sigma_consumed_events_total",
    "Messages read from a queue, by what became of them",
    ["queue", "outcome"],
)
CONSUMER_LAG: Final = Gauge(
    "sigma_consumer_lag_seconds", "Age of the oldest event at hand, 0 when there is none", ["queue"]
)
CONSUMER_WAITING: Final = Gauge(
    "sigma_consumer_waiting_messages", "Messages in the queue that nobody has been given", ["queue"]
)
DEAD_LETTERS: Final = Gauge(
    "sigma_dead_letters", "Messages that were given up, for people to look at", ["queue"]
)

_TRY_AGAIN_HERE: Final = (
    ServiceUnavailable,
    UpstreamTimeout,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
_BROKER_ERRORS: Final = (*CONNECTION_EXCEPTIONS, AMQPError, TimeoutError)


class NotConfirmed(Exception):
    """The broker did not say that it has the message. It may have it all the same."""


class Bus:
    """One connection, made again whenever it is lost."""

    def __init__(self, url: str, name: str, queues: Sequence[Queue] = topology.QUEUES) -> None:
        self._url = url
        self._name = name
        self.queues: Final = queues
        self._connection: AbstractConnection | None = None
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether the broker is connected now, as far as this side can know."""
        return self._up.is_set()

    async def connection(self) -> AbstractConnection:
        """The connection, as soon as there is one."""
        while True:
            await self._up.wait()
            if self._connection is not None:
                return self._connection

    def start(self) -> None:
        """Begin to connect, and return at once."""
        for name in ("aiormq", "aio_pika"):
            # They report each failed attempt as an error of theirs; it is told once, here.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._keeper = asyncio.create_task(self._keep_connected(), name="bus")

    async def stop(self) -> None:
        """Disconnect and stay so."""
        if self._keeper is not None:
            await end(self._keeper)

    async def _keep_connected(self) -> None:
        pause_s = BACKOFF_FIRST_S
        while True:
            try:
                async with self._connected() as lost:
                    pause_s = BACKOFF_FIRST_S
                    await lost.wait()
                log.warning("bus_lost")
            except _BROKER_ERRORS as error:
                log.warning("bus_unreachable", error=repr(error), retry_s=pause_s)
            except Exception:
                # Whatever a client library throws: connect again.
                log.exception("bus_failed")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, BACKOFF_MAX_S)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncio.Event]:
        """Connected and declared; the event says when that ended."""
        lost = asyncio.Event()
        connection = await aio_pika.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_S,
            heartbeat=HEARTBEAT_S,
            client_properties={"connection_name": self._name},
        )
        connection.close_callbacks.add(lambda *_: lost.set())
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await declare(connection, self.queues)
            self._connection = connection
            self._up.set()
            BUS_UP.set(1)
            log.info("bus_up")
            yield lost
        finally:
            self._up.clear()
            self._connection = None
            BUS_UP.set(0)
            with suppress(*_BROKER_ERRORS):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await connection.close()


async def declare(connection: AbstractConnection, queues: Sequence[Queue]) -> None:
    """Make sure that exchanges, queues and bindings exist; doing it again changes nothing."""
    async with connection.channel() as channel:
        await channel.declare_exchange(topology.EVENTS, "topic", durable=True)
        await channel.declare_exchange(topology.DEAD_LETTERS, "direct", durable=True)
    for queue in queues:
        try:
            async with connection.channel() as channel:
                await _declare_queue(channel, queue)
        except ChannelPreconditionFailed as error:
            # It exists with other arguments, which only an operator can change. Whoever reads it
            # still can, so this is said aloud, and is no reason to stand still.
            log.error("queue_differs_from_topology", queue=queue.name, error=str(error))  # noqa: TRY400


async def _declare_queue(channel: AbstractChannel, queue: Queue) -> None:
    dead = await channel.declare_queue(
        queue.dead, durable=True, arguments=dict(queue.dead_arguments)
    )
    await dead.bind(topology.DEAD_LETTERS, queue.name)
    alive = await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))
    for binding in queue.bindings:
        await alive.bind(topology.EVENTS, binding)


class Publisher:
    """One channel with confirms. After a `NotConfirmed` it is worth nothing: open another."""

    def __init__(self, channel: AbstractChannel, underlay: UnderlayChannel) -> None:
        self._channel = channel
        self._underlay = underlay
        self._in_flight: dict[str, asyncio.Event] = {}

    @classmethod
    async def open(cls, connection: AbstractConnection) -> Publisher:
        """A publisher to the events exchange."""
        channel = connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.initialize(timeout=PUBLISH_TIMEOUT_S)
        return cls(channel, cast(UnderlayChannel, await channel.get_underlay_channel()))

    @property
    def is_open(self) -> bool:
        """Whether it can publish, as far as this side can know."""
        return not self._channel.is_closed

    async def close(self) -> None:
        """Give the channel back."""
        with suppress(*_BROKER_ERRORS):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._channel.close()

    async def publish(
        self,
        event_type: str,
        message_id: str,
        document: bytes,
        *,
        persistent: bool = True,
        expires_s: float | None = None,
    ) -> bool:
        """True when every queue bound to this type has it, False when no queue is bound.

        Raises `NotConfirmed` when the broker refused it, went away or did not answer in time.
        """
        # A returned message is matched by its id, so one id is in flight only once.
        while (earlier := self._in_flight.get(message_id)) is not None:
            await earlier.wait()
        done = self._in_flight[message_id] = asyncio.Event()
        try:
            # One level below aio-pika's exchange: a quarter less work for each message.
            await self._underlay.basic_publish(
                document,
                exchange=topology.EVENTS,
                routing_key=event_type,
                properties=Basic.Properties(
                    message_id=message_id,
                    message_type=event_type,
                    content_type=CONTENT_TYPE,
                    delivery_mode=2 if persistent else 1,
                    expiration=None if expires_s is None else str(int(expires_s * 1000)),
                ),
                mandatory=True,
                timeout=PUBLISH_TIMEOUT_S,
                wait=False,
            )
        except PublishError:
            return False
        except _BROKER_ERRORS as error:
            raise NotConfirmed(repr(error)) from error
        else:
            return True
        finally:
            del self._in_flight[message_id]
            done.set()


BUS: Final = web.AppKey("bus", Bus)


def rabbitmq(
    config: ServiceConfig, name: str, queues: Sequence[Queue] = topology.QUEUES
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Lend `app[BUS]` while the service runs; `name` is what the broker's operator sees."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        bus = Bus(config.amqp_url.get_secret_value(), name, queues)
        app[BUS] = bus
        bus.start()
        yield
        await bus.stop()

    return opened


async def on_every_connection(
    bus: Bus, what: str, session: Callable[[AbstractConnection], Awaitable[None]]
) -> None:
    """Run the session on the broker's connection, and again on the next, until cancelled."""
    pause_s = BACKOFF_FIRST_S
    while True:
        connection = await bus.connection()
        began = time.monotonic()
        try:
            await session(connection)
        except (*_BROKER_ERRORS, NotConfirmed, ServiceUnavailable) as error:
            log.warning("session_interrupted", session=what, error=repr(error))
        except Exception:
            # Whatever it was, standing still for ever would be worse.
            log.exception("session_failed", session=what)
        if time.monotonic() - began > BACKOFF_MAX_S:
            pause_s = BACKOFF_FIRST_S
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, BACKOFF_MAX_S)


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel until it is over: closing a channel can swallow a cancellation that meets it."""
    for _ in range(CANCEL_TIMES_MAX):
        pending = [task for task in tasks if not task.done()]
        if not pending:
            await asyncio.gather(*tasks, return_exceptions=True)
            return
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
    log.error("tasks_do_not_end", tasks=[task.get_name() for task in pending])


def by_type(reactions: Mapping[str, Handler]) -> Handler:
    """One handler from a table of them; a type that is not in the table is nobody's business."""

    async def react(conn: Conn, event: Event) -> None:
        handler = reactions.get(event.type)
        if handler is not None:
            await handler(conn, event)

    return react


def consume(
    queue: Queue, handler: Handler, *, prefetch: int = PREFETCH, workers: int = WORKERS
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Handle the queue's events while the service runs; stopping finishes what is at hand."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        consumer = Consumer(
            app[DATABASE], app[BUS], queue, handler, prefetch=prefetch, workers=workers
        )
        consumer.start()
        yield
        await consumer.stop()

    return opened


class Consumer:
    """Reads one durable queue, on one connection after the other, until it is stopped."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        queue: Queue,
        handler: Handler,
        *,
        prefetch: int = PREFETCH,
        workers: int = WORKERS,
    ) -> None:
        self._database = database
        self._bus = bus
        self._queue = queue
        self._handler = handler
        self._prefetch = prefetch
        self._workers = workers
        self._reading: _Reading | None = None
        self._closed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to read as soon as the broker is there."""
        what = f"consume {self._queue.name}"
        self._tasks = [
            asyncio.create_task(on_every_connection(self._bus, what, self._read), name=what),
            asyncio.create_task(self._sweep_now_and_then(), name=f"sweep {self._queue.name}"),
        ]

    async def stop(self) -> None:
        """Ask for no more, finish what was given, and go."""
        if self._reading is not None:
            await self._reading.finish()
            # A channel that is not closed in order keeps what it was given and did not answer.
            with suppress(TimeoutError):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self._closed.wait()
        await end(*self._tasks)

    async def _read(self, connection: AbstractConnection) -> None:
        # A queue that an operator removed is made again, like any other part of the topology.
        await declare(connection, [self._queue])
        self._closed.clear()
        try:
            async with connection.channel(publisher_confirms=False) as channel:
                await channel.set_qos(prefetch_count=self._prefetch)
                self._reading = _Reading(
                    channel, self._database, self._queue, self._handler, workers=self._workers
                )
                await self._reading.run()
        finally:
            self._reading = None
            self._closed.set()

    async def _sweep_now_and_then(self) -> None:
        while True:
            with suppress(ServiceUnavailable):
                while await inbox.sweep(self._database) == inbox.SWEPT_AT_ONCE_MAX:
                    pass
            await asyncio.sleep(SWEEP_EVERY_S)


@dataclass(slots=True)
class _Delivery:
    """One message at hand; `waits` counts how often what it needs was away."""

    message: AbstractIncomingMessage
    event: Event
    waits: int = 0


class _Reading:
    """What happens on one channel, from the first message to the loss of it."""

    def __init__(
        self,
        channel: AbstractChannel,
        database: Database,
        queue: Queue,
        handler: Handler,
        *,
        workers: int,
    ) -> None:
        self._channel = channel
        self._database = database
        self._queue = queue
        self._handler = handler
        # One lane per worker; all events of one subject go through one lane, so in order.
        self._lanes: list[asyncio.Queue[_Delivery]] = [asyncio.Queue() for _ in range(workers)]
        self._at_hand: dict[int, Event] = {}
        self._paused: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._tag = ""

    async def run(self) -> None:
        """Read until the channel is lost or `finish` was called; raise what ended it."""
        self._channel.close_callbacks.add(lambda *_: self._over.set())
        underlay = await self._channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: self._over.set())
        CONSUMER_LAG.labels(self._queue.name).set_function(self._lag_s)
        amqp_queue = await self._channel.get_queue(self._queue.name, ensure=False)
        tasks = [
            asyncio.create_task(self._over.wait()),
            *(asyncio.create_task(self._work(lane)) for lane in self._lanes),
            asyncio.create_task(self._count_waiting()),
        ]
        try:
            self._tag = await amqp_queue.consume(self._receive, timeout=CONNECT_TIMEOUT_S)
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            await end(*tasks, *self._paused)
            self._at_hand.clear()

    async def finish(self) -> None:
        """Ask the broker for no more, handle what it has given, then end `run`."""
        with suppress(*_BROKER_ERRORS):
            async with asyncio.timeout(STOP_WAIT_S):
                underlay = await self._channel.get_underlay_channel()
                await underlay.basic_cancel(self._tag)
                await asyncio.gather(*(lane.join() for lane in self._lanes))
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
        self._lane_of(event).put_nowait(_Delivery(message, event))

    def _lane_of(self, event: Event) -> asyncio.Queue[_Delivery]:
        return self._lanes[hash((event.workspace_id, event.subject)) % len(self._lanes)]

    async def _work(self, lane: asyncio.Queue[_Delivery]) -> None:
        while True:
            delivery = await lane.get()
            try:
                with structlog.contextvars.bound_contextvars(
                    queue=self._queue.name,
                    event_id=delivery.event.id,
                    event_type=delivery.event.type,
                    workspace=delivery.event.workspace_id,
                ):
                    await self._handle(delivery)
            finally:
                lane.task_done()

    async def _handle(self, delivery: _Delivery) -> None:
        event, message = delivery.event, delivery.message
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S), self._database.transaction() as conn:
                first = await inbox.first_time(conn, self._queue.name, event.id)
                if first:
                    await self._handler(conn, event)
        except _TRY_AGAIN_HERE as error:
            log.warning("event_must_wait", error=repr(error))
            self._count("waited")
            pause_s = min(BACKOFF_FIRST_S * 2.0**delivery.waits, BACKOFF_MAX_S)
            delivery.waits += 1
            self._after(pause_s, self._handle_again(delivery))
        except Exception:
            # Any other failure may lie in the message: it is delivered again, at most to its limit.
            deliveries = int(str(message.headers.get("x-delivery-count") or 0))
            log.exception("event_not_handled", deliveries_before=deliveries)
            self._count("failed")
            self._after(
                min(BACKOFF_FIRST_S * 2.0**deliveries, BACKOFF_MAX_S), self._refuse(message)
            )
        else:
            self._count("handled" if first else "repeated")
            await self._settle(message.ack())
            self._at_hand.pop(id(message), None)

    def _after(self, pause_s: float, work: Coroutine[None, None, None]) -> None:
        """Do it later, without holding up the lane."""

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
        self._lane_of(delivery.event).put_nowait(delivery)

    async def _refuse(self, message: AbstractIncomingMessage) -> None:
        # RabbitMQ 4 counts a reject towards the limit, but no longer every nack.
        await self._settle(message.reject(requeue=True))
        self._at_hand.pop(id(message), None)

    async def _settle(self, answer: Awaitable[None]) -> None:
        """Tell the broker; if it is gone it will deliver again, and the inbox will know."""
        with suppress(*_BROKER_ERRORS):
            await answer

    async def _count_waiting(self) -> None:
        gauges = {
            self._queue.name: CONSUMER_WAITING.labels(self._queue.name),
            self._queue.dead: DEAD_LETTERS.labels(self._queue.name),
        }
        while True:
            for name, gauge in gauges.items():
                declared = await self._channel.declare_queue(
                    name, passive=True, timeout=CONNECT_TIMEOUT_S
                )
                gauge.set(declared.declaration_result.message_count or 0)
            await asyncio.sleep(HOUSEKEEPING_S)

    def _count(self, outcome: str) -> None:
        CONSUMED.labels(self._queue.name, outcome).inc()

    def _lag_s(self) -> float:
        oldest = min((event.time.timestamp() for event in self._at_hand.values()), default=None)
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)


def subscribe(
    binding: str,
    listener: Listener,
    *,
    on_up: Callable[[], None],
    on_down: Callable[[], None],
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Hear every event of this binding from now on, in this process alone.

    Between `on_up` and `on_down` nothing is missed: `on_up` is called when the queue is bound and
    before its first event is heard, so what was learnt earlier may be out of date. A listener that
    raises, or a message that cannot be read, counts as a miss: `on_down`, then `on_up`. Events are
    not acknowledged; the queue is gone with the connection.
    """

    async def listen(connection: AbstractConnection) -> None:
        over = asyncio.Event()

        async def hear(message: AbstractIncomingMessage) -> None:
            try:
                listener(Event.from_json(message.body))
            except Exception:
                log.exception("listener_failed", binding=binding)
                over.set()

        async with connection.channel(publisher_confirms=False) as channel:
            channel.close_callbacks.add(lambda *_: over.set())
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _: over.set())
            queue = await channel.declare_queue(
                exclusive=True, auto_delete=True, timeout=CONNECT_TIMEOUT_S
            )
            await queue.bind(topology.EVENTS, binding, timeout=CONNECT_TIMEOUT_S)
            on_up()
            try:
                await queue.consume(hear, no_ack=True, timeout=CONNECT_TIMEOUT_S)
                await over.wait()
            finally:
                on_down()

    async def opened(app: web.Application) -> AsyncIterator[None]:
        what = f"subscribe {binding}"
        listening = asyncio.create_task(on_every_connection(app[BUS], what, listen), name=what)
        yield
        await end(listening)

    return opened
