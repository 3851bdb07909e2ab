"""SQL: places events in the feed, reads them, and removes what is old.

The feed has a row for each event, in the order of `position` for a workspace. The events of new and
deleted records are large; the history has the same values, so of those there is no document in the
row. All others are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.database import Conn, Database, Record

COMMITTED_CHANNEL: Final = "sigma_outbox"
"""Told after commits that have staged events."""
PLACED_CHANNEL: Final = "sigma_feed"
"""Told when events have been placed: how many together, and each workspace that has some, or none
where all that was found is for the relay alone."""
PLACED_AT_ONCE: Final = 1_000
PAGE_BYTES_MAX: Final = 1 << 20
"""Of a page, as its documents are stored."""
LEFT_OUT_BYTES: Final = 600
"""A document that needs more is read from the history, if that has it."""
HISTORY_DAYS: Final = 31
"""A workspace that keeps its history for less has whole documents in the feed. The feed keeps
nothing for longer."""
REMOVED_AT_ONCE: Final = 2_000
MEASURED_OLDEST: Final = 20_000
MEASURED_NEWEST: Final = 1_000

_COLUMNS: Final = """
    o.id, o.workspace_id, o.type, o.subject, o.version, o.event_id, o.staged_at, o.document"""
_TRACE_IN_DOCUMENT: Final = r'^\{"traceparent":"([0-9a-f-]{55})"'
"""As `shared.events.trace_in`."""
_IS_FOR_FEED: Final = "o.type <> 'records.job'"
_IS_PLACED: Final = """
    EXISTS (SELECT FROM feed WHERE feed.workspace_id = o.workspace_id AND feed.outbox_id = o.id)"""
PUBLISHABLE: Final = """
    (outbox.type = 'records.job'
     OR (SELECT true FROM feed
          WHERE feed.workspace_id = outbox.workspace_id AND feed.outbox_id = outbox.id))"""
"""The condition for the relay: the bus is told nothing before the feed.

Not EXISTS: beside OR, PostgreSQL answers that from a hash table of the whole feed.
"""
SESSION: Final = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
"""As of the relay: plans are made while the outbox is empty, and kept."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What one statement has placed, and its snapshot; see `placing.Window.note`."""

    found: Sequence[int]
    oldest_running: int
    next_number: int
    is_swept: bool
    events: int


@dataclass(frozen=True, slots=True)
class Events:
    """Some events, oldest first, behind a position.

    `removed` is the position up to which events of the workspace have been removed. `is_there` is
    whether the one at that position is still known: where it is not and was not removed, the
    database was set back to before it.
    """

    rows: Sequence[Record]
    more: bool
    removed: int
    is_there: bool


async def begin_anew(conn: Conn) -> None:
    """Let positions go on at the present time, in microseconds, if they are below.

    Whoever begins to place events does so. A database that was set back has forgotten positions
    that it has given: those lie below, and so none is given twice.
    """
    await conn.fetchval(
        """
        SELECT setval(name, greatest(coalesce(pg_sequence_last_value(name), 0),
                                     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))
          FROM (SELECT pg_get_serial_sequence('feed', 'position')::regclass AS name) AS named
        """
    )


