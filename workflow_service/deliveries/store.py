"""The SQL of deliveries. One that is pending waits for `due_at`, or for an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.database import Conn, Database, Record
from shared.database.paging import Key, Order, Part, Place, Total
from shared.errors import Conflict, NotFound, truncated

IN_ORDER: Final[Order] = (Key("number", int, descending=True),)
KEPT_DAYS: Final = 30
KEPT_MAX: Final = 10_000
"""Finished deliveries of one webhook."""
KEPT_BYTES_MAX: Final = 64 << 20
"""As they are stored, of one webhook."""
REMOVED_AT_ONCE: Final = 1_000
TESTS_PENDING_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class New:
    """A delivery to store."""

    id: str
    event: str
    subject: str
    body: str
    traceparent: str | None = None
    """Of what caused the event, if that is traced."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one attempt has come to: `attempt` and `sent` are as the API shows them."""

    id: str
    tries: int
    attempt: bytes
    sent: bytes
    succeeded: bool


async def insert(conn: Conn, workspace_id: str, webhook_id: str, deliveries: Sequence[New]) -> None:
    """Store deliveries, in their order."""
    await conn.execute(
        """
        INSERT INTO webhook_deliveries (workspace_id, webhook_id, id, event, subject, body, status,
                                        traceparent)
        SELECT $1, $2, n.id, n.event, n.subject, n.body, 'pending', n.traceparent
          FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
               WITH ORDINALITY AS n (id, event, subject, body, traceparent, place)
         ORDER BY n.place
            ON CONFLICT DO NOTHING
        """,
        workspace_id,
        webhook_id,
        [one.id for one in deliveries],
        [one.event for one in deliveries],
        [one.subject for one in deliveries],
        [one.body for one in deliveries],
        [one.traceparent for one in deliveries],
    )


async def pending(conn: Conn, workspace_id: str, webhook_id: str, limit: int) -> list[Record]:
    """The oldest deliveries that wait, in order; `due_s` is how many seconds they still do."""
    return await conn.fetch(
        """
        SELECT id, subject, tries, octet_length(body) AS bytes, traceparent,
               extract(epoch FROM due_at - clock_timestamp())::float8 AS due_s
          FROM webhook_deliveries
         WHERE workspace_id = $1 AND webhook_id = $2 AND status = 'pending'
         ORDER BY number LIMIT $3
        """,
        workspace_id,
        webhook_id,
        limit,
    )


async def tests_pending(conn: Conn, workspace_id: str, webhook_id: str) -> int:
    """How many tests of a webhook wait; it is not counted beyond `TESTS_PENDING_MAX`."""
    count: int = await conn.fetchval(
        """
        SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries
                               WHERE workspace_id = $1 AND webhook_id = $2 AND status = 'pending'
                                 AND event = 'webhook.test' LIMIT $3) AS waiting
        """,
        workspace_id,
        webhook_id,
        TESTS_PENDING_MAX,
    )
    return count


async def body(conn: Conn, workspace_id: str, delivery_id: str) -> str | None:
    """The body to send; None if the delivery does not wait any more."""
    found: str | None = await conn.fetchval(
        """
        SELECT body FROM webhook_deliveries
         WHERE workspace_id = $1 AND id = $2 AND status = 'pending'
        """,
        workspace_id,
        delivery_id,
    )
    return found


async def finish(conn: Conn, workspace_id: str, results: Sequence[Result]) -> None:
    """Store the last attempts of deliveries: those that succeeded, and those that are given up."""
    await conn.execute(
        """
        UPDATE webhook_deliveries AS d
           SET status = r.status, tries = r.tries + 1, attempts = d.attempts || r.attempt,
               sent = r.sent
          FROM unnest($2::text[], $3::int[], $4::jsonb[], $5::jsonb[], $6::text[])
               AS r (id, tries, attempt, sent, status)
         WHERE d.workspace_id = $1 AND d.id = r.id AND d.status = 'pending' AND d.tries = r.tries
        """,
        workspace_id,
        [one.id for one in results],
        [one.tries for one in results],
        [one.attempt for one in results],
        [one.sent for one in results],
        ["succeeded" if one.succeeded else "failed" for one in results],
    )


async def put_off(conn: Conn, workspace_id: str, results: Sequence[Result], delay_s: float) -> None:
    """Store attempts that failed; the next one is due after the delay."""
    await conn.execute(
        """
        UPDATE webhook_deliveries AS d
           SET tries = r.tries + 1, attempts = d.attempts || r.attempt, sent = r.sent,
               due_at = now() + make_interval(secs => $6)
          FROM unnest($2::text[], $3::int[], $4::jsonb[], $5::jsonb[])
               AS r (id, tries, attempt, sent)
         WHERE d.workspace_id = $1 AND d.id = r.id AND d.status = 'pending' AND d.tries = r.tries
        """,
        workspace_id,
        [one.id for one in results],
        [one.tries for one in results],
        [one.attempt for one in results],
        [one.sent for one in results],
        delay_s,
    )


async def drop(conn: Conn, workspace_id: str, webhook_id: str) -> None:
    """What waits for a webhook that was paused is not sent; a test is."""
    await conn.execute(
        """
        UPDATE webhook_deliveries SET status = 'dropped'
         WHERE workspace_id = $1 AND webhook_id = $2 AND status = 'pending'
           AND event <> 'webhook.test'
        """,
        workspace_id,
        webhook_id,
    )


