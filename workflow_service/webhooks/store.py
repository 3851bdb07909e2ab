"""The SQL of webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from shared.database import Conn, Database, Record, mapping_constraints
from shared.errors import Conflict, LimitExceeded, NotFound
from workflow_service.webhooks.model import WEBHOOKS_MAX, Webhook

KIND: Final = "webhook"
CHANGED_CHANNEL: Final = "sigma_webhooks"
"""Told of every webhook that has changed or has something to send: workspace, space, id."""
FORMER_SECRET_HOURS: Final = 24
_COLUMNS: Final = """
    workspace_id, id, name, description, url, events, active, secret, position, version, created_at,
    updated_at, created_by, runs_as, runs_as_kind, former_secret, former_until, paused_reason,
    failing_since
"""


def parsed(row: Record) -> Webhook:
    """The webhook in a row of `_COLUMNS`."""
    return Webhook(**dict(row))


async def get(conn: Conn, workspace_id: str, webhook_id: str, *, lock: bool = False) -> Webhook:
    """The webhook, or `NotFound`; locked until the end of the transaction, if asked for."""
    found = await find(conn, workspace_id, webhook_id, lock=lock)
    if found is None:
        raise NotFound.of("Webhook", webhook_id)
    return found


async def find(
    conn: Conn, workspace_id: str, webhook_id: str, *, lock: bool = False
) -> Webhook | None:
    """The webhook, None if there is none."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM webhooks
         WHERE workspace_id = $1 AND id = $2
        {"FOR UPDATE" if lock else ""}
        """,  # noqa: S608 - constants
        workspace_id,
        webhook_id,
    )
    return None if row is None else parsed(row)


async def all_of(conn: Conn, workspace_id: str) -> list[Webhook]:
    """The webhooks of a workspace, oldest first; there are at most `WEBHOOKS_MAX`."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM webhooks WHERE workspace_id = $1
         ORDER BY created_at, id LIMIT {WEBHOOKS_MAX}
        """,  # noqa: S608 - constants
        workspace_id,
    )
    return [parsed(row) for row in rows]


async def page_of_all(database: Database, after: tuple[str, str], limit: int) -> list[Webhook]:
    """Webhooks of all workspaces, in the order of workspace and id."""
    rows = await database.fetch(
        f"""
        SELECT {_COLUMNS} FROM webhooks
         WHERE (workspace_id, id) > ($1, $2)
         ORDER BY workspace_id, id LIMIT $3
        """,  # noqa: S608 - constants
        *after,
        limit,
    )
    return [parsed(row) for row in rows]


async def insert(conn: Conn, webhook: Webhook) -> None:
    """Store a new webhook; `Conflict` for a taken id, `LimitExceeded` if there are too many."""
    # One after the other, so that the count holds.
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('webhooks ' || $1::text, 0))",
        webhook.workspace_id,
    )
    count = await conn.fetchval(
        "SELECT count(*) FROM webhooks WHERE workspace_id = $1", webhook.workspace_id
    )
    if count >= WEBHOOKS_MAX:
        raise LimitExceeded(f"Webhook limit of {WEBHOOKS_MAX} reached")
    with mapping_constraints({"webhooks_id_taken": lambda: Conflict.taken("Webhook", webhook.id)}):
        await conn.execute(
            """
            INSERT INTO webhooks
                   (workspace_id, id, name, description, url, events, active, secret, position,
                    version, created_at, updated_at, created_by, runs_as, runs_as_kind)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
            """,
            webhook.workspace_id,
            webhook.id,
            webhook.name,
            webhook.description,
            webhook.url,
            webhook.events,
            webhook.active,
            webhook.secret,
            webhook.position,
            webhook.version,
            webhook.created_at,
            webhook.updated_at,
            webhook.created_by,
            webhook.runs_as,
            webhook.runs_as_kind,
        )
    await tell(conn, webhook.workspace_id, webhook.id)


async def update(conn: Conn, webhook: Webhook) -> None:
    """Store all that can change of a webhook that this transaction has locked."""
    await conn.execute(
        """
        UPDATE webhooks
           SET name = $3, description = $4, url = $5, events = $6, active = $7, secret = $8,
               position = $9, version = $10, updated_at = $11, runs_as = $12, runs_as_kind = $13,
               paused_reason = $14, failing_since = $15, former_secret = $16, former_until = $17
         WHERE workspace_id = $1 AND id = $2
        """,
        webhook.workspace_id,
        webhook.id,
        webhook.name,
        webhook.description,
        webhook.url,
        webhook.events,
        webhook.active,
        webhook.secret,
        webhook.position,
        webhook.version,
        webhook.updated_at,
        webhook.runs_as,
        webhook.runs_as_kind,
        webhook.paused_reason,
        webhook.failing_since,
        webhook.former_secret,
        webhook.former_until,
    )
    await tell(conn, webhook.workspace_id, webhook.id)


async def delete(conn: Conn, workspace_id: str, webhook_id: str) -> None:
    """Delete a webhook, and with it its deliveries."""
    await conn.execute(
        "DELETE FROM webhooks WHERE workspace_id = $1 AND id = $2", workspace_id, webhook_id
    )
    await tell(conn, workspace_id, webhook_id)


async def move(conn: Conn, webhook: Webhook, position: int) -> bool:
    """What is up to this position in the feed is taken; False if the webhook has changed.

    What its former owner could see, for one, is not sent to where its new owner wants it.
    """
    status = await conn.execute(
        """
        UPDATE webhooks SET position = $4
         WHERE workspace_id = $1 AND id = $2 AND position = $3 AND active AND version = $5
        """,
        webhook.workspace_id,
        webhook.id,
        webhook.position,
        position,
        webhook.version,
    )
    return status == "UPDATE 1"


async def note_failing(conn: Conn, webhook: Webhook) -> datetime | None:
    """The receiver fails, from now on if it did not before; since when it does."""
    await conn.execute(
        """
        UPDATE webhooks SET failing_since = now()
         WHERE workspace_id = $1 AND id = $2 AND failing_since IS NULL
        """,
        webhook.workspace_id,
        webhook.id,
    )
    since: datetime | None = await conn.fetchval(
        "SELECT failing_since FROM webhooks WHERE workspace_id = $1 AND id = $2",
        webhook.workspace_id,
        webhook.id,
    )
    return since


async def note_success(conn: Conn, webhook: Webhook) -> None:
    """The receiver does not fail any more."""
    await conn.execute(
        """
        UPDATE webhooks SET failing_since = NULL
         WHERE workspace_id = $1 AND id = $2 AND failing_since IS NOT NULL
        """,
        webhook.workspace_id,
        webhook.id,
    )


async def pause(
    conn: Conn, webhook: Webhook, reason: str, *, failing_days: int | None = None
) -> bool:
    """Send nothing more; only if it has failed for so many days, where that is the reason.

    Nothing happens to a webhook that has another owner by now.
    """
    status = await conn.execute(
        """
        UPDATE webhooks SET active = false, paused_reason = $3, updated_at = now(),
                            version = version + 1
         WHERE workspace_id = $1 AND id = $2 AND active AND runs_as = $5 AND runs_as_kind = $6
           AND ($4::int IS NULL OR failing_since < now() - make_interval(days => $4::int))
        """,
        webhook.workspace_id,
        webhook.id,
        reason,
        failing_days,
        webhook.runs_as,
        webhook.runs_as_kind,
    )
    return status == "UPDATE 1"


async def tell(conn: Conn, workspace_id: str, webhook_id: str) -> None:
    """Tell the process that sends that a webhook has changed, or has something to send."""
    await conn.execute("SELECT pg_notify($1, $2)", CHANGED_CHANNEL, f"{workspace_id} {webhook_id}")


async def paused(database: Database) -> int:
    """How many webhooks the system has paused."""
    row = await database.fetchrow(
        "SELECT count(*) AS number FROM webhooks WHERE paused_reason IS NOT NULL"
    )
    assert row is not None
    number: int = row["number"]
    return number
