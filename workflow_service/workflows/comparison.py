"""Compares references with the schemas themselves, now and then, and drops those that bind nothing.

A schema save that failed leaves a reference behind which no event ever settles; without this its
workflow could never be deleted. Every worker may run it: each takes other references.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

import structlog
from aiohttp import web

from shared.errors import ApiError
from shared.postgres import DATABASE
from workflow_service.config import Config
from workflow_service.workflows import references
from workflow_service.workflows.neighbours import stale_references

log = structlog.get_logger(__name__)

BATCH_SIZE: Final = 500


async def compare(app: web.Application, config: Config) -> int:
    """Look at every reference that is due, in batches; how many were dropped."""
    db = app[DATABASE]
    dropped = 0
    while True:
        async with db.acquire() as conn:
            due = await references.claim_due(
                conn,
                pending_after_s=config.reference_pending_seconds,
                confirmed_after_s=config.reference_confirmed_seconds,
                limit=BATCH_SIZE,
            )
        if not due:
            return dropped
        stale = await stale_references(app, due)
        loose = set(stale)
        async with db.transaction() as conn:
            dropped += await references.release(conn, stale)
            await references.hold(conn, [one for one in due if one not in loose])


def comparing(config: Config) -> Callable[[web.Application], AsyncIterator[None]]:
    """Compare for as long as the service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        comparing = asyncio.create_task(_for_ever(app, config), name="compare references")
        yield
        comparing.cancel()
        with suppress(asyncio.CancelledError):
            await comparing

    return opened


async def _for_ever(app: web.Application, config: Config) -> None:
    while True:
        await asyncio.sleep(config.reference_compare_seconds)
        try:
            dropped = await compare(app, config)
        except ApiError as error:
            # Whoever is away now is asked again: what was claimed becomes due again.
            log.warning("comparison_interrupted", error=error.message)
        except Exception:
            log.exception("comparison_failed")
        else:
            if dropped:
                log.info("stale_references_dropped", count=dropped)
