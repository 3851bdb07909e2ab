"""A synchronisation with an error, and a mapping: what the demo's channel has, without a target."""

from __future__ import annotations

import asyncpg


async def make_sync(database_url: str, workspace_id: str, channel_id: str, log_id: str) -> None:
    """A log of a channel and a mapping, in the database of workflow_service."""
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            """
            INSERT INTO sync_runs (workspace_id, channel_id, id, direction, status, caller_kind,
                                   caller_id, created_at, completed_at, failed, step, due_at)
            VALUES ($1, $2, $3, 'push', 'failed', 'user', 'user-admin', now(), now(), 1, 'done',
                    now())
            """,
            workspace_id,
            channel_id,
            log_id,
        )
        await conn.execute(
            """
            INSERT INTO sync_errors (workspace_id, channel_id, run_id, place, item, entity_id,
                                     external_id, message)
            VALUES ($1, $2, $3, 1, 'ent-coastal-wb', 'ent-coastal-wb', '4711',
                    'The target refused the object: PUT answered 422')
            """,
            workspace_id,
            channel_id,
            log_id,
        )
        await conn.execute(
            """
            INSERT INTO sync_mappings (workspace_id, channel_id, id, entity_id, external_id,
                                       checksum, created_at, last_synced_at)
            VALUES ($1, $2, 'map-1', 'ent-coastal-wb', '4711', 'abc', now(), now())
            """,
            workspace_id,
            channel_id,
        )
    finally:
        await conn.close()
