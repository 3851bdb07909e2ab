"""The connection to the broker: reopened when it is lost, with the topology declared each time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from typing import Any, Final

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPError,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)
from aiohttp import web
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import ChannelAccessRefused, InvalidFrameError
from prometheus_client import Gauge
from yarl import URL

from shared.errors import ServiceUnavailable
from shared.http import READINESS
from shared.messaging import topology
from shared.messaging.topology import Queue
from shared.process.config import ServiceConfig
from shared.process.hosts import each_host
from shared.process.silence import end_when_silent

log = structlog.get_logger(__name__)

HEARTBEAT_S: Final = 5
"""After three missed heartbeats the connection is closed and reopened: a broker that hangs is
noticed within 20 s. One whose machine or network is gone: `shared.process.silence`."""
CONNECT_TIMEOUT_S: Final = 10.0
"""For opening a connection, which takes about six round trips, with TLS eight."""
REACHED_WITHIN_S: Final = 3.0
"""For the part of it before RabbitMQ is asked, three of these round trips with TLS: a machine that
is gone refuses nothing, and an address may lead to another one the next time."""
CONNECT_NODE_TIMEOUT_S: Final = 3.0
"""The same where another node can be asked instead."""
ANSWER_TIMEOUT_S: Final = 5.0
"""For each answer of the broker, so that a distant broker may take longer in total."""
FIRST_ANSWER_TIMEOUT_S: Final = 3.0
"""For the first answers of an open connection, which a node gives by itself."""
AGREED_TIMEOUT_S: Final = 15.0
"""For answers of a node that need all others: where one has fallen silent, they come when the
cluster has noticed, after at most 10 s (deploy/rabbitmq/cluster.conf)."""
CLOSE_TIMEOUT_S: Final = 2.0
"""For closing a channel or a connection in order; one that does not answer is left."""
FIRST_ATTEMPT_S: Final = 1.0
"""For how long readiness waits for the outcome of the first attempt to connect."""
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 2.0
CANCEL_AGAIN_S: Final = 0.5
CANCEL_TIMES_MAX: Final = 20

BUS_UP: Final = Gauge("sigma_bus_up", "Whether the broker is connected and all queues are declared")


class NoChannel(Exception):
    """The broker opened no channel in time: nothing else will come of this connection either.

    It reads none of a connection while one of its channels takes nothing more.
    """


BROKER_ERRORS: Final = (*CONNECTION_EXCEPTIONS, AMQPError, TimeoutError, NoChannel)


class NotConfirmed(Exception):
    """The broker did not confirm the message. It may have stored it all the same."""


class Abandoned(ConnectionError):
    """The client library cancelled what waited for the broker: the connection is lost."""


@contextmanager
def abandoning_is_an_error() -> Iterator[None]:
    """Raise `Abandoned` instead of a `CancelledError` with which nobody cancelled this task.

    If a broker stops answering, aiormq cancels tasks of its own. A task that awaits one of those
    would end like a cancelled task: for ever, and without a log line.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Abandoned(repr(error)) from error


