"""The outbox relay: publishes committed events with publisher confirms.

One relay per database publishes, however many processes run. It deletes a row only after the broker
has confirmed the event. If the relay dies in between, the event is published again: delivery is at
least once. Events of one subject are published one after the other, each after the broker has
confirmed the one before.

There is no cursor with the last published id: sequences commit out of order, so a cursor would skip
rows. The rows in the table are exactly the unpublished events.

If `shared.messaging.topology` binds a queue to a type, messages of that type are published as
mandatory: if no queue accepts one, a queue was removed, so the broker returns the message, the
topology is declared again and the event is kept. Other types go to queues that consumers have bound
themselves, and count as delivered if there are none; otherwise the first `entity.created` of an
installation without consumers would block all later events. The broker does not return these,
because that would cost as much as publishing them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg
import structlog
from aio_pika.abc import AbstractConnection
from aiohttp import web
from prometheus_client import Counter

from shared.database import DATABASE, Conn, Database, Record, is_read_only, is_unavailable
from shared.errors import ServiceUnavailable
from shared.events import Event
from shared.messaging import outbox_reading, topology
from shared.messaging.batches import Message
from shared.messaging.connection import (
    BUS,
    Bus,
    NotConfirmed,
    abandoning_is_an_error,
    cancel_all,
    declare,
)
from shared.messaging.leadership import end_stale_leader
from shared.messaging.outbox import COMMITTED
from shared.messaging.outbox_floor import Floor
from shared.messaging.outbox_metrics import measure_outbox
from shared.messaging.publishing import Patience, Publisher
from shared.messaging.sessions import run_on_each_connection
from shared.process import tracing

log = structlog.get_logger(__name__)

T = TypeVar("T")

SENT_AT_ONCE: Final = 64
"""Events that are written to the broker together."""
BEGUN_AT_ONCE: Final = 8
"""The library's send queue has ten places. Further publishes would wait for each other, which costs
50 % more; the confirms of all sent messages are awaited together."""
POLL_S: Final = 0.1
LINGER_S: Final = 0.005
WATERMARK_EVERY_S: Final = 0.25
WATERMARK_LIFE_S: Final = 1.0
WATERMARK_LATE_S: Final = 0.2
LEAD_RETRY_S: Final = 0.5
LEASE_S: Final = 5.0
RENEWALS_PER_LEASE: Final = 5
STOP_WAIT_S: Final = 2.0
LOCK_KEY: Final = 0x5167_4D61_0075_7462

RELAYED: Final = Counter(
    "sigma_outbox_events_total",
    "Events removed from the outbox, by whether a queue is bound to their type",
    ["outcome"],
)


def relay(
    source: str,
    *,
    watermark: str | None = None,
    lease_s: float = LEASE_S,
    publishable: str = outbox_reading.ANY,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Publish this database's outbox while the service runs.

    With `watermark` (an event type), a heartbeat of that type is published every 250 ms while the
    outbox is empty, with `source` as its source. With `publishable` (SQL), events wait until they
    meet that condition. See `Relay`.
    """

    async def opened(app: web.Application) -> AsyncIterator[None]:
        carrier = Relay(
            app[DATABASE],
            app[BUS],
            source,
            watermark=watermark,
            lease_s=lease_s,
            publishable=publishable,
        )
        app[RELAY] = carrier
        # Where something else is told of commits, that one tells the relay.
        if COMMITTED not in app:
            app[COMMITTED] = carrier.committed
        carrier.start()
        yield
        await carrier.stop()

    return opened


class LeaseExpired(NotConfirmed):
    """The leader did not renew its lease in time, so another process may have become the leader."""


class _Unroutable(NotConfirmed):
    """The broker returned a message that a queue should receive: the queue was removed."""


class _Event(NamedTuple):
    """An event of the outbox: the id of its row, and what is published."""

    id: int
    message: Message


