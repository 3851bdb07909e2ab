"""A delivery that no test has to wait for."""

from __future__ import annotations

import asyncpg

from deploy.openapi.webhook_examples import DELIVERY, WEBHOOK

_ATTEMPTS = '[{"at": "2026-02-03T15:00:00.000Z", "status": 200, "durationMs": 12}]'
_SENT = """{"url": "https://hooks.example.com/pim",
            "headers": {"Content-Type": "application/json", "webhook-id": "x"},
            "answer": {"status": 200, "body": "ok"}}"""


async def make_delivery(
    database_url: str,
    workspace_id: str,
    delivery_id: str = DELIVERY,
    webhook_id: str = WEBHOOK["id"],
    body: str = "{}",
) -> None:
    """A delivery that has succeeded, in the database of workflow_service."""
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            """
            INSERT INTO webhook_deliveries (workspace_id, id, webhook_id, event, subject, body,
                                            status, attempts, sent)
            VALUES ($1, $2, $3, 'entity.updated', 'ent-1', $4, 'succeeded', $5::text::jsonb,
                    $6::text::jsonb)
            """,
            workspace_id,
            delivery_id,
            webhook_id,
            body,
            _ATTEMPTS,
            _SENT,
        )
    finally:
        await conn.close()
