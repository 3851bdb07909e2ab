"""A job that the demo catalogue is too small to have: its changes are done in the request."""

from __future__ import annotations

import asyncpg

JOB = "job-unique-sku"
SAMPLES = """[{"entityId": "ent-x", "variantId": null, "reason": "Has the value of 'ent-y'"}]"""


async def make_job(database_url: str, workspace_id: str, job_id: str = JOB) -> None:
    """A job of a workspace that goes on, in the database of records_service."""
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            """
            INSERT INTO followed_jobs (workspace_id, id, kind, subject_id, status, total, unchanged,
                                       failed, samples, created_at, started_at, created_by)
            VALUES ($1, $2, 'make-unique', $3, 'running', 9, 3, 1, $4::text::jsonb, now(), now(),
                    'user-admin')
            """,
            workspace_id,
            job_id,
            f"attr-{job_id}",
            SAMPLES,
        )
    finally:
        await conn.close()
