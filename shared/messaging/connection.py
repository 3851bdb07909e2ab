"""Keeps one connection to the broker: made again whenever it is lost, the topology declared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, AMQPError, ChannelPreconditionFailed
from aiohttp import web
from prometheus_client import Gauge

from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.http import READINESS
from shared.messaging import topology
from shared.messaging.topology import Queue
from shared.process.config import ServiceConfig

log = structlog.get_logger(__name__)

HEARTBEAT_S: Final = 5
"""Three of these in silence, and a few seconds until that is looked at: within 20 s a broker that
hangs, or a network that swallows everything, is noticed and connected to anew."""
CONNECT_TIMEOUT_S: Final = 10.0
"""For a connection: about six answers, with TLS eight."""
ANSWER_TIMEOUT_S: Final = 5.0
"""For each answer of the broker, so that one far away is waited for as long as it answers."""
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 2.0
CANCEL_AGAIN_S: Final = 0.5
CANCEL_TIMES_MAX: Final = 20

BUS_UP: Final = Gauge("sigma_bus_up", "Whether the broker is connected and all queues are declared")

BROKER_ERRORS: Final = (*CONNECTION_EXCEPTIONS, AMQPError, TimeoutError)


class NotConfirmed(Exception):
    """The broker did not say that it has the message. It may have it all the same."""


class Abandoned(ConnectionError):
    """The client library cancelled what waited for the broker: the connection is lost."""


@contextmanager
def abandoning_is_an_error() -> Iterator[None]:
    """Raise `Abandoned` in place of a `CancelledError` that nobody asked this task for.

    When a broker falls silent, aiormq cancels tasks of its own. Whoever waits for one of those is
    not being stopped, but would end as if it were: for good, and without a word.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Abandoned(repr(error)) from error


class _Connection(aio_pika.Connection):
    """Closed by `Bus` alone."""

    def __del__(self) -> None:
        """Do nothing.

        aio_pika begins here to close what is left of a failed attempt, but whatever thread collects
        it need not have a loop.
        """


class Bus:
    """One connection, made again whenever it is lost."""

    def __init__(self, url: str, name: str, queues: Sequence[Queue] = topology.QUEUES) -> None:
        self._url = url
        self._name = name
        self.queues: Final = queues
        self._connection: AbstractConnection | None = None
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._missed: list[str] = []

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
        self.watch(self._keeper)

    async def stop(self) -> None:
        """Disconnect and stay so."""
        if self._keeper is not None:
            await cancel_all(self._keeper)

    def watch(self, task: asyncio.Task[None]) -> None:
        """Count on this task: should it end although nobody asked it to, `ready` raises."""
        task.add_done_callback(self._miss)

    async def ready(self) -> None:
        """Raise `ServiceUnavailable` when a task is missed: nothing but a restart brings it back.

        A broker that is away is no reason: services serve without it.
        """
        if self._missed:
            raise ServiceUnavailable(f"Ended unasked: {', '.join(self._missed)}")

    def _miss(self, task: asyncio.Task[None]) -> None:
        if not task.cancelling():
            error = None if task.cancelled() else task.exception()
            log.error("task_ended_unasked", task=task.get_name(), exc_info=error)
            self._missed.append(task.get_name())

    async def _keep_connected(self) -> None:
        pause_s = BACKOFF_FIRST_S
        while True:
            try:
                with abandoning_is_an_error():
                    async with self._connected() as lost:
                        pause_s = BACKOFF_FIRST_S
                        await lost.wait()
                log.warning("bus_lost")
            except BROKER_ERRORS as error:
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
            connection_class=_Connection,
        )
        connection.close_callbacks.add(lambda *_: lost.set())
        try:
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
            with suppress(*BROKER_ERRORS):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await connection.close()


async def declare(connection: AbstractConnection, queues: Sequence[Queue]) -> None:
    """Make sure that exchanges, queues and bindings exist; doing it again changes nothing.

    A channel waits for one answer after the other, so every queue has one of its own: with a broker
    that takes 400 ms for an answer all of it takes five seconds and not nine.
    """
    async with _channel(connection) as channel:
        await channel.declare_exchange(
            topology.EVENTS, "topic", durable=True, timeout=ANSWER_TIMEOUT_S
        )
        await channel.declare_exchange(
            topology.DEAD_LETTERS, "direct", durable=True, timeout=ANSWER_TIMEOUT_S
        )
    declared = await asyncio.gather(
        *(_declare_queue(connection, queue) for queue in queues), return_exceptions=True
    )
    for outcome in declared:
        if outcome is not None:
            raise outcome


async def _declare_queue(connection: AbstractConnection, queue: Queue) -> None:
    within = ANSWER_TIMEOUT_S
    try:
        async with _channel(connection) as channel:
            dead = await channel.declare_queue(
                queue.dead, durable=True, arguments=dict(queue.dead_arguments), timeout=within
            )
            await dead.bind(topology.DEAD_LETTERS, queue.name, timeout=within)
            alive = await channel.declare_queue(
                queue.name, durable=True, arguments=dict(queue.arguments), timeout=within
            )
            for binding in queue.bindings:
                await alive.bind(topology.EVENTS, binding, timeout=within)
    except ChannelPreconditionFailed as error:
        # It exists with other arguments, which only an operator can change. Whoever reads it
        # still can, so this is said aloud, and is no reason to stand still.
        log.error("queue_differs_from_topology", queue=queue.name, error=str(error))  # noqa: TRY400


@asynccontextmanager
async def _channel(connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
    """A channel for a moment; opening and closing it take one answer each."""
    channel = connection.channel()
    await channel.initialize(timeout=ANSWER_TIMEOUT_S)
    try:
        yield channel
    finally:
        with suppress(*BROKER_ERRORS):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await channel.close()


BUS: Final = web.AppKey("bus", Bus)


def rabbitmq(
    config: ServiceConfig, name: str, queues: Sequence[Queue] = topology.QUEUES
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Lend `app[BUS]` while the service runs; `name` is what the broker's operator sees."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        bus = Bus(config.amqp_url.get_secret_value(), name, queues)
        app[BUS] = bus
        if READINESS in app:
            app[READINESS].append(_ready)
        bus.start()
        yield
        await bus.stop()

    return opened


async def _ready(app: web.Application) -> None:
    await app[BUS].ready()


def run_on_each_connection(
    bus: Bus, what: str, session: Callable[[AbstractConnection], Awaitable[None]]
) -> asyncio.Task[None]:
    """Run the session on the broker's connection, and again on the next, until `cancel_all`."""
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
        except Exception:
            # Whatever it was, standing still for ever would be worse.
            log.exception("session_failed", session=what)
        if time.monotonic() - began > BACKOFF_MAX_S:
            pause_s = BACKOFF_FIRST_S
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, BACKOFF_MAX_S)


async def cancel_all(*tasks: asyncio.Task[Any]) -> None:
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