async def place(conn: Conn, *, after: int, gaps: Sequence[int], swept_until: int) -> Placed:
    """Place what is staged and committed, of the rows that `placing.Window` asks for.

    Where more is left to sweep than is placed at once, nothing later is placed. Raises
    `asyncpg.UniqueViolationError` for a row that somebody else has placed meanwhile.

    Each row is read whole where it is found, not by its id alone and joined again. Of an outbox
    that was empty when it was analysed, the planner expects one row: then to read all ids that it
    has is as good as to look one up, and a join compares all rows with all.
    """
    row = await conn.fetchrow(
        f"""
        WITH swept AS MATERIALIZED (
            SELECT {_COLUMNS} FROM outbox o
             WHERE o.id <= $3 AND {_IS_FOR_FEED} AND NOT {_IS_PLACED}
             ORDER BY o.id LIMIT $4
        ), late AS MATERIALIZED (
            SELECT {_COLUMNS} FROM outbox o WHERE o.id = ANY($2::bigint[])
        ), later AS MATERIALIZED (
            SELECT {_COLUMNS} FROM outbox o
             WHERE o.id > $1 AND (SELECT count(*) FROM swept) < $4
             ORDER BY o.id LIMIT $4
        ), found AS MATERIALIZED (
            SELECT * FROM swept
             UNION ALL
            SELECT * FROM late WHERE id NOT IN (SELECT id FROM swept)
             UNION ALL
            SELECT * FROM later
        ), placed AS (
            INSERT INTO feed (workspace_id, outbox_id, type, subject, version, event_id, staged_at,
                              bytes, document, traceparent)
            SELECT o.workspace_id, o.id, o.type, o.subject, o.version, o.event_id, o.staged_at,
                   octet_length(o.document::text),
                   CASE WHEN NOT shown.is_left_out THEN o.document END,
                   CASE WHEN shown.is_left_out
                        THEN substring(o.document::text FROM $6::text) END
              FROM found o
             CROSS JOIN LATERAL (
                   SELECT o.type IN ('entity.created', 'entity.deleted')
                          AND pg_column_size(o.document) > {LEFT_OUT_BYTES}
                          AND NOT EXISTS (SELECT FROM history_retentions r
                                           WHERE r.workspace_id = o.workspace_id
                                             AND r.days < {HISTORY_DAYS}) AS is_left_out) AS shown
             WHERE {_IS_FOR_FEED}
             ORDER BY o.id
            RETURNING workspace_id
        ), told AS (
            SELECT pg_notify($5::text, (SELECT count(*) FROM placed) || ' ' || workspace_id)
              FROM (SELECT DISTINCT workspace_id FROM placed
                     UNION ALL
                    -- What is not for the feed, but for the relay, which is told as well.
                    SELECT '' WHERE (SELECT count(*) FROM found) > (SELECT count(*) FROM placed)
                   ) AS changed
        )
        SELECT (SELECT array_agg(id ORDER BY id) FROM found) AS found,
               pg_snapshot_xmin(s.taken)::text AS oldest_running,
               -- Not the snapshot's xmax, which is one past the last that has ended: transactions
               -- with higher numbers may be running that have drawn lower ids.
               CASE WHEN $3 > 0 OR EXISTS (SELECT FROM found) THEN pg_current_xact_id()::text
                    ELSE pg_snapshot_xmax(s.taken)::text END AS next_number,
               (SELECT count(*) FROM swept) < $4 AS is_swept,
               (SELECT count(*) FROM placed) AS events,
               (SELECT count(*) FROM told) AS told
          FROM (SELECT pg_current_snapshot() AS taken) AS s
        """,  # noqa: S608 - constants
        after,
        gaps,
        swept_until,
        PLACED_AT_ONCE,
        PLACED_CHANNEL,
        _TRACE_IN_DOCUMENT,
    )
    assert row is not None
    return Placed(
        row["found"] or (),
        int(row["oldest_running"]),
        int(row["next_number"]),
        row["is_swept"],
        row["events"],
    )


async def tell_of_commits(conn: Conn) -> None:
    """Tell the one process that places events that there may be some."""
    await conn.fetchval("SELECT pg_notify($1, '')", COMMITTED_CHANNEL)


async def page(conn: Conn, workspace_id: str, after: int, limit: int) -> Events:
    """The events behind a position, as many as fit into the memory limit; the first always does."""
    rows = await conn.fetch(
        """
        WITH next AS MATERIALIZED (
            SELECT position, placed_at, type, subject, version, event_id, staged_at, document,
                   traceparent,
                   sum(bytes) OVER (ORDER BY position) - bytes AS bytes_before
              FROM (SELECT * FROM feed
                     WHERE workspace_id = $1 AND position > $2
                     ORDER BY position LIMIT $3 + 1) AS chosen
        ), ends AS (
            SELECT EXISTS (SELECT FROM feed WHERE workspace_id = $1 AND position = $2) AS is_there,
                   coalesce((SELECT until FROM feed_removed WHERE workspace_id = $1), 0) AS removed
        )
        SELECT e.is_there OR $2 = e.removed AS is_there, e.removed,
               (SELECT count(*) FROM next) AS there, n.position, n.placed_at, n.type, n.subject,
               n.version, n.event_id, n.document::text AS document, n.traceparent,
               h.schema_id, h.user_id, coalesce(h.at, n.staged_at) AS at, h.state_id, h.changes
          FROM ends e
          LEFT JOIN (SELECT * FROM next WHERE bytes_before <= $4 ORDER BY position LIMIT $3) n
            ON true
          LEFT JOIN LATERAL (
               SELECT a.schema_id, a.user_id, a.at, a.changes::text AS changes,
                      coalesce(a.to_state_id, a.from_state_id) AS state_id
                 FROM audit a
                WHERE n.document IS NULL AND a.workspace_id = $1 AND a.record_id = n.subject
                  AND a.version = n.version AND a.variant_id IS NULL
                  AND a.action IN ('create', 'delete')
                  -- The time leads to the partition; the clocks of processes differ.
                  AND a.at > n.staged_at - interval '1 day'
                  AND a.at < n.staged_at + interval '1 day'
                LIMIT 1) h ON true
         ORDER BY n.position
        """,
        workspace_id,
        after,
        limit,
        PAGE_BYTES_MAX,
    )
    found = [row for row in rows if row["position"] is not None]
    more = bool(found) and rows[0]["there"] > len(found)
    return Events(found, more, rows[0]["removed"], rows[0]["is_there"])


