"""One process sends to webhooks, the others stand by.

It alone knows what is sent, and in which order. It holds the leadership as the relay does
(docs/adr/0011). It hears of changed webhooks by `NOTIFY`, and of new events by a question to
records_service that waits for the answer; nothing polls a table. A webhook that has something to
send has a lane.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import asyncpg
import structlog
from aiohttp import web

from shared.database import DATABASE, Conn
from shared.errors import ApiError, ServiceUnavailable
from shared.messaging.connection import cancel_all
from shared.messaging.leadership import end_stale_leader
from shared.process.waiting import KeyedSemaphore
from workflow_service.clients import RECORDS, SIGNER
from workflow_service.deliveries import store as deliveries
from workflow_service.dispatch.bounds import TAKE_WAIT_S, TAKES_OF_WORKSPACE, Places, Waits
from workflow_service.dispatch.intake import Identities
from workflow_service.dispatch.lane import Around, Lane
from workflow_service.webhooks import store as webhooks

LOCK_KEY: Final = 0x5167_4D61_7765_6268
LEAD_RETRY_S: Final = 0.5
AGAIN_AFTER_S: Final = 0.5
RENEWALS_PER_LEASE: Final = 5
STOP_WAIT_S: Final = 2.0
NEWS_WAIT_S: Final = 8
"""Shorter than what a call to another service may take."""
NEWS_PAUSE_S: Final = 0.02
WORKSPACES_AT_ONCE: Final = 500
WEBHOOKS_AT_ONCE: Final = 500

log = structlog.get_logger(__name__)


class Dispatcher:
    """Sends what there is to send, for all workspaces."""

    def __init__(self, app: web.Application, *, lease_s: float) -> None:
        self._app = app
        self._lease_s = lease_s
        self._stopping = asyncio.Event()
        self._lost = asyncio.Event()
        self._held_at = -math.inf
        takes = KeyedSemaphore(TAKES_OF_WORKSPACE, wait_s=TAKE_WAIT_S)
        self._around = Around(self._holds, Places(), Waits(), takes, Identities())
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._active: dict[str, set[str]] = defaultdict(set)
        self._heard: dict[str, int] = {}
        self._followed_changed = asyncio.Event()
        self.touched: set[tuple[str, str]] = set()
        """Webhooks that had something to send; whoever removes old deliveries takes them out."""
        self.leads = False

    @property
    def lanes(self) -> set[tuple[str, str]]:
        """Workspace and id of each webhook that has a lane."""
        return set(self._lanes)

    async def run(self) -> None:
        """Lead when nobody else does, until `stop`."""
        while not self._stopping.is_set():
            await self._app[DATABASE].migrated.wait()
            try:
                await self._session()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("webhooks_interrupted", error=repr(error))
            except ServiceUnavailable:
                pass
            except Exception:
                log.exception("webhooks_failed")
            finally:
                self.leads = False
                await self._end_lanes()
            if not self._stopping.is_set():
                await asyncio.sleep(AGAIN_AFTER_S)

    def stop(self) -> None:
        """Store what is being sent, then end."""
        self._stopping.set()
        for lane in self._lanes.values():
            lane.stop()

    async def _session(self) -> None:
        conn = await self._app[DATABASE].connect(application_name="workflow_service webhooks")
        leading: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._held_at = loop.time()
                if await conn.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
                    break
                if self._stopping.is_set():
                    return
                if await end_stale_leader(conn, LOCK_KEY, self._lease_s):
                    log.warning("webhooks_taken_over", silent_for_s=self._lease_s)
                await asyncio.sleep(LEAD_RETRY_S)
            self._lost.clear()
            conn.add_termination_listener(lambda _conn: self._lost.set())
            await conn.add_listener(webhooks.CHANGED_CHANNEL, self._told)
            log.info("webhooks_lead")
            self.leads = True
            # Beside it: with many webhooks it takes longer than the lease.
            leading = asyncio.create_task(self._lead(), name="webhooks lead")
            await self._hold(conn, leading)
        finally:
            if leading is not None:
                await cancel_all(leading)
            await self._end_lanes()
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await conn.close(timeout=1)

    async def _lead(self) -> None:
        await self._begin()
        await self._follow()

    async def _hold(self, conn: Conn, leading: asyncio.Task[None]) -> None:
        """Keep the leadership until it is lost, `leading` fails, or this process stops."""
        loop = asyncio.get_running_loop()
        while not (self._stopping.is_set() or self._lost.is_set()):
            if leading.done():
                leading.result()
            began, was_away = loop.time(), not self._holds()
            await conn.fetchval("SELECT 1", timeout=self._lease_s)
            self._held_at = began
            if was_away:
                for lane in self._lanes.values():
                    lane.wake()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / RENEWALS_PER_LEASE):
                    await self._stopping.wait()
        if self._stopping.is_set() and self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_WAIT_S)

    def _holds(self) -> bool:
        """Whether no other process can lead: it ends this one when the lease is over."""
        return asyncio.get_running_loop().time() < self._held_at + self._lease_s

    async def _begin(self) -> None:
        """Find all webhooks, and give a lane to those for which deliveries wait."""
        self._active.clear()
        self._heard.clear()
        after = ("", "")
        while True:
            page = await webhooks.page_of_all(self._app[DATABASE], after, WEBHOOKS_AT_ONCE)
            for webhook in page:
                self.touched.add((webhook.workspace_id, webhook.id))
                if webhook.active:
                    self._note_active(webhook.workspace_id, webhook.id, webhook.position)
            keys = [(webhook.workspace_id, webhook.id) for webhook in page]
            for key in await deliveries.waiting(self._app[DATABASE], keys):
                self._lane(*key)
            if len(page) < WEBHOOKS_AT_ONCE:
                break
            after = (page[-1].workspace_id, page[-1].id)

    def _note_active(self, workspace_id: str, webhook_id: str, position: int) -> None:
        self._active[workspace_id].add(webhook_id)
        if workspace_id not in self._heard:
            self._heard[workspace_id] = position
            self._followed_changed.set()
        self._heard[workspace_id] = min(self._heard[workspace_id], position)

    def _told(self, _conn: Any, _pid: int, _channel: str, payload: object) -> None:
        workspace_id, _, webhook_id = str(payload).partition(" ")
        self._lane(workspace_id, webhook_id).changed()

    def _lane(self, workspace_id: str, webhook_id: str) -> Lane:
        """The lane of a webhook, which runs from now on if it did not."""
        key = (workspace_id, webhook_id)
        lane = self._lanes.get(key)
        if lane is None:
            lane = Lane(self._app, workspace_id, webhook_id, self._around)
            self._lanes[key] = lane
            task = asyncio.create_task(self._run(key, lane), name=f"webhook {webhook_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return lane

    async def _run(self, key: tuple[str, str], lane: Lane) -> None:
        self.touched.add(key)
        lane.loaded = self._loaded
        try:
            await lane.run()
        except Exception:
            log.exception("webhook_lane_failed", webhook_id=lane.webhook_id)
            await asyncio.sleep(AGAIN_AFTER_S)
            del self._lanes[key]
            # A new one reads anew what there is.
            self._lane(*key)
        else:
            del self._lanes[key]

    def _loaded(self, lane: Lane) -> None:
        """A lane has read its webhook: is it to hear of events?"""
        webhook = lane.webhook
        if webhook is not None and webhook.active:
            if lane.webhook_id not in self._active.get(lane.workspace_id, ()):
                self._note_active(lane.workspace_id, lane.webhook_id, webhook.position)
            return
        followed = self._active.get(lane.workspace_id)
        if followed is not None:
            followed.discard(lane.webhook_id)
            if not followed:
                del self._active[lane.workspace_id]
                del self._heard[lane.workspace_id]
                self._followed_changed.set()

    async def _follow(self) -> None:
        """Hear of events in the workspaces that have an active webhook."""
        while True:
            self._followed_changed.clear()
            followed = sorted(self._heard)
            tasks = [
                asyncio.create_task(
                    self._hear(followed[begin : begin + WORKSPACES_AT_ONCE]), name="webhooks hear"
                )
                for begin in range(0, len(followed), WORKSPACES_AT_ONCE)
            ]
            try:
                await self._followed_changed.wait()
            finally:
                await cancel_all(*tasks)

    async def _hear(self, workspace_ids: Iterable[str]) -> None:
        while True:
            after = {one: self._heard[one] for one in workspace_ids if one in self._heard}
            try:
                answer = await self._app[RECORDS].request(
                    "POST",
                    "/internal/changes/news",
                    json={"after": after, "wait": NEWS_WAIT_S},
                    identity_token=self._app[SIGNER].sign_service(),
                    reads=True,
                )
            except ApiError as error:
                log.info("webhooks_hear_nothing", error=error.message)
                await asyncio.sleep(AGAIN_AFTER_S)
                continue
            except Exception:
                # Nobody else would ask again.
                log.exception("webhooks_hear_failed")
                await asyncio.sleep(AGAIN_AFTER_S)
                continue
            for workspace_id, position in answer["workspaces"].items():
                if self._heard.get(workspace_id, position) < position:
                    self._heard[workspace_id] = position
                for webhook_id in self._active.get(workspace_id, ()):
                    self._lane(workspace_id, webhook_id).told()
            await asyncio.sleep(NEWS_PAUSE_S)

    async def _end_lanes(self) -> None:
        await cancel_all(*self._tasks)
        self._lanes.clear()


DISPATCHER: Final = web.AppKey("webhook_dispatcher", Dispatcher)


def dispatching(*, lease_s: float) -> Callable[[web.Application], AsyncIterator[None]]:
    """Send to webhooks while the service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        dispatcher = Dispatcher(app, lease_s=lease_s)
        app[DISPATCHER] = dispatcher
        running = asyncio.create_task(dispatcher.run(), name="webhooks")
        yield
        dispatcher.stop()
        await asyncio.wait({running}, timeout=STOP_WAIT_S + 1)
        await cancel_all(running)

    return opened
