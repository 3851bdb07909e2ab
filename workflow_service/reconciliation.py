"""Periodic reconciliation of references and retired states with records_service.

A schema save that failed leaves a reference behind which no event ever settles; without this its
workflow could never be deleted. A revision that died leaves states retired which its workflow still
has; without this no record could enter them. Every worker may run it: each takes other references
and other retirements.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog
from aiohttp import web

from shared.database import DATABASE
from shared.errors import ApiError
from workflow_service.clients import (
    Retirement,
    claim_retirements,
    reinstate_retirement,
    stale_references,
)
from workflow_service.config import Config
from workflow_service.references import store as references
from workflow_service.workflows import store

log = structlog.get_logger(__name__)

BATCH_SIZE: Final = 500
RETIREMENTS_AT_ONCE: Final = 50


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


async def reinstate_abandoned(app: web.Application, config: Config) -> int:
    """Take back what was retired for revisions that died; for how many workflows that was.

    Looks at those which nobody looked at for longest, and at the others the next time.
    """
    due = await claim_retirements(app, config.retirement_pending_seconds, RETIREMENTS_AT_ONCE)
    return sum([await _readmit_abandoned(app, retirement) for retirement in due])


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
        await app[DATABASE].migrated.wait()
        await _tried(compare(app, config), "stale_references_dropped")
        await _tried(reinstate_abandoned(app, config), "abandoned_states_readmitted")


async def _tried(comparison: Awaitable[int], event: str) -> None:
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


async def _readmit_abandoned(app: web.Application, retirement: Retirement) -> bool:
    """Whether this revision was dead.

    A revision holds its workflow's row from before it retires states until its version is there:
    who holds the row and does not find the version knows that it will never come. When the version
    is there, the event of it ends the retirement.
    """
    try:
        async with app[DATABASE].transaction() as conn:
            known = await store.get_unless_revised(
                conn, retirement.workspace_id, retirement.workflow_id
            )
            if known is None or known.version >= retirement.version:
                return False
            return await reinstate_retirement(app, retirement)
    except ApiError as error:
        # It becomes due again; what belongs to other workspaces need not wait for that.
        log.warning("states_stay_retired", workflow_id=retirement.workflow_id, error=error.message)
        return False
