"""The lane of one webhook: takes its events, sends its deliveries, stores the results.

What is sent is bounded per webhook, per workspace and per process, and a receiver that only fails
has one request at a time. Results are stored together: those of the requests that ended while the
ones before were being stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from shared.database import DATABASE, Conn
from shared.errors import ApiError
from shared.process import tracing
from shared.process.waiting import KeyedSemaphore
from workflow_service.deliveries import store as deliveries
from workflow_service.deliveries.model import ATTEMPT_DELAYS_S
from workflow_service.deliveries.store import Result
from workflow_service.dispatch import intake
from workflow_service.dispatch.bounds import (
    FEW,
    RECORDS_MAX,
    SENT_AT_ONCE,
    Places,
    Waits,
)
from workflow_service.dispatch.ordering import Queue, Waiting
from workflow_service.dispatch.sending import Receiver, attempt
from workflow_service.outbound.client import OUTBOUND
from workflow_service.outbound.resolving import TENANT, Busy
from workflow_service.webhooks import store as webhooks
from workflow_service.webhooks.commands import is_over, secrets_of
from workflow_service.webhooks.model import Webhook

FAILURES_BEFORE_ONE: Final = 3
BODIES_BYTES_MAX: Final = 32 << 20
"""Bodies that are kept in memory until they are sent; all others are read again."""
FAILED_DAYS_MAX: Final = 5
LINGER_S: Final = 30.0
AGAIN_AFTER_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Around:
    """What the lanes of a process share."""

    may_send: Callable[[], bool]
    """Whether no other process leads: asked before each request."""
    places: Places
    waits: Waits
    takes: KeyedSemaphore
    """Of each workspace: a page that is taken is in memory, and a hundred webhooks may want one."""
    identities: intake.Identities


class NoLongerLeads(Exception):
    """Nothing is sent before this process knows that it still leads."""


class Lane:
    """Runs while there is something to send; `changed` and `told` say that there may be more."""

    def __init__(
        self,
        app: web.Application,
        workspace_id: str,
        webhook_id: str,
        around: Around,
    ) -> None:
        self.workspace_id = workspace_id
        self.webhook_id = webhook_id
        self.webhook: Webhook | None = None
        self.loaded: Callable[[Lane], None] = lambda _: None
        """Called when the webhook has been read."""
        self._app = app
        self._around = around
        self._key = (workspace_id, webhook_id)
        self._receiver = Receiver("", ())
        self._queue = Queue()
        self._wake = asyncio.Event()
        self._is_stale = True
        self._is_behind = True
        self._is_stopping = False
        self._loaded_max = 0
        self._has_more = False
        self._failures = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._judged: set[str] | None = None
        self._bodies: dict[str, bytes] = {}
        self._results: list[Result] = []
        self._background: dict[str, asyncio.Task[None]] = {}

    def changed(self) -> None:
        """The webhook has changed, or a delivery was added."""
        self._is_stale = True
        self._wake.set()

    def told(self) -> None:
        """There are new events."""
        self._is_behind = True
        self._wake.set()

    def wake(self) -> None:
        """Look again whether something can be sent."""
        self._wake.set()

    def stop(self) -> None:
        """Send nothing more, and end when all results are stored."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Until there has been nothing to do for a while, or the webhook is gone."""
        loop = asyncio.get_running_loop()
        TENANT.set(self.workspace_id)
        try:
            while True:
                self._wake.clear()
                if self._is_stale and not (self._background or self._results):
                    try:
                        await self._load()
                    except ApiError:
                        self._is_stale = True
                        await asyncio.sleep(AGAIN_AFTER_S)
                        continue
                if self.webhook is None:
                    return
                self._around.waits.note(self._key, len(self._queue), self._queue.bytes)
                self._start_background(self.webhook)
                self._send(loop.time())
                is_idle = not (self._sending or self._background or self._results)
                if is_idle and self._is_stopping:
                    return
                due = self._queue.next_due
                # What is due and not sent waits for a place, or for the webhook to be read again.
                wait_s = LINGER_S if due is None or due <= loop.time() else due - loop.time()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    # It may have been woken at the last moment.
                    if is_idle and not (len(self._queue) or self._wake.is_set()):
                        return
        finally:
            for task in (*self._sending, *self._background.values()):
                task.cancel()
            self._forget_bodies()
            self._around.waits.note(self._key, 0, 0)

    async def _load(self) -> None:
        """Read the webhook and what waits for it.

        Nothing is taken or stored meanwhile; of what is being sent, the results count.
        """
        self._is_stale = False
        self._forget_bodies()
        # Only meanwhile: a lane that is never without work would remember all that it ever sent.
        judged: set[str] = set()
        self._judged = judged
        try:
            await self._read(judged)
        finally:
            self._judged = None

    async def _read(self, judged: Collection[str]) -> None:
        loop = asyncio.get_running_loop()
        async with self._app[DATABASE].transaction() as conn:
            webhook = await webhooks.find(conn, self.workspace_id, self.webhook_id)
            if webhook is not None and not webhook.active:
                webhook = await webhooks.find(conn, self.workspace_id, self.webhook_id, lock=True)
            if webhook is not None and not webhook.active:
                await deliveries.drop(conn, self.workspace_id, self.webhook_id)
            limit = self._around.waits.loadable(self._key)
            rows = await deliveries.pending(conn, self.workspace_id, self.webhook_id, limit)
        now = loop.time()
        self.webhook = webhook
        self.loaded(self)
        if webhook is None:
            return
        self._is_behind = True
        self._receiver = Receiver(webhook.url, secrets_of(self._app, webhook))
        self._loaded_max, self._has_more = limit, len(rows) == limit
        self._queue.keep({row["id"] for row in rows})
        for row in rows:
            if row["id"] in judged:
                continue
            due = now + max(0.0, row["due_s"])
            if row["id"] in self._queue:
                self._queue.move(row["id"], row["tries"], due)
            else:
                self._queue.add(
                    Waiting(
                        row["id"],
                        row["subject"],
                        row["tries"],
                        due,
                        row["bytes"],
                        row["traceparent"],
                    )
                )

    def _forget_bodies(self) -> None:
        self._around.places.body_bytes -= sum(map(len, self._bodies.values()))
        self._bodies.clear()

    def _start_background(self, webhook: Webhook) -> None:
        if self._results:
            self._begin("storing", self._store)
        if self._is_stopping or self._is_stale:
            return
        if len(self._receiver.secrets or ()) > 1 and is_over(webhook):
            self.changed()
        elif self._has_more:
            if len(self._queue) <= self._loaded_max // 2:
                self.changed()
        elif self._is_behind and webhook.active and self._room():
            self._begin("taking", self._take)

    def _room(self) -> int:
        """How many events may be taken."""
        room = self._around.waits.takeable(self._key)
        return room if self._queue.records + room <= RECORDS_MAX else 0

    def _begin(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        if name in self._background:
            return

        async def run() -> None:
            try:
                await work()
            except ApiError as error:
                # Whoever is away now is asked again.
                log.info("webhook_lane_waits", work=name, error=error.message)
                await asyncio.sleep(AGAIN_AFTER_S)
            except Exception:
                log.exception("webhook_lane_failed", work=name, webhook_id=self.webhook_id)
                await asyncio.sleep(AGAIN_AFTER_S)
            finally:
                del self._background[name]
                self._wake.set()

        self._background[name] = asyncio.create_task(run(), name=f"webhook {name}")

    def _send(self, now: float) -> None:
        at_once = 1 if self._failures >= FAILURES_BEFORE_ONE else SENT_AT_ONCE
        while len(self._sending) < at_once and not (self._is_stopping or self._is_stale):
            if not self._around.may_send():
                return
            one = self._queue.take(now)
            if one is None:
                return
            is_first = not self._sending
            places = self._around.places
            if not places.take(self.workspace_id, one.bytes, self._wake, is_first=is_first):
                self._queue.give_back(one)
                return
            task = asyncio.create_task(self._deliver(one), name="webhook delivery")
            self._sending.add(task)
            task.add_done_callback(partial(self._sent, one.bytes))

    def _sent(self, size: int, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._around.places.give_back(self.workspace_id, size)
        self._wake.set()

    async def _deliver(self, one: Waiting) -> None:
        try:
            await self._attempt(one)
        except Exception as error:
            # Whatever went wrong, the deliveries behind it must not wait for ever.
            if not isinstance(error, (ApiError, Busy, NoLongerLeads)):
                log.exception("webhook_delivery_failed", webhook_id=self.webhook_id)
            one.due = asyncio.get_running_loop().time() + AGAIN_AFTER_S
            self._queue.give_back(one)

    async def _attempt(self, one: Waiting) -> None:
        body = self._bodies.pop(one.id, None)
        if body is not None:
            self._around.places.body_bytes -= len(body)
        else:
            async with self._app[DATABASE].acquire() as conn:
                text = await deliveries.body(conn, self.workspace_id, one.id)
            if text is None:
                self._queue.end(one)
                return
            body = text.encode()
        if not self._around.may_send():
            # This process was away for long: another one may have sent it, and what comes after it.
            raise NoLongerLeads
        with tracing.caused_by(one.traceparent):
            result = await attempt(self._app[OUTBOUND], self._receiver, one.id, one.tries, body)
        self._failures = 0 if result.succeeded else self._failures + 1
        self._results.append(result)
        if self._judged is not None:
            self._judged.add(one.id)
        if _is_last(result):
            self._queue.end(one)
        else:
            delay_s = ATTEMPT_DELAYS_S[one.tries + 1]
            self._queue.put_off(one, asyncio.get_running_loop().time() + delay_s)

    async def _store(self) -> None:
        """Store what requests have come to, and whether the receiver works."""
        webhook = self.webhook
        assert webhook is not None
        results, self._results = self._results, []
        try:
            async with self._app[DATABASE].transaction() as conn:
                # The webhook before its deliveries, as whoever pauses or deletes it locks them:
                # both write several, each in an order of its own.
                await webhooks.find(conn, self.workspace_id, self.webhook_id, lock=True)
                is_paused, since = await self._note(conn, webhook, results)
                ended = [one for one in results if _is_last(one)]
                if ended:
                    await deliveries.finish(conn, self.workspace_id, ended)
                for tries, delay_s in enumerate(ATTEMPT_DELAYS_S[1:]):
                    failed = [one for one in results if not one.succeeded and one.tries == tries]
                    if failed:
                        await deliveries.put_off(conn, self.workspace_id, failed, delay_s)
                if is_paused:
                    await deliveries.drop(conn, self.workspace_id, self.webhook_id)
        except BaseException:
            self._results = results + self._results
            raise
        if self.webhook is not None:
            self.webhook = replace(self.webhook, failing_since=since)
        if is_paused:
            self.changed()

    async def _note(
        self, conn: Conn, webhook: Webhook, results: list[Result]
    ) -> tuple[bool, datetime | None]:
        if any(one.succeeded for one in results):
            if webhook.failing_since is not None:
                await webhooks.note_success(conn, webhook)
            return False, None
        since = webhook.failing_since
        if since is None:
            since = await webhooks.note_failing(conn, webhook)
        if since is None or datetime.now(UTC) - since < timedelta(days=FAILED_DAYS_MAX):
            return False, since
        reason = f"No delivery succeeded for {FAILED_DAYS_MAX} days"
        return await webhooks.pause(conn, webhook, reason, failing_days=FAILED_DAYS_MAX), since

    async def _take(self) -> None:
        webhook = self.webhook
        assert webhook is not None
        self._is_behind = False
        try:
            async with self._around.takes.of(self.workspace_id):
                identities, limit = self._around.identities, self._room() or FEW
                taken = await intake.take(self._app, identities, webhook, limit)
        except intake.OwnerGone as gone:
            async with self._app[DATABASE].transaction() as conn:
                if await webhooks.pause(conn, webhook, str(gone)):
                    await deliveries.drop(conn, self.workspace_id, self.webhook_id)
            self.changed()
            return
        except BaseException:
            self._is_behind = True
            raise
        if taken is None:
            self._is_behind = True
            self.changed()
            return
        if self.webhook is not None:
            self.webhook = replace(self.webhook, position=taken.position)
        now = asyncio.get_running_loop().time()
        for new in taken.deliveries:
            body = new.body.encode()
            if self._around.places.body_bytes + len(body) <= BODIES_BYTES_MAX:
                self._bodies[new.id] = body
                self._around.places.body_bytes += len(body)
            self._queue.add(Waiting(new.id, new.subject, 0, now, len(body), new.traceparent))
        self._is_behind = self._is_behind or taken.more


def _is_last(result: Result) -> bool:
    return result.succeeded or result.tries + 1 >= len(ATTEMPT_DELAYS_S)
