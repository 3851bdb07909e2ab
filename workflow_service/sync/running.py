"""Works on synchronisations in the background: claims one that is due, and goes on where it was.

A synchronisation is held for some seconds at a time, which its process renews. If that dies,
another one takes it over, and repeats what was under way; nothing of that takes effect twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter as Tally
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final

import structlog
from aiohttp import web
from prometheus_client import Counter, Gauge

from shared.database import DATABASE
from shared.errors import ApiError, ServiceUnavailable, UpstreamTimeout
from shared.process import tracing
from workflow_service.channels import store as channels
from workflow_service.channels.commands import opened
from workflow_service.channels.model import Channel
from workflow_service.connectors.model import (
    CHANNEL_TYPES,
    CHECKPOINT_LENGTH_MAX,
    Connector,
    TargetBusy,
    TargetFailed,
)
from workflow_service.holds import Hold
from workflow_service.leases import Lost
from workflow_service.mapping.mapping import ChannelMapping, Source
from workflow_service.outbound.resolving import TENANT
from workflow_service.sync_runs import store
from workflow_service.sync_runs.model import STEPS, Run, Status, Step
from workflow_service.sync_runs.pulling import pull_page
from workflow_service.sync_runs.pushing import find_lost, push_page
from workflow_service.sync_runs.records import (
    PATIENCE_S,
    NobodyToActFor,
    Records,
    lent_tokens,
    mapping_of,
)
from workflow_service.sync_runs.statistics import analyze_grown
from workflow_service.sync_runs.store import LEASE_S

log = structlog.get_logger(__name__)

AT_ONCE: Final = 32
"""Synchronisations that a process works on; mostly they wait for their targets."""
OF_WORKSPACE: Final = 2
TURN_S: Final = 10.0
"""After this, one gives way behind its page to others that wait, of its workspace or of any."""
LOOK_S: Final = 0.5
"""Between two looks for one that is due: one statement on an index of those that run."""
RENEW_S: Final = LEASE_S / 3
AGAIN_S: Final = 5.0
INACTIVE_S: Final = 5.0
"""Between two looks for those that wait for their targets and whose channel is not active."""

DEACTIVATED: Final = "The channel was deactivated"
RUNS: Final = Counter(
    "sigma_sync_runs_total", "Synchronisations that ended", ["type", "direction", "status"]
)
RUNNING: Final = Gauge("sigma_sync_running", "Synchronisations that this process works on")
WAKE: Final = web.AppKey("wake_sync", asyncio.Event)
GIVING_WAY: Final[web.AppKey[set[str]]] = web.AppKey("giving_way")
"""Workspaces whose synchronisations others wait for."""


class _TurnOver(Exception):
    """Others wait, and this one has had its turn: it goes on when it is due again."""


def synchronising(app: web.Application) -> AsyncIterator[None]:
    """Work on synchronisations while the service runs."""
    return _synchronising(app)


async def _synchronising(app: web.Application) -> AsyncIterator[None]:
    worker = asyncio.create_task(_work(app), name="synchronisations")
    yield
    worker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await worker


async def _work(app: web.Application) -> None:
    db = app[DATABASE]
    await db.migrated.wait()
    active: dict[asyncio.Task[None], str] = {}
    look_at = 0.0
    try:
        while True:
            active = {task: of for task, of in active.items() if not task.done()}
            RUNNING.set(len(active))
            claimed = None
            if len(active) < AT_ONCE:
                busy = [of for of, n in Tally(active.values()).items() if n >= OF_WORKSPACE]
                claimed = await _claimed(app, busy)
            if claimed is None:
                await _look_who_waits(app, list(active.values()))
                if time.monotonic() > look_at:
                    look_at = time.monotonic() + INACTIVE_S
                    await _wake_inactive(app)
                app[WAKE].clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(app[WAKE].wait(), LOOK_S)
                continue
            run, hold = claimed
            task = asyncio.create_task(_held(app, run, hold), name=f"sync {run.id}")
            active[task] = run.workspace_id
    finally:
        for task in active:
            task.cancel()
        await asyncio.gather(*active, return_exceptions=True)


async def _look_who_waits(app: web.Application, active: Sequence[str]) -> None:
    waiting: set[str] = set()
    if active:
        with contextlib.suppress(ServiceUnavailable, UpstreamTimeout):
            async with app[DATABASE].acquire() as conn:
                found = await store.RUNS.waiting(conn, store.DUE_AT_ONCE)
                waiting = {each.workspace_id for each in found}
    app[GIVING_WAY].clear()
    app[GIVING_WAY].update(active if len(active) >= AT_ONCE and waiting else waiting)


async def _wake_inactive(app: web.Application) -> None:
    with contextlib.suppress(ServiceUnavailable, UpstreamTimeout):
        async with app[DATABASE].acquire() as conn:
            await store.wake_inactive(conn)


async def _claimed(app: web.Application, busy: Sequence[str]) -> tuple[Run, Hold] | None:
    """One that is due, and is this process's as long as it holds it."""
    try:
        async with app[DATABASE].acquire() as conn:
            for each in await store.RUNS.waiting(conn, store.DUE_AT_ONCE, busy):
                since_s = time.monotonic()
                run = await store.claim(conn, each, secrets.token_hex(8))
                if run is not None:
                    return run, Hold(LEASE_S, partial(_renew, app, run), since_s=since_s)
    except (ServiceUnavailable, UpstreamTimeout):
        pass
    except Exception:
        log.exception("syncs_not_claimed")
    return None


