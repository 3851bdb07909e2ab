"""The SQL of assignments.

Whoever assigns or unassigns locks the category first and then the rows of records in the order of
their ids; deletions of records and of categories take them in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from records_service.catalogs.categories.model import CATEGORY
from shared.database import Conn
from shared.errors import NotFound
from shared.events import Event
from shared.messaging import outbox


class LockedCategory(NamedTuple):
    """A category whose assignments nobody else changes until commit."""

    id: str
    catalog_id: str
    assignments_version: int


async def lock_category(conn: Conn, workspace_id: str, category_id: str) -> LockedCategory:
    """Lock a category until commit, or `NotFound`. Its own fields are not locked by that."""
    row = await conn.fetchrow(
        """
        SELECT id, catalog_id, assignments_version FROM categories
         WHERE workspace_id = $1 AND id = $2
           FOR NO KEY UPDATE
        """,
        workspace_id,
        category_id,
    )
    if row is None:
        raise NotFound.of(CATEGORY.title, category_id)
    return LockedCategory(*row)


async def lock_records(
    conn: Conn, workspace_id: str, record_ids: Iterable[str]
) -> dict[str, datetime]:
    """Id -> time of creation of those that exist. They are not deleted before commit."""
    rows = await conn.fetch(
        """
        SELECT id, created_at FROM records
         WHERE workspace_id = $1 AND id = ANY($2::text[])
         ORDER BY id
           FOR KEY SHARE
        """,
        workspace_id,
        list(record_ids),
    )
    return {row["id"]: row["created_at"] for row in rows}


async def lock_assigned(
    conn: Conn, workspace_id: str, category_id: str, record_ids: Iterable[str]
) -> list[str]:
    """Those of the records that are in the category, in order; their assignments are locked."""
    rows = await conn.fetch(
        """
        SELECT record_id FROM category_assignments
         WHERE workspace_id = $1 AND category_id = $2 AND record_id = ANY($3::text[])
         ORDER BY record_id
           FOR UPDATE
        """,
        workspace_id,
        category_id,
        list(record_ids),
    )
    return [row["record_id"] for row in rows]


async def insert(
    conn: Conn,
    workspace_id: str,
    category: LockedCategory,
    records: Sequence[tuple[str, datetime]],
    events: Sequence[Event],
) -> None:
    """Store new assignments with their events, whose last version is the category's from now on."""
    await conn.execute(
        """
        WITH counted AS (
            UPDATE categories SET assignments_version = $3 WHERE workspace_id = $1 AND id = $2
        ), assigned AS (
            INSERT INTO category_assignments (workspace_id, record_id, category_id, catalog_id,
                                              record_created_at)
            SELECT $1, new.record_id, $2, $4, new.created_at
              FROM unnest($5::text[], $6::timestamptz[]) AS new (record_id, created_at)
            RETURNING 1
        )
        INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
        SELECT $1, events.*
          FROM unnest($7::text[], $8::text[], $9::text[], $10::json[], $11::bigint[]) AS events
        RETURNING 1
        """,
        workspace_id,
        category.id,
        events[-1].version,
        category.catalog_id,
        [record_id for record_id, _ in records],
        [created_at for _, created_at in records],
        *outbox.arrays(events),
    )


async def delete(
    conn: Conn,
    workspace_id: str,
    category: LockedCategory,
    record_ids: Sequence[str],
    events: Sequence[Event],
) -> None:
    """Remove locked assignments, with their events."""
    await conn.execute(
        """
        WITH counted AS (
            UPDATE categories SET assignments_version = $3 WHERE workspace_id = $1 AND id = $2
        ), unassigned AS (
            DELETE FROM category_assignments
             WHERE workspace_id = $1 AND category_id = $2 AND record_id = ANY($4::text[])
        )
        INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
        SELECT $1, events.*
          FROM unnest($5::text[], $6::text[], $7::text[], $8::json[], $9::bigint[]) AS events
        RETURNING 1
        """,
        workspace_id,
        category.id,
        events[-1].version,
        list(record_ids),
        *outbox.arrays(events),
    )
