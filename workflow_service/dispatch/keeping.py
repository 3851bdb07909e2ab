"""Removes old deliveries, and measures what waits, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import REGISTRY, Gauge

from shared.database import DATABASE
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.messaging.connection import cancel_all
from workflow_service.deliveries import store as deliveries
from workflow_service.dispatch.dispatcher import DISPATCHER
from workflow_service.webhooks import store as webhooks

REMOVE_EVERY_S: Final = 60.0
ALL_EVERY: Final = 60
"""Every so many times all webhooks are looked at, not only those that had something to send."""
MEASURE_EVERY_S: Final = 15.0

# Exported only by processes that measure them.
OLDEST: Final = Gauge(
    "sigma_webhook_oldest_due_seconds",
    "For how long the delivery that is due longest has waited",
    registry=None,
)
PAUSED: Final = Gauge("sigma_webhooks_paused", "Webhooks that the system has paused", registry=None)

log = structlog.get_logger(__name__)


async def keeping(app: web.Application) -> AsyncIterator[None]:
    """Remove and measure while the service runs. Opened after the dispatcher."""
    tasks = [
        asyncio.create_task(_remove(app), name="webhook deliveries removed"),
        asyncio.create_task(_measure(app), name="webhook metrics"),
    ]
    yield
    await cancel_all(*tasks)


async def remove_old(app: web.Application, workspace_id: str, webhook_id: str) -> int:
    """Remove what is too old of one webhook; how many deliveries that were."""
    total = 0
    async with app[DATABASE].acquire() as conn:
        beyond = await deliveries.too_many(conn, workspace_id, webhook_id)
    while True:
        async with app[DATABASE].acquire() as conn:
            removed = await deliveries.remove_old(conn, workspace_id, webhook_id, beyond)
        total += removed
        if removed < deliveries.REMOVED_AT_ONCE:
            return total
        await asyncio.sleep(0)


async def _remove(app: web.Application) -> None:
    dispatcher = app[DISPATCHER]
    rounds = 0
    while True:
        await asyncio.sleep(REMOVE_EVERY_S)
        if not dispatcher.leads:
            continue
        try:
            rounds += 1
            if rounds % ALL_EVERY == 0:
                await _touch_all(app)
            dispatcher.touched |= dispatcher.lanes
            while dispatcher.touched:
                await remove_old(app, *dispatcher.touched.pop())
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("webhook_deliveries_not_removed")


async def _touch_all(app: web.Application) -> None:
    after = ("", "")
    while True:
        page = await webhooks.page_of_all(app[DATABASE], after, 500)
        if not page:
            return
        app[DISPATCHER].touched |= {(one.workspace_id, one.id) for one in page}
        after = (page[-1].workspace_id, page[-1].id)


async def _measure(app: web.Application) -> None:
    while True:
        await app[DATABASE].migrated.wait()
        try:
            OLDEST.set(await deliveries.oldest_due(app[DATABASE]))
            PAUSED.set(await webhooks.paused(app[DATABASE]))
            for metric in (OLDEST, PAUSED):
                # The registry raises this error for a metric that is already registered.
                with suppress(ValueError):
                    REGISTRY.register(metric)
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("webhooks_not_measured")
        await asyncio.sleep(MEASURE_EVERY_S)
