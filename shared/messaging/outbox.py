"""Transactional outbox: events are stored with the change they describe and published afterwards.

`stage` writes events into the table `outbox` inside the transaction of the change: both are
committed, or neither. The relay (shared/messaging/relay.py) publishes committed events, and the
inbox of each consumer makes the effect exactly once.

Order. Events of one subject are published in the order of their versions, which the subject's own
row counts under its lock. Ids only spread the reading over subjects: they come from a sequence, and
where several nodes of a distributed PostgreSQL draw from it, each has a range of its own.

Stage after the change, or in one statement that takes the change as its source:

    WITH changed AS (UPDATE records SET ... RETURNING id),
         staged AS (INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
                    SELECT $1, events.* FROM changed,
                           unnest($5::text[], $6::text[], $7::text[], $8::json[], $9::bigint[])
                           AS events
                    RETURNING 1)
    SELECT id FROM changed                          -- $5 to $9 are `*outbox.arrays([event])`
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from shared.database import REQUEST_TRANSACTION, Conn
from shared.errors import PayloadTooLarge
from shared.events import Event

SCHEMA: Final = """
CREATE TABLE outbox (
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    workspace_id text        NOT NULL,
    type         text        NOT NULL,
    subject      text        NOT NULL,
    event_id     text        NOT NULL,
    document     json        NOT NULL,
    staged_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, id)
) WITH (
    -- Every row lives for milliseconds: without these the table is swept far too seldom.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 10000
);
CREATE INDEX outbox_in_order ON outbox (id);
"""
"""For a service's first migration. `document` is the CloudEvents document as it is published."""

VERSIONS: Final = (
    "ALTER TABLE outbox ADD COLUMN version bigint NOT NULL DEFAULT 0",
    "ALTER TABLE outbox DROP CONSTRAINT outbox_pkey",
    "ALTER TABLE outbox ADD PRIMARY KEY (workspace_id, subject, version, id)",
)
"""For a later migration. 0 is the version of an event without one, and of those that code of an
earlier version has staged: theirs is in the document."""

EVENT_BYTES_MAX: Final = 15 << 20


async def stage(conn: Conn, *events: Event) -> None:
    """Store events of one workspace in the transaction of their change, after its statement."""
    await conn.execute(
        """INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
           SELECT $1, events.*
             FROM unnest($2::text[], $3::text[], $4::text[], $5::json[], $6::bigint[]) AS events
        RETURNING 1""",
        events[0].workspace_id,
        *arrays(events),
    )


def arrays(
    events: Iterable[Event],
) -> tuple[list[str], list[str], list[str], list[bytes], list[int]]:
    """Columns for `unnest`, in the order of those in `stage`; the events are of one workspace.

    Types, subjects, event ids (text[]), documents (json[]), versions (bigint[]).
    Raises `PayloadTooLarge` for an event that a broker with default settings would refuse.
    """
    rows = list(events)
    if len({event.workspace_id for event in rows}) > 1:
        # A workspace is on one node, and only there an event is committed with its change.
        raise ValueError("a transaction stages events of one workspace")
    documents = [event.to_json() for event in rows]
    longest = max(map(len, documents), default=0)
    if longest > EVENT_BYTES_MAX:
        raise PayloadTooLarge(
            f"The event of this change would be too large: {longest} bytes, at most"
            f" {EVENT_BYTES_MAX} are allowed"
        )
    return (
        [event.type for event in rows],
        [event.subject for event in rows],
        [event.id for event in rows],
        documents,
        [event.version for event in rows],
    )


COMMITTED: Final = web.AppKey("outbox_committed", asyncio.Event)
"""Set by `wake`; the relay of this process, if it runs one, waits for it."""


def wake(app: web.Application) -> None:
    """Wake the relay after a commit, so that it publishes now and not at its next poll."""
    committed = app.get(COMMITTED)
    if committed is None:
        return
    bound = REQUEST_TRANSACTION.get()
    if bound is None:
        committed.set()
    else:
        bound.after_commit(committed.set)