class _Transports(TransportFactory):
    """As the library makes them, but soon or not at all, and ended when the broker is silent."""

    async def create(
        self, url: URL, **more: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        make = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        async with asyncio.timeout(REACHED_WITHIN_S):
            reader, writer = await make.create(url, **more)
        end_when_silent(writer.transport)
        return reader, writer


class WatchedConnection(aio_pika.Connection):
    """A connection that ends when the broker falls silent, and that only `Bus` closes."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.kwargs["transport_factory"] = _Transports()

    def __del__(self) -> None:
        """Do nothing.

        aio_pika would begin to close a failed connection here, but the garbage collector may run
        in a thread without an event loop.
        """


class Bus:
    """One connection to the broker, reopened when it is lost."""

    def __init__(self, url: str, name: str, queues: Sequence[Queue] = topology.QUEUES) -> None:
        """`url` may name the nodes of a cluster: `amqp://user:password@a:5672,b:5672/vhost`."""
        self._urls = deque(each_host(url))
        # The processes of an installation are spread over the nodes.
        self._urls.rotate(random.randrange(len(self._urls)))  # noqa: S311
        self._name = name
        self.queues: Final = queues
        self._connection: AbstractConnection | None = None
        self._lost = asyncio.Event()
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._missed: list[str] = []
        self._tried = asyncio.Event()
        self._refused: str | None = None
        self._was_up = False

    @property
    def is_up(self) -> bool:
        """Whether the broker is connected now, as far as this side can know."""
        return self._up.is_set()

    async def connection(self) -> AbstractConnection:
        """The open connection; waits until there is one."""
        while True:
            await self._up.wait()
            if self._connection is not None:
                return self._connection

    def start(self) -> None:
        """Begin to connect, and return at once."""
        for name in ("aiormq", "aio_pika"):
            # They log each failed attempt as an error; it is logged once, here.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._keeper = asyncio.create_task(self._keep_connected(), name="bus")
        self.watch(self._keeper)

    async def stop(self) -> None:
        """Close the connection and do not reopen it."""
        if self._keeper is not None:
            await cancel_all(self._keeper)

    def leave(self, connection: AbstractConnection) -> None:
        """Go on at another connection than this one, which answers nothing."""
        if connection is self._connection:
            self._lost.set()

    def watch(self, task: asyncio.Task[None]) -> None:
        """Make `ready` raise if this task ends without being cancelled."""
        task.add_done_callback(self._miss)

    async def ready(self) -> None:
        """Raise `ServiceUnavailable` if a watched task has ended: only a restart starts it again.

        So it does while the broker refuses a process that it has never accepted: its address is
        wrong. An unreachable broker is no reason, because services serve without it.
        """
        if self._missed:
            raise ServiceUnavailable(f"Ended unasked: {', '.join(self._missed)}")
        if not self._was_up:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_ATTEMPT_S):
                    await self._tried.wait()
            if self._refused is not None and not self._was_up:
                raise ServiceUnavailable(self._refused)

    def _miss(self, task: asyncio.Task[None]) -> None:
        if not task.cancelling():
            error = None if task.cancelled() else task.exception()
            log.error("task_ended_unasked", task=task.get_name(), exc_info=error)
            self._missed.append(task.get_name())

    async def _keep_connected(self) -> None:
        pause_s = BACKOFF_FIRST_S
        for attempt in count(1):
            try:
                with abandoning_is_an_error():
                    async with self._connected() as lost:
                        pause_s = BACKOFF_FIRST_S
                        await lost.wait()
                log.warning("bus_lost")
            except BROKER_ERRORS as error:
                self._refused = refusal(error)
                told = self._refused or repr(error)
                log.warning("bus_unreachable", error=told, retry_s=pause_s)
            except Exception:
                # Any other error of a client library: connect again.
                log.exception("bus_failed")
            self._tried.set()
            self._urls.rotate(-1)
            # Another node is asked at once: one that has died takes the others nothing.
            if attempt % len(self._urls) == 0:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACKOFF_MAX_S)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncio.Event]:
        """Open the connection and declare the topology; the event is set when it is lost."""
        lost = self._lost = asyncio.Event()
        connection = await aio_pika.connect(
            self._urls[0],
            timeout=CONNECT_TIMEOUT_S if len(self._urls) == 1 else CONNECT_NODE_TIMEOUT_S,
            heartbeat=HEARTBEAT_S,
            client_properties={"connection_name": self._name},
            connection_class=WatchedConnection,
        )
        connection.close_callbacks.add(lambda *_: lost.set())
        try:
            await declare(connection, self.queues)
            self._connection = connection
            self._up.set()
            self._was_up, self._refused = True, None
            self._tried.set()
            BUS_UP.set(1)
            log.info("bus_up")
            yield lost
        finally:
            self._up.clear()
            self._connection = None
            BUS_UP.set(0)
            with suppress(*BROKER_ERRORS):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await connection.close()


def refusal(error: BaseException) -> str | None:
    """Why the broker does not accept this process, with the variable to check.

    None if it could not be asked.
    """
    if isinstance(error, ProbableAuthenticationError):
        why = "refuses the user or the password"
    elif isinstance(error, InvalidFrameError) and "OpenOk" in str(error):
        # It closes the connection instead of opening the virtual host; aiormq drops its reason.
        why = "refuses the virtual host: it does not exist, or is closed to this user"
    elif isinstance(error, ChannelAccessRefused):
        why = "does not permit this user to declare exchanges and queues"
    else:
        return None
    return f"RabbitMQ {why}: check SIGMA_AMQP_URL"


async def declare(connection: AbstractConnection, queues: Sequence[Queue]) -> None:
    """Declare all exchanges, queues and bindings. Idempotent.

    A channel sends one request after the other, so each queue is declared on a channel of its own:
    with a broker that answers after 400 ms, this takes five seconds instead of nine.

    While a node of a cluster is silent, the others bind nothing, until they have noticed. That is
    waited for: whatever is published or read at them earlier waits for longer (ADR 96).
    """
    within = FIRST_ANSWER_TIMEOUT_S
    async with _channel(connection, within) as channel:
        await channel.declare_exchange(topology.EVENTS, "topic", durable=True, timeout=within)
        await channel.declare_exchange(
            topology.DEAD_LETTERS, "direct", durable=True, timeout=within
        )
    declared = await asyncio.gather(
        *(_declare_queue(connection, queue) for queue in queues), return_exceptions=True
    )
    for outcome in declared:
        if outcome is not None:
            raise outcome


async def _declare_queue(connection: AbstractConnection, queue: Queue) -> None:
    within = AGREED_TIMEOUT_S
    try:
        async with _channel(connection, ANSWER_TIMEOUT_S) as channel:
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
        # The queue exists with other arguments, which only an operator can change. It can still
        # be read, so this is logged as an error and the service continues.
        log.error("queue_differs_from_topology", queue=queue.name, error=str(error))  # noqa: TRY400


@asynccontextmanager
async def _channel(
    connection: AbstractConnection, within_s: float
) -> AsyncIterator[AbstractChannel]:
    """A channel for a few requests; opening and closing it take one round trip each."""
    channel = await open_channel(connection, within_s)
    try:
        yield channel
    finally:
        with suppress(*BROKER_ERRORS):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await channel.close()


async def open_channel(
    connection: AbstractConnection, within_s: float = ANSWER_TIMEOUT_S, **options: bool
) -> AbstractChannel:
    """A new channel, with the options of `AbstractConnection.channel`. Raises `NoChannel`."""
    channel = connection.channel(**options)
    try:
        # The library takes a limit here, and does not heed it.
        async with asyncio.timeout(within_s):
            await channel.initialize()
    except TimeoutError as error:
        raise NoChannel(f"no channel was opened within {within_s:g} s") from error
    return channel


BUS: Final = web.AppKey("bus", Bus)


def rabbitmq(
    config: ServiceConfig, name: str, queues: Sequence[Queue] = topology.QUEUES
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Provide `app[BUS]` while the service runs; `name` is shown by the broker's management."""

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


async def cancel_all(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they have ended: closing a channel can swallow a cancellation."""
    for _ in range(CANCEL_TIMES_MAX):
        pending = [task for task in tasks if not task.done()]
        if not pending:
            await asyncio.gather(*tasks, return_exceptions=True)
            return
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
    log.error("tasks_do_not_end", tasks=[task.get_name() for task in pending])