async def states(
    conn: Conn, workspace_id: str, record_ids: Collection[str]
) -> dict[str, str | None]:
    """Record -> the state that it is in now, of those that there are."""
    rows = await conn.fetch(
        "SELECT id, state_id FROM records WHERE workspace_id = $1 AND id = ANY($2::text[])",
        workspace_id,
        list(record_ids),
    )
    return {row["id"]: row["state_id"] for row in rows}


async def with_old_events(
    database: Database, before: datetime, *, after: str, rows_max: int
) -> list[str]:
    """Workspaces whose oldest event is older, in the order of their ids."""
    rows = await database.fetch(
        """
        SELECT m.workspace_id
          FROM models m
         CROSS JOIN LATERAL (SELECT f.placed_at FROM feed f
                              WHERE f.workspace_id = m.workspace_id
                              ORDER BY f.position LIMIT 1) AS oldest
         WHERE m.workspace_id > $2 AND oldest.placed_at < $1
         ORDER BY m.workspace_id
         LIMIT $3
        """,
        before,
        after,
        rows_max,
    )
    return [row["workspace_id"] for row in rows]


async def remove_some(conn: Conn, workspace_id: str, before: datetime) -> int:
    """Remove the oldest events of a workspace; those that wait for the broker stay."""
    removed: int = await conn.fetchval(
        """
        WITH gone AS (
            DELETE FROM feed f
             USING (SELECT position, placed_at, outbox_id FROM feed
                     WHERE workspace_id = $1 ORDER BY position LIMIT $3) AS oldest
             WHERE f.workspace_id = $1 AND f.position = oldest.position
               AND oldest.placed_at < $2
               AND NOT EXISTS (SELECT FROM outbox o
                                WHERE o.workspace_id = $1 AND o.id = oldest.outbox_id)
            RETURNING f.position
        ), noted AS (
            INSERT INTO feed_removed AS known (workspace_id, until)
            SELECT $1, max(position) FROM gone HAVING count(*) > 0
                ON CONFLICT (workspace_id)
                DO UPDATE SET until = greatest(known.until, excluded.until)
            RETURNING 1
        )
        SELECT count(*) FROM gone
        """,
        workspace_id,
        before,
        REMOVED_AT_ONCE,
    )
    return removed


async def oldest_waiting(database: Database) -> float:
    """For how many seconds the oldest event waits to be placed; 0 if none does.

    The relay publishes what is placed, so what is not is among the oldest rows, or, without a
    broker, among the newest.
    """
    row = await database.fetchrow(
        f"""
        SELECT coalesce(extract(epoch FROM clock_timestamp() - min(o.staged_at)), 0)::float8
               AS age_s
          FROM ((SELECT id, workspace_id, type, staged_at FROM outbox ORDER BY id LIMIT $1)
                 UNION ALL
                (SELECT id, workspace_id, type, staged_at FROM outbox ORDER BY id DESC LIMIT $2))
               AS o
         WHERE {_IS_FOR_FEED} AND NOT {_IS_PLACED}
        """,  # noqa: S608 - constants
        MEASURED_OLDEST,
        MEASURED_NEWEST,
    )
    assert row is not None
    age_s: float = row["age_s"]
    return age_s


async def has_moved(conn: Conn, workspace_id: str) -> bool:
    """Whether the workspace is at another installation now (`deploy.workspaces.fence`)."""
    if not await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                        WHERE n.nspname = 'sigma_moves' AND p.proname = 'has_moved')
        """
    ):
        return False
    return bool(await conn.fetchval("SELECT sigma_moves.has_moved($1)", workspace_id))