class Relay:
    """Publishes the outbox of one database: one relay leads (advisory lock), others stand by.

    The leader locks, reads and deletes on the same connection, so a relay that has lost the lock
    cannot delete. A leader without a broker connection releases the lock, so that another process
    can lead.

    A process that hangs (stopped, paused with its machine, a blocked event loop) keeps its session
    and therefore the lock. So the leadership is a lease: the leader uses its session several times
    within `lease_s` seconds, PostgreSQL records when, and a standby terminates a session that was
    idle for that long. A leader that wakes up later publishes nothing more, because it checks its
    own lease before each message. What it had already sent may be published twice, with the same
    ids, as after a crash.

    A heartbeat with the time T is a watermark: every event committed before T is confirmed by the
    broker and, because a channel keeps the order, is ahead of the heartbeat in every queue. T is
    taken before the read that found the outbox empty. A late heartbeat is not sent, and one that
    waits too long in a queue expires.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        source: str,
        *,
        watermark: str | None = None,
        lease_s: float = LEASE_S,
        publishable: str = outbox_reading.ANY,
    ) -> None:
        self._lease_s = lease_s
        self._publishable = publishable
        self._renewed_at_s = 0.0
        self._database = database
        self._bus = bus
        self._source = source
        self._watermark = watermark
        self._read_types: dict[str, bool] = {}
        self._watermark_at_s = -WATERMARK_EVERY_S
        self._patience = Patience()
        self.committed: Final = asyncio.Event()
        """Set it to have the outbox read now instead of at the next poll."""
        self._stopping = False
        self.leads = False
        """Whether this relay is the leader."""
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start publishing as soon as broker and database are available."""
        self._tasks = [
            run_on_each_connection(self._bus, "outbox relay", self._carry),
            asyncio.create_task(measure_outbox(self._database), name="outbox metrics"),
        ]

    async def stop(self) -> None:
        """Publish what is committed now, then release the leadership."""
        self._stopping = True
        self.committed.set()
        if self.leads:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_WAIT_S):
                    await self._ended.wait()
        await cancel_all(*self._tasks)

    async def _carry(self, connection: AbstractConnection) -> None:
        """Wait for the leadership, then publish until something fails or the process stops."""
        await self._database.migrated.wait()
        conn = await self._database.connect(**outbox_reading.SESSION)
        self._ended.clear()
        try:
            # Polling is better than a blocking lock statement, which would hold back VACUUM.
            while not await conn.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
                if await end_stale_leader(conn, LOCK_KEY, self._lease_s):
                    log.warning("outbox_relay_replaced", silent_for_s=self._lease_s)
                await asyncio.sleep(LEAD_RETRY_S)
            self._renewed_at_s = time.monotonic()
            opening = Publisher.open(connection, self._patience)
            publisher = await self._while_renewing(conn, opening)
            try:
                self.leads = True
                log.info("outbox_relay_leads")
                await self._lead(conn, publisher)
            finally:
                self.leads = False
                await publisher.close()
        except _Unroutable:
            await declare(connection, self._bus.queues)
            raise
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if is_unavailable(error, conn):
                raise ServiceUnavailable from error
            raise
        finally:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await conn.close(timeout=1)
            self._ended.set()

    async def _lead(self, conn: Conn, publisher: Publisher) -> None:
        # A watermark says that nothing is left: then everything is looked at.
        floor = None if self._watermark else Floor()
        while publisher.is_open:
            stopping = self._stopping
            read_at, read_at_s = datetime.now(UTC), time.monotonic()
            rows, more = await outbox_reading.read(conn, self._publishable, floor)
            if is_read_only(conn):
                # The outbox of a demoted primary stays empty, whatever the new one commits.
                raise ServiceUnavailable
            self._renewed_at_s = read_at_s
            if rows:
                await self._publish(conn, publisher, rows)
            if more:
                continue
            if stopping:
                return
            if self._watermark_is_due(read_at_s):
                await self._while_renewing(conn, self._publish_watermark(publisher, read_at))
            await self._sleep()

    async def _while_renewing(self, conn: Conn, work: Coroutine[Any, Any, T]) -> T:
        """Await work that may take longer than the lease, and renew the lease meanwhile.

        Nothing else may use the session until this returns.
        """
        working = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({working}, timeout=self._renew_every_s))[0]:
                asked_at_s = time.monotonic()
                await conn.fetchval("SELECT 1")
                self._renewed_at_s = asked_at_s
        except BaseException:
            working.cancel()
            await asyncio.wait({working})
            if not working.cancelled():
                working.exception()  # The error that ended the waiting is reported.
            raise
        with abandoning_is_an_error():
            return working.result()

    @property
    def _renew_every_s(self) -> float:
        return self._lease_s / RENEWALS_PER_LEASE

    def _check_lease(self) -> None:
        """Raise if the lease has expired, because another process may be the leader."""
        if time.monotonic() - self._renewed_at_s > self._lease_s:
            raise LeaseExpired

    async def _publish(self, conn: Conn, publisher: Publisher, rows: Sequence[Record]) -> None:
        """Publish events concurrently, but in order per subject; delete confirmed ones."""
        by_subject: dict[tuple[str, str], list[_Event]] = {}
        apart: set[tuple[str, str]] = set()
        for row in rows:
            one = _Event(row["id"], Message(row["type"], row["event_id"], row["document"].encode()))
            subject = (row["workspace_id"], row["subject"])
            by_subject.setdefault(subject, []).append(one)
            if self._is_read(one.message.event_type) or not publisher.fits(one.message):
                apart.add(subject)
        settled: list[int] = []
        together = [news for subject, news in by_subject.items() if subject not in apart]
        publishing = [self._publish_together(publisher, together, settled)]
        publishing += [
            self._publish_one_by_one(publisher, news, settled)
            for subject, news in by_subject.items()
            if subject in apart
        ]
        began = time.time_ns()
        outcomes = await self._while_renewing(conn, _start_staggered(publishing))
        if tracing.enabled:
            done = set(settled)
            tracing.note_published(topology.EVENTS, (r for r in rows if r["id"] in done), began)
        await outbox_reading.delete(conn, settled)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _publish_one_by_one(
        self, publisher: Publisher, news: Sequence[_Event], settled: list[int]
    ) -> None:
        """The events of one subject; those of types that queues must receive are mandatory."""
        for one in news:
            self._check_lease()
            is_read = self._is_read(one.message.event_type)
            if not await publisher.publish(*one.message, mandatory=is_read):
                raise _Unroutable(f"no queue is bound to '{one.message.event_type}'")
            RELAYED.labels("asked" if is_read else "unasked").inc()
            settled.append(one.id)

    async def _publish_together(
        self, publisher: Publisher, by_subject: Sequence[Sequence[_Event]], settled: list[int]
    ) -> None:
        """The others: the next event of each subject, `SENT_AT_ONCE` with one write."""
        waiting = [deque(news) for news in by_subject]
        while waiting:
            at_once = len(waiting) if publisher.has_confirmed else SENT_AT_ONCE
            heads = [news.popleft() for news in waiting[:at_once]]
            batches = []
            for start in range(0, len(heads), SENT_AT_ONCE):
                self._check_lease()
                together = [one.message for one in heads[start : start + SENT_AT_ONCE]]
                batches.append(await publisher.send(together))
            confirmed = chain.from_iterable(await publisher.confirmed(*batches))
            taken = [one.id for one, is_taken in zip(heads, confirmed, strict=True) if is_taken]
            settled += taken
            RELAYED.labels("unasked").inc(len(taken))
            if len(taken) < len(heads):
                raise NotConfirmed("the broker did not take all events")
            waiting = [news for news in waiting if news]

    def _is_read(self, event_type: str) -> bool:
        if event_type not in self._read_types:
            self._read_types[event_type] = topology.has_reader(event_type, self._bus.queues)
        return self._read_types[event_type]

    def _watermark_is_due(self, read_at_s: float) -> bool:
        now_s = time.monotonic()
        return (
            self._watermark is not None
            and now_s - self._watermark_at_s >= WATERMARK_EVERY_S
            and now_s - read_at_s <= WATERMARK_LATE_S
        )

    async def _publish_watermark(self, publisher: Publisher, read_at: datetime) -> None:
        assert self._watermark is not None
        self._watermark_at_s = time.monotonic()
        watermark = Event(self._watermark, self._source, "*", "pulse", {}, time=read_at)
        await publisher.publish(
            watermark.type,
            watermark.id,
            watermark.to_json(),
            persistent=False,
            expires_s=WATERMARK_LIFE_S,
        )

    async def _sleep(self) -> None:
        """Sleep until this process stores an event, or until the next poll."""
        pause_s = POLL_S
        if self._watermark is not None:
            due_s = self._watermark_at_s + WATERMARK_EVERY_S - time.monotonic()
            pause_s = min(POLL_S, max(0.0, due_s))
        try:
            async with asyncio.timeout(pause_s):
                await self.committed.wait()
        except TimeoutError:
            return
        self.committed.clear()
        # Events that are committed at the same moment are published together.
        await asyncio.sleep(LINGER_S)


async def _start_staggered(publishing: Sequence[Coroutine[Any, Any, None]]) -> list[Any]:
    """Like `asyncio.gather` with exceptions as results, but not all start at once."""
    begun: list[asyncio.Task[None]] = []
    try:
        for number, one in enumerate(publishing, start=1):
            begun.append(asyncio.create_task(one))
            if number % BEGUN_AT_ONCE == 0:
                await asyncio.sleep(0)
        return await asyncio.gather(*begun, return_exceptions=True)
    except asyncio.CancelledError:
        for task in begun:
            task.cancel()
        for one in publishing[len(begun) :]:
            one.close()
        raise


RELAY: Final = web.AppKey("outbox_relay", Relay)
