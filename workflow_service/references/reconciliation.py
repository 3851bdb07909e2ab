"""Reconciliation of references with records_service.

A schema save that failed leaves a reference behind which no event ever settles; without this its
workflow could never be deleted. Every worker may run it: each takes other references.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from shared.database import DATABASE
from workflow_service.clients import stale_references
from workflow_service.config import Config
from workflow_service.references import store
from workflow_service.references.model import Reference

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
        bound = [one for one in due if one not in loose]
        for workspace_id in sorted({one.workspace_id for one in due}):
            async with db.transaction() as conn:
                dropped += await store.release(conn, workspace_id, _of(workspace_id, stale))
                await store.hold(conn, workspace_id, _of(workspace_id, bound))


def _of(workspace_id: str, references: Sequence[Reference]) -> list[Reference]:
    return [one for one in references if one.workspace_id == workspace_id]