async def _renew(app: web.Application, run: Run) -> None:
    async with app[DATABASE].acquire() as conn:
        await store.renew(conn, run)


async def _held(app: web.Application, run: Run, hold: Hold) -> None:
    """Work on one synchronisation, and hold it meanwhile."""
    TENANT.set(run.workspace_id)
    db = app[DATABASE]
    work = asyncio.create_task(_worked(app, run, hold))
    try:
        while True:
            done, _ = await asyncio.wait({work}, timeout=RENEW_S)
            if done:
                break
            try:
                await hold.renew()
                async with db.acquire() as conn:
                    is_active = await channels.is_active(conn, run.workspace_id, run.channel_id)
            except Lost:
                log.warning("sync_lost", channel=run.channel_id, run=run.id)
                work.cancel()
            except (ServiceUnavailable, UpstreamTimeout):
                continue
            except Exception:
                # The work must not go on without anybody who holds it.
                log.exception("sync_not_renewed", channel=run.channel_id, run=run.id)
            else:
                if not is_active:
                    # What the target has confirmed is stored on the way out.
                    work.cancel()
                    await asyncio.wait({work})
                    if work.cancelled():
                        await _end(app, run, "-", DEACTIVATED)
    except asyncio.CancelledError:
        # The process stops: another one may go on at once.
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2), db.acquire() as conn:
                await store.release(conn, run, 0)
        raise
    with contextlib.suppress(asyncio.CancelledError):
        await work


async def _worked(app: web.Application, run: Run, hold: Hold) -> None:
    db = app[DATABASE]
    error: str | None = None
    kind = "-"
    try:
        async with db.acquire() as conn:
            channel = opened(app, await channels.get(conn, run.workspace_id, run.channel_id))
        kind = channel.type
        await _go_on(app, run, channel, hold)
    except Lost:
        return
    except _TurnOver:
        async with db.acquire() as conn:
            await store.release(conn, run, 0)
        app[WAKE].set()
        return
    except TargetBusy as busy:
        log.info("sync_waits_for_target", channel=run.channel_id, run=run.id, after=busy.after_s)
        try:
            async with db.acquire() as conn:
                if await store.pause(conn, run, busy.after_s):
                    return
        except Lost:
            return
        error = f"{busy}, time {store.PAUSES_MAX + 1} in a row"
    except (TargetFailed, NobodyToActFor) as failure:
        error = str(failure)
    except (ServiceUnavailable, UpstreamTimeout):
        log.warning("sync_waits", channel=run.channel_id, run=run.id)
        with contextlib.suppress(ServiceUnavailable, UpstreamTimeout):
            async with db.acquire() as conn:
                await store.release(conn, run, AGAIN_S)
        return
    except ApiError as refused:
        error = refused.message
    except Exception:
        log.exception("sync_failed", channel=run.channel_id, run=run.id)
        error = "Internal server error"
    await _end(app, run, kind, error)


