"""SQL: the categories of many records at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from records_service.catalogs.assignments.store import LockedCategory
from records_service.catalogs.store import assignments_in_view
from records_service.permissions.rules import Role
from shared.database import Conn, Record
from shared.events import Event
from shared.messaging import outbox


class Assignment(NamedTuple):
    """A record in a category."""

    category_id: str
    record_id: str


async def seen_of(
    conn: Conn, workspace_id: str, record_ids: Collection[str], role: Role | None
) -> dict[str, Sequence[str]]:
    """Record -> the categories that it is in, in order, of catalogs that the role may view."""
    arguments: list[Any] = [workspace_id, list(record_ids)]
    rows = await conn.fetch(
        f"""
        SELECT a.record_id, array_agg(a.category_id ORDER BY a.category_id) AS category_ids
          FROM category_assignments a
         WHERE a.workspace_id = $1 AND a.record_id = ANY($2::text[])
           AND {assignments_in_view(role, arguments)}
         GROUP BY a.record_id
        """,  # noqa: S608 - the condition is a constant
        *arguments,
    )
    return {row["record_id"]: row["category_ids"] for row in rows}


async def assigned(
    conn: Conn, workspace_id: str, record_ids: Collection[str], role: Role | None
) -> list[Record]:
    """When these records were created, with each category that they are in, or none.

    Those of catalogs that the role may not view are left out.
    """
    arguments: list[Any] = [workspace_id, list(record_ids)]
    return await conn.fetch(
        f"""
        SELECT r.id, r.created_at, a.category_id, a.catalog_id
          FROM records r
          LEFT JOIN category_assignments a
            ON a.workspace_id = r.workspace_id AND a.record_id = r.id
           AND {assignments_in_view(role, arguments)}
         WHERE r.workspace_id = $1 AND r.id = ANY($2::text[])
        """,  # noqa: S608 - the condition is a constant
        *arguments,
    )


async def lock_categories(
    conn: Conn, workspace_id: str, category_ids: Collection[str]
) -> dict[str, LockedCategory]:
    """Lock categories in the order of their ids until commit; those that exist.

    As with one category, foreign keys are checked by plans for the tables as they are now.
    """
    rows = await conn.fetch(
        """
        SELECT id, catalog_id, assignments_version,
               set_config('plan_cache_mode', 'force_custom_plan', true)
          FROM categories
         WHERE workspace_id = $1 AND id = ANY($2::text[]) AND NOT is_deleted
         ORDER BY id
           FOR NO KEY UPDATE
        """,
        workspace_id,
        list(category_ids),
    )
    return {row["id"]: LockedCategory(*row[:3]) for row in rows}


async def change(
    conn: Conn,
    workspace_id: str,
    categories: Mapping[str, LockedCategory],
    added: Sequence[tuple[Assignment, datetime]],
    removed: Sequence[Assignment],
    events: Sequence[Event],
) -> None:
    """Put records into locked categories and take others out, with the events of all.

    `added` comes with the time of creation of each record.
    """
    versions = {event.data["categoryId"]: event.version for event in events}
    await conn.execute(
        """
        WITH counted AS (
            UPDATE categories AS c SET assignments_version = new.version
              FROM unnest($2::text[], $3::bigint[]) AS new (id, version)
             WHERE c.workspace_id = $1 AND c.id = new.id
        ), unassigned AS (
            DELETE FROM category_assignments AS a
             USING unnest($4::text[], $5::text[]) AS old (category_id, record_id)
             WHERE a.workspace_id = $1 AND a.category_id = old.category_id
               AND a.record_id = old.record_id
        ), assigned AS (
            INSERT INTO category_assignments (workspace_id, category_id, record_id, catalog_id,
                                              record_created_at)
            SELECT $1, new.*
              FROM unnest($6::text[], $7::text[], $8::text[], $9::timestamptz[]) AS new
            RETURNING 1
        )
        INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
        SELECT $1, events.*
          FROM unnest($10::text[], $11::text[], $12::text[], $13::json[], $14::bigint[]) AS events
        RETURNING 1
        """,
        workspace_id,
        list(versions),
        list(versions.values()),
        [one.category_id for one in removed],
        [one.record_id for one in removed],
        [one.category_id for one, _ in added],
        [one.record_id for one, _ in added],
        [categories[one.category_id].catalog_id for one, _ in added],
        [created_at for _, created_at in added],
        *outbox.arrays(events),
    )
