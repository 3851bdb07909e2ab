"""The record limit of a workspace: a striped counter, exact under concurrent creates.

A counter in one row would be locked by each create until its commit, so that creates would wait for
each other's disk flush; with stripes only every sixteenth does. The limit stays exact: a stripe
gives away no more places than `redistribute_quota` gave it, which locks and counts all stripes.
"""

from __future__ import annotations

import random

from records_service.writes.model import QuotaExceeded
from shared.database import Conn

STRIPES = 16


def any_stripe() -> int:
    """A random stripe, so that concurrent writers rarely choose the same one."""
    return random.randrange(STRIPES)  # noqa: S311


async def make_room(
    conn: Conn, workspace_id: str, record_limit: int, stripe: int, wanted: int
) -> None:
    """Lock this stripe, with at least `wanted` places in it, until the end of the transaction.

    Whoever writes records before it stores new ones locks the stripe first, as a delete does, or
    the two wait for each other. Raises `QuotaExceeded` as `redistribute_quota` does.
    """
    row = await conn.fetchrow(
        """
        SELECT room, record_limit FROM usage WHERE workspace_id = $1 AND stripe = $2 FOR UPDATE
        """,
        workspace_id,
        stripe,
    )
    if row is None or row["record_limit"] != record_limit or row["room"] < wanted:
        await redistribute_quota(conn, workspace_id, record_limit, stripe, wanted)


async def redistribute_quota(
    conn: Conn, workspace_id: str, record_limit: int, stripe: int, wanted: int = 1
) -> None:
    """Distribute the remaining places over all stripes, with at least `wanted` for this one.

    Raises `QuotaExceeded` if fewer are left.

    The caller stores its records in the same transaction.
    """
    await conn.execute(
        """
        INSERT INTO usage (workspace_id, stripe, records, room, record_limit)
        SELECT $1, stripe, 0, 0, $2 FROM generate_series(0, $3 - 1) AS stripe
            ON CONFLICT DO NOTHING
        """,
        workspace_id,
        record_limit,
        STRIPES,
    )
    stripes = await conn.fetch(
        "SELECT records FROM usage WHERE workspace_id = $1 ORDER BY stripe FOR UPDATE",
        workspace_id,
    )
    remaining = record_limit - sum(row["records"] for row in stripes)
    if remaining < wanted:
        raise QuotaExceeded(max(0, remaining))
    share, rest = divmod(remaining - wanted, STRIPES)
    await conn.execute(
        """
        UPDATE usage
           SET record_limit = $2, room = $3 + CASE WHEN stripe = $4 THEN $5 ELSE 0 END
         WHERE workspace_id = $1
        """,
        workspace_id,
        record_limit,
        share,
        stripe,
        wanted + rest,
    )
