"""Reconciliation of references with records_service.

A schema save that failed leaves a reference behind which no event ever settles; without this its
workflow could never be deleted. Every worker may run it: each takes other references.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from shared.database import DATABASE
from workflow_service.clients import stale_references
from workflow_service.config import Config
from workflow_service.references import store

BATCH_SIZE: Final = 500


async def release_stale(app: web.Application, config: Config) -> int:
    """Release references that no schema has any more, in batches; returns how many."""
    db = app[DATABASE]
    dropped = 0
    while True:
        async with db.acquire() as conn:
            due = await store.claim_due(
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
            dropped += await store.release(conn, stale)
            await store.hold(conn, [one for one in due if one not in loose])