async def _end(app: web.Application, run: Run, kind: str, error: str | None) -> None:
    try:
        async with app[DATABASE].acquire() as conn:
            ended = await store.finish(conn, run, error)
    except Lost:
        return
    RUNS.labels(kind, str(run.direction), str(ended.status)).inc()
    tracing.note_run(
        "synchronisation",
        run.id,
        run.workspace_id,
        run.traceparent,
        began=run.created_at,
        outcome=str(ended.status),
        failed=ended.status is Status.FAILED,
    )
    log.info(
        "sync_ended",
        workspace=run.workspace_id,
        channel=run.channel_id,
        run=run.id,
        status=str(ended.status),
        error=error,
    )


async def _go_on(app: web.Application, run: Run, channel: Channel, hold: Hold) -> None:
    """Do the steps that are left."""
    kind = app[CHANNEL_TYPES][channel.type]
    if kind.connect is None:
        raise TargetFailed(f"Channels of type '{channel.type}' have no connector")
    if not channel.body["active"]:
        raise TargetFailed(DEACTIVATED)
    token = lent_tokens(app, run.workspace_id, run.caller_kind, run.caller_id)  # type: ignore[arg-type]
    records = Records(app, channel, token, PATIENCE_S, check=hold.check)
    mapping = mapping_of(channel)
    await token()
    steps = STEPS[run.direction]
    step, place = run.step, run.place
    async with kind.connect(app, channel.config, _Checkpoint(app, run, hold)) as connector:
        # Also before a pull: what a lost create has made is no new object of the target.
        await find_lost(app[DATABASE], run, mapping, connector)
        turn = _Turn(app, run)
        while step is not Step.DONE:
            following = (*steps, Step.DONE)[steps.index(step) + 1]
            if step is Step.PULL:
                await _pull(app, run, mapping, connector, records, place, following, turn)
            else:
                at_once = kind.items_at_once
                await _push(app, run, mapping, connector, records, place, following, turn, at_once)
            step, place = following, None


async def _pull(
    app: web.Application,
    run: Run,
    mapping: ChannelMapping,
    connector: Connector,
    records: Records,
    place: str | None,
    following: Step,
    turn: _Turn,
) -> None:
    seen = 0
    while True:
        page = await connector.pull(place)
        then = (following, None) if page.next is None else (Step.PULL, page.next)
        await pull_page(app[DATABASE], run, mapping, records, page.items, then=then)
        before, seen = seen, seen + len(page.items)
        await analyze_grown(app[DATABASE], before, seen)
        place = page.next
        if place is None:
            return
        turn.check()


async def _push(
    app: web.Application,
    run: Run,
    mapping: ChannelMapping,
    connector: Connector,
    records: Records,
    place: Any,
    following: Step,
    turn: _Turn,
    items_at_once: int,
) -> None:
    seen = 0
    while True:
        some, place = await _gathered(records, place, items_at_once)
        then = (following, None) if place is None else (Step.PUSH, place)
        await push_page(app[DATABASE], run, mapping, connector, some, then=then)
        before, seen = seen, seen + len(some)
        await analyze_grown(app[DATABASE], before, seen)
        if place is None:
            return
        turn.check()


async def _gathered(
    records: Records, place: Any, items_at_once: int
) -> tuple[Sequence[Source], Any]:
    """As many records as the connector takes at once, and where the next ones begin."""
    found: list[Source] = []
    while True:
        page = await records.page(place)
        found += page.records
        place = page.next
        if place is None or len(found) >= items_at_once:
            return found, place


class _Turn:
    """How long a synchronisation goes on while others wait for it."""

    def __init__(self, app: web.Application, run: Run) -> None:
        self._app = app
        self._of = run.workspace_id
        self._until = time.monotonic() + TURN_S

    def check(self) -> None:
        """Raise `_TurnOver` if it is to give way; what it has done is stored."""
        if time.monotonic() > self._until and self._of in self._app[GIVING_WAY]:
            raise _TurnOver


class _Checkpoint:
    """What a connector notes, kept with the run."""

    def __init__(self, app: web.Application, run: Run, hold: Hold) -> None:
        self._app = app
        self._run = run
        self.check = hold.check
        self.value = run.checkpoint

    async def save(self, value: str | None) -> None:
        """Keep it in a transaction of its own."""
        if value is not None and len(value) > CHECKPOINT_LENGTH_MAX:
            raise ValueError("a checkpoint is too long")
        async with self._app[DATABASE].acquire() as conn:
            await store.note(conn, self._run, value)
        self.value = value