async def page(
    conn: Conn, workspace_id: str, webhook_id: str, status: str | None, place: Place
) -> tuple[Part[Record], Total | None]:
    """Rows of deliveries, newest first, and how many there are in all."""
    arguments: list[Any] = [workspace_id, webhook_id]
    where = "workspace_id = $1 AND webhook_id = $2"
    if status is not None:
        arguments.append(status)
        where += " AND status = $3"
    source = f"webhook_deliveries WHERE {where}"
    wanted = place.select(place.columns, source, arguments)
    rows = await conn.fetch(
        f"""
        WITH wanted AS MATERIALIZED ({wanted}), counted AS ({place.count(source)})
        SELECT d.id, d.event, d.status, d.attempts, d.created_at, d.number,
               (SELECT * FROM counted) AS counted
          FROM (SELECT 1) AS one
          LEFT JOIN wanted ON true
          LEFT JOIN webhook_deliveries d
            ON d.workspace_id = $1 AND d.webhook_id = $2 AND d.number = wanted.number
         ORDER BY wanted.number DESC
        """,  # noqa: S608 - conditions are the fragments above, values are arguments
        *arguments,
    )
    part = place.part([row for row in rows if row["id"] is not None])
    return part, await place.total(conn, part, rows[0]["counted"], source, arguments)


async def get(conn: Conn, workspace_id: str, webhook_id: str, delivery_id: str) -> Record:
    """One delivery with its body and what was sent last. Raises `NotFound`."""
    row = await conn.fetchrow(
        """
        SELECT id, event, status, attempts, created_at, body, sent FROM webhook_deliveries
         WHERE workspace_id = $1 AND webhook_id = $2 AND id = $3
        """,
        workspace_id,
        webhook_id,
        delivery_id,
    )
    if row is None:
        raise NotFound.of("Delivery", delivery_id)
    return row


async def send_again(conn: Conn, workspace_id: str, webhook_id: str, delivery_id: str) -> None:
    """A delivery that has ended waits again. Raises `Conflict` for one that waits."""
    status = await conn.execute(
        """
        UPDATE webhook_deliveries SET status = 'pending', tries = 0, due_at = now(), subject = $3
         WHERE workspace_id = $1 AND webhook_id = $2 AND id = $3 AND status <> 'pending'
        """,
        workspace_id,
        webhook_id,
        delivery_id,
    )
    if status != "UPDATE 1":
        raise Conflict(f"Delivery '{truncated(delivery_id)}' is still pending")


async def too_many(conn: Conn, workspace_id: str, webhook_id: str) -> int:
    """The newest number beyond what is kept of a webhook; 0 if nothing is."""
    number: int = await conn.fetchval(
        """
        SELECT coalesce(max(number), 0)
          FROM (SELECT number, row_number() OVER newest AS place, sum(size) OVER newest AS bytes
                  FROM (SELECT number, CASE WHEN status = 'pending' THEN 0
                                            ELSE pg_column_size(body) + pg_column_size(attempts)
                                                 + coalesce(pg_column_size(sent), 0)
                                       END AS size
                          FROM webhook_deliveries
                         WHERE workspace_id = $1 AND webhook_id = $2
                         ORDER BY number DESC LIMIT $3 + 1) AS found
                WINDOW newest AS (ORDER BY number DESC)) AS sized
         WHERE place > $3 OR bytes > $4
        """,
        workspace_id,
        webhook_id,
        KEPT_MAX,
        KEPT_BYTES_MAX,
    )
    return number


async def remove_old(conn: Conn, workspace_id: str, webhook_id: str, beyond: int) -> int:
    """Remove some finished deliveries that are too old, or have a number up to `beyond`."""
    removed: int = await conn.fetchval(
        """
        WITH gone AS (
            DELETE FROM webhook_deliveries
             WHERE workspace_id = $1 AND webhook_id = $2 AND id = ANY(ARRAY(
                   -- What still waits may be the oldest, and hides nothing that has ended.
                   SELECT old.id FROM (
                          SELECT id, created_at, number FROM webhook_deliveries
                           WHERE workspace_id = $1 AND webhook_id = $2 AND status <> 'pending'
                           ORDER BY number LIMIT $3) AS old
                    WHERE old.created_at < now() - make_interval(days => $4) OR old.number <= $5))
            RETURNING 1
        )
        SELECT count(*) FROM gone
        """,
        workspace_id,
        webhook_id,
        REMOVED_AT_ONCE,
        KEPT_DAYS,
        beyond,
    )
    return removed


async def oldest_due(database: Database) -> float:
    """For how many seconds the delivery that is due longest waits; 0 if none does."""
    row = await database.fetchrow(
        """
        SELECT coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 AS age_s
          FROM webhook_deliveries WHERE status = 'pending' AND due_at < clock_timestamp()
        """
    )
    assert row is not None
    age_s: float = row["age_s"]
    return age_s


async def waiting(database: Database, webhooks: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Workspace and id of those webhooks for which a delivery waits."""
    rows = await database.fetch(
        """
        SELECT asked.workspace_id, asked.webhook_id
          FROM unnest($1::text[], $2::text[]) AS asked (workspace_id, webhook_id)
         -- Looked up for each one: how many wait does not matter.
         CROSS JOIN LATERAL (SELECT d.id FROM webhook_deliveries d
                              WHERE d.workspace_id = asked.workspace_id
                                AND d.webhook_id = asked.webhook_id AND d.status = 'pending'
                              LIMIT 1) AS one
        """,
        [workspace_id for workspace_id, _ in webhooks],
        [webhook_id for _, webhook_id in webhooks],
    )
    return [(row["workspace_id"], row["webhook_id"]) for row in rows]
