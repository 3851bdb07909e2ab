"""Repairs periodically what interrupted changes left behind, here and in records_service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import structlog
from aiohttp import web

from shared.database import DATABASE
from shared.errors import ApiError
from workflow_service.config import Config
from workflow_service.references.reconciliation import release_stale
from workflow_service.retirements.reconciliation import reinstate_abandoned

log = structlog.get_logger(__name__)


def reconciliation(config: Config) -> Callable[[web.Application], AsyncIterator[None]]:
    """Reconcile periodically while the service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_repeat(app, config), name="reconciliation")
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return opened


async def _repeat(app: web.Application, config: Config) -> None:
    while True:
        await asyncio.sleep(config.reference_compare_seconds)
        await app[DATABASE].migrated.wait()
        await _run(release_stale(app, config), "stale_references_dropped")
        await _run(reinstate_abandoned(app, config), "abandoned_states_readmitted")


async def _run(comparison: Awaitable[int], event: str) -> None:
    try:
        count = await comparison
    except ApiError as error:
        # Whoever is away now is asked again: what was claimed becomes due again.
        log.warning("comparison_interrupted", error=error.message)
    except Exception:
        log.exception("comparison_failed")
    else:
        if count:
            log.info(event, count=count)
