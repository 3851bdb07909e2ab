"""Inbox: stores the ids of processed events, so that a redelivery has no effect.

The row is written in the transaction of the effect: both are committed, or neither. Rows older than
`KEPT_DAYS` are deleted; no message stays in the broker that long while its consumer runs.
"""

from __future__ import annotations

from typing import Final

from shared.database import Conn, Database

KEPT_DAYS: Final = 14
SWEPT_AT_ONCE_MAX: Final = 5_000

SCHEMA: Final = """
CREATE TABLE inbox (
    consumer    text        NOT NULL,
    event_id    text        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_by_age ON inbox (received_at);
"""
"""For a service's first migration. No tenant data: ids of messages, kept for two weeks."""


async def first_time(conn: Conn, consumer: str, event_id: str) -> bool:
    """Claim this event for this consumer; False if an earlier transaction claimed and committed it.

    If a second delivery is processed at the same time, it waits here until the first one ends.
    """
    claimed = await conn.fetchval(
        """INSERT INTO inbox (consumer, event_id)
           VALUES ($1, $2)
               ON CONFLICT DO NOTHING
        RETURNING true""",
        consumer,
        event_id,
    )
    return claimed is not None


async def forget(conn: Conn, consumer: str, event_id: str) -> None:
    """Take the claim back: the event is to be processed once more."""
    await conn.execute(
        "DELETE FROM inbox WHERE consumer = $1 AND event_id = $2", consumer, event_id
    )


async def sweep(db: Database) -> int:
    """Delete some of the rows that are too old to be redelivered; returns their number."""
    tag = await db.execute(
        """DELETE FROM inbox
            WHERE (consumer, event_id) IN (
                  SELECT consumer, event_id
                    FROM inbox
                   WHERE received_at < now() - make_interval(days => $1)
                   ORDER BY received_at
                   LIMIT $2)""",
        KEPT_DAYS,
        SWEPT_AT_ONCE_MAX,
    )
    return int(tag.rpartition(" ")[2])
