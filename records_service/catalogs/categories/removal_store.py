"""The SQL of categories that were deleted, and of what is left of their assignments.

Whoever removes them locks the categories first and then assignments in the order of records, as
everybody who changes assignments does.
"""

from __future__ import annotations

from collections.abc import Sequence

from records_service.catalogs.categories import store
from shared.database import Conn, Record


async def have_more(
    conn: Conn, workspace_id: str, category_ids: Sequence[str], *, than: int
) -> bool:
    """Whether these categories have more assignments than that."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM category_assignments
                        WHERE workspace_id = $1 AND category_id = ANY($2::text[])
                       OFFSET $3::bigint)
        """,
        workspace_id,
        list(category_ids),
        than,
    )
    return found


async def hide(
    conn: Conn, workspace_id: str, catalog_id: str, path: str, rows: int, *, into: str
) -> None:
    """Move the locked categories of a branch, so many, into a new catalog that nobody finds.

    Their aliases and external keys are free.
    """
    await conn.execute(
        """
        INSERT INTO catalogs (workspace_id, id, alias, body, version, created_at, updated_at,
                              is_deleted)
        SELECT workspace_id, $3, $3, body - 'externalKey', version, created_at, updated_at, true
          FROM catalogs
         WHERE workspace_id = $1 AND id = $2
        """,
        workspace_id,
        catalog_id,
        into,
    )
    async with store.planning_foreign_keys_once(conn, rows):
        await conn.execute(
            """
            UPDATE categories
               SET catalog_id = $5, parent_id = NULL, alias = NULL, body = body - 'externalKey',
                   is_deleted = true
             WHERE workspace_id = $1 AND catalog_id = $2 AND path >= $3 AND path < $4
            """,
            workspace_id,
            catalog_id,
            *store.range_of(path),
            into,
        )


async def lock_next(
    conn: Conn, workspace_id: str, hidden_id: str, *, rows_max: int
) -> Sequence[Record]:
    """The next categories of a hidden catalog, locked."""
    return await conn.fetch(
        """
        SELECT id, emptied_up_to FROM categories
         WHERE workspace_id = $1 AND catalog_id = $2 AND is_deleted
         ORDER BY path
         LIMIT $3
           FOR UPDATE
        """,
        workspace_id,
        hidden_id,
        rows_max,
    )


async def lock_deleted(conn: Conn, workspace_id: str, category_id: str) -> Record | None:
    """The deleted category that still has this id, locked, if there is one."""
    return await conn.fetchrow(
        """
        SELECT id, emptied_up_to FROM categories
         WHERE workspace_id = $1 AND id = $2 AND is_deleted
           FOR UPDATE
        """,
        workspace_id,
        category_id,
    )


async def next_assignments(
    conn: Conn, workspace_id: str, categories: Sequence[Record], *, rows_max: int
) -> Sequence[Record]:
    """Assignments to these categories; of each, those of the records that were created first.

    They are read from where those that are removed end: PostgreSQL would read over all of these
    again, until it has cleared them away.
    """
    return await conn.fetch(
        """
        SELECT going.id AS category_id, found.record_id, found.record_created_at
          FROM unnest($2::text[], $3::timestamptz[]) AS going (id, emptied_up_to)
         CROSS JOIN LATERAL (
               SELECT record_id, record_created_at FROM category_assignments
                WHERE workspace_id = $1 AND category_id = going.id
                  AND record_created_at >= going.emptied_up_to
                ORDER BY record_created_at, record_id
                LIMIT $4::bigint
         ) AS found
         LIMIT $4::bigint
        """,
        workspace_id,
        [category["id"] for category in categories],
        [category["emptied_up_to"] for category in categories],
        rows_max,
    )


async def delete_assignments(conn: Conn, workspace_id: str, rows: Sequence[Record]) -> None:
    """Remove these assignments, in the order in which the deletion of records takes them.

    Each is looked up by itself: joined with a list of them, PostgreSQL may read the whole table.
    """
    keys = sorted((row["record_id"], row["category_id"]) for row in rows)
    await conn.execute(
        """
        DELETE FROM category_assignments
         WHERE workspace_id = $1
           AND ctid = ANY (ARRAY(
               SELECT found.ctid
                 FROM unnest($2::text[], $3::text[]) AS asked (record_id, category_id)
                CROSS JOIN LATERAL (
                      SELECT ctid FROM category_assignments
                       WHERE workspace_id = $1 AND record_id = asked.record_id
                         AND category_id = asked.category_id
                       LIMIT 1
                         FOR UPDATE
                ) AS found))
        """,
        workspace_id,
        [record_id for record_id, _ in keys],
        [category_id for _, category_id in keys],
    )


async def set_emptied_up_to(conn: Conn, workspace_id: str, removed: Sequence[Record]) -> None:
    """These assignments were the first that their categories had, and are removed."""
    last = {row["category_id"]: row["record_created_at"] for row in removed}
    await conn.execute(
        """
        UPDATE categories AS c SET emptied_up_to = emptied.up_to
          FROM unnest($2::text[], $3::timestamptz[]) AS emptied (id, up_to)
         WHERE c.workspace_id = $1 AND c.id = emptied.id AND c.is_deleted
        """,
        workspace_id,
        list(last),
        list(last.values()),
    )


async def delete_categories(conn: Conn, workspace_id: str, categories: Sequence[Record]) -> None:
    """Delete locked categories that were deleted for everybody before, and are empty."""
    await conn.execute(
        """
        DELETE FROM categories
         WHERE workspace_id = $1 AND id = ANY($2::text[]) AND is_deleted
        """,
        workspace_id,
        [category["id"] for category in categories],
    )


async def delete_catalog(conn: Conn, workspace_id: str, hidden_id: str) -> None:
    """Delete a hidden catalog that has no categories any more."""
    await conn.execute(
        "DELETE FROM catalogs WHERE workspace_id = $1 AND id = $2 AND is_deleted",
        workspace_id,
        hidden_id,
    )
