"""The SQL of categories. Every change of a tree begins with `lock_tree`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from records_service.catalogs.categories.model import CATEGORY, Category
from records_service.catalogs.categories.tree import AFTER_ALL, CODE_LENGTH
from records_service.model_objects.store import external_key_taken
from shared.database import Conn, Record, mapping_constraints
from shared.errors import Conflict, NotFound, truncated

_COLUMNS = (
    "id, catalog_id, parent_id, path, alias, body, sort_order, version, created_at, updated_at"
)

PLANNED_ONCE_FROM: Final = 200

_BELOW: Final = (
    "SELECT below.id FROM categories top JOIN categories below"
    " ON below.workspace_id = top.workspace_id AND below.catalog_id = top.catalog_id"
    " AND below.path >= top.path AND below.path < top.path || '~'"
    " WHERE top.workspace_id = $1 AND NOT top.is_deleted"
)
BRANCH: Final = _BELOW + " AND top.id = {category_id}"
"""SQL: a SELECT of the ids of a category and of those below it; `category_id` is to be put in."""


async def lock_tree(conn: Conn, workspace_id: str, catalog_id: str) -> None:
    """Lock a catalog and its tree until commit, or `NotFound`.

    Changes of a tree come one after another, so what a change has read of it stays as it is: two
    moves cannot make a cycle.

    Foreign keys are checked by plans for the tables as they are now (see `lock_category` of the
    assignments).
    """
    found = await conn.fetchrow(
        """
        SELECT set_config('plan_cache_mode', 'force_custom_plan', true)
          FROM catalogs
         WHERE workspace_id = $1 AND id = $2 AND NOT is_deleted
           FOR NO KEY UPDATE
        """,
        workspace_id,
        catalog_id,
    )
    if found is None:
        raise NotFound.of("Catalog", catalog_id)


async def take_version(conn: Conn, workspace_id: str, *, least: int = 0) -> int:
    """The version for what is new in this transaction, no lower than `least`.

    No catalog and no category has one above it, so one that is made again under an old id goes on
    counting. All trees of the workspace share the counter: whoever wants the next version waits for
    the commit.
    """
    version: int = await conn.fetchval(
        """
        INSERT INTO catalog_versions AS v (workspace_id, version)
        VALUES ($1, greatest(1, $2::bigint))
            ON CONFLICT (workspace_id)
            DO UPDATE SET version = greatest(v.version + 1, $2)
        RETURNING version
        """,
        workspace_id,
        least,
    )
    return version


@dataclass(frozen=True, slots=True)
class Size:
    """What a catalog holds: its categories, their bytes, and the codes that it has given."""

    categories: int
    bytes: int
    codes: int


async def size_of(conn: Conn, workspace_id: str, catalog_id: str) -> Size:
    """The size of a catalog, or `NotFound`."""
    row = await conn.fetchrow(
        "SELECT categories, bytes, codes FROM catalogs WHERE workspace_id = $1 AND id = $2",
        workspace_id,
        catalog_id,
    )
    if row is None:
        raise NotFound.of("Catalog", catalog_id)
    return Size(**row)


async def add_size(conn: Conn, workspace_id: str, catalog_id: str, added: Size) -> None:
    """Count what was added to a catalog, or taken out of it."""
    await conn.execute(
        """
        UPDATE catalogs
           SET categories = categories + $3, bytes = bytes + $4, codes = codes + $5
         WHERE workspace_id = $1 AND id = $2
        """,
        workspace_id,
        catalog_id,
        added.categories,
        added.bytes,
        added.codes,
    )


async def get(conn: Conn, workspace_id: str, category_id: str) -> Category:
    """One category, or `NotFound`."""
    category = await find(conn, workspace_id, category_id)
    if category is None:
        raise NotFound.of(CATEGORY.title, category_id)
    return category


async def find(conn: Conn, workspace_id: str, category_id: str) -> Category | None:
    """One category, if it exists."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM categories
         WHERE workspace_id = $1 AND id = $2 AND NOT is_deleted
        """,  # noqa: S608
        workspace_id,
        category_id,
    )
    return None if row is None else Category(**row)


async def tree(
    conn: Conn, workspace_id: str, catalog_id: str, external_key: str | None = None
) -> Sequence[Record] | None:
    """All categories of a catalog, bodies as text; None if there is no such catalog.

    With an external key only the category that has it, and those below.
    """
    arguments = [workspace_id, catalog_id]
    branch = ""
    if external_key is not None:
        arguments.append(external_key)
        branch = f"AND c.id IN ({_BELOW} AND top.body ->> 'externalKey' = $3)"
    rows = await conn.fetch(
        f"""
        SELECT c.id, t.id AS catalog_id, c.parent_id, c.path, c.alias, c.body::text AS body,
               c.sort_order, c.version, c.created_at, c.updated_at
          FROM catalogs t
          LEFT JOIN categories c ON c.workspace_id = t.workspace_id AND c.catalog_id = t.id
                {branch}
         WHERE t.workspace_id = $1 AND t.id = $2 AND NOT t.is_deleted
        """,  # noqa: S608
        *arguments,
    )
    if not rows:
        return None
    return [] if rows[0]["id"] is None else rows


async def levels(conn: Conn, workspace_id: str, category: Category) -> int:
    """How many levels the branch of a category has, itself included."""
    longest: int = await conn.fetchval(
        """
        SELECT max(length(path)) FROM categories
         WHERE workspace_id = $1 AND catalog_id = $2 AND path >= $3 AND path < $4
        """,
        workspace_id,
        category.catalog_id,
        *range_of(category.path),
    )
    return (longest - len(category.path)) // CODE_LENGTH + 1


async def insert(conn: Conn, workspace_id: str, category: Category) -> None:
    """Store a new category; `Conflict` for a taken id or alias."""
    with mapping_constraints(_taken(category)):
        await conn.execute(
            """
            INSERT INTO categories (workspace_id, id, catalog_id, parent_id, path, alias, body,
                                    sort_order, bytes, version, assignments_version,
                                    created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $11)
            """,
            workspace_id,
            category.id,
            category.catalog_id,
            category.parent_id,
            category.path,
            category.alias,
            category.body,
            category.sort_order,
            category.bytes,
            category.version,
            category.created_at,
        )


async def update(conn: Conn, workspace_id: str, old: Category, new: Category) -> None:
    """Store the next version of a category; what is below it moves with it, in one statement.

    Raises `Conflict` for a taken alias.
    """
    with mapping_constraints(_taken(new)):
        await conn.execute(
            """
            UPDATE categories
               SET parent_id = $3, alias = $4, body = $5, sort_order = $6, bytes = $7,
                   version = $8, updated_at = $9
             WHERE workspace_id = $1 AND id = $2
            """,
            workspace_id,
            new.id,
            new.parent_id,
            new.alias,
            new.body,
            new.sort_order,
            new.bytes,
            new.version,
            new.updated_at,
        )
    if new.path != old.path:
        await conn.execute(
            """
            UPDATE categories
               SET path = $5 || substr(path, $6)
             WHERE workspace_id = $1 AND catalog_id = $2 AND path >= $3 AND path < $4
            """,
            workspace_id,
            old.catalog_id,
            *range_of(old.path),
            new.path,
            len(old.path) + 1,
        )


async def lock_branch(
    conn: Conn, workspace_id: str, catalog_id: str, path: str = ""
) -> Sequence[Record]:
    """The categories of a branch, or of a whole catalog, locked: nothing is assigned any more."""
    return await conn.fetch(
        """
        SELECT id, parent_id, path, bytes, version, assignments_version
          FROM categories
         WHERE workspace_id = $1 AND catalog_id = $2 AND path >= $3 AND path < $4
         ORDER BY id
           FOR UPDATE
        """,
        workspace_id,
        catalog_id,
        *range_of(path),
    )


async def delete(conn: Conn, workspace_id: str, rows: Sequence[Record]) -> None:
    """Delete locked categories with their assignments.

    From here on, deletions of the records that are in them wait for the commit.
    """
    ids = [row["id"] for row in rows]
    # In the order in which the deletion of records takes them, so that the two never wait for each
    # other in a circle.
    await conn.execute(
        """
        SELECT count(*)
          FROM (SELECT record_id FROM category_assignments
                 WHERE workspace_id = $1 AND category_id = ANY($2::text[])
                 ORDER BY record_id, category_id
                   FOR UPDATE) AS locked
        """,
        workspace_id,
        ids,
    )
    async with planning_foreign_keys_once(conn, len(rows)):
        await conn.execute(
            """
            DELETE FROM category_assignments
             WHERE workspace_id = $1 AND category_id = ANY($2::text[])
            """,
            workspace_id,
            ids,
        )
        await conn.execute(
            "DELETE FROM categories WHERE workspace_id = $1 AND id = ANY($2::text[])",
            workspace_id,
            ids,
        )


@asynccontextmanager
async def planning_foreign_keys_once(conn: Conn, rows: int) -> AsyncIterator[None]:
    """Plan what foreign keys look up once for a statement, if it changes many rows.

    Planned anew for each row, that would be two thirds of the work. What the session knows of
    earlier is forgotten, so the plans are for the tables as they are now.
    """
    if rows <= PLANNED_ONCE_FROM:
        yield
        return
    await conn.execute("DISCARD PLANS")
    await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    yield
    await conn.execute("SET LOCAL plan_cache_mode = force_custom_plan")


def now(last: datetime) -> datetime:
    """The clock, or `last` if the clock is behind it."""
    return max(datetime.now(UTC), last)


def range_of(path: str) -> tuple[str, str]:
    """From a path to the end of what is below it."""
    return path, path + AFTER_ALL


def _taken(category: Category) -> Mapping[str, Callable[[], Exception]]:
    return {
        "categories_id_taken": lambda: Conflict.taken(CATEGORY.title, category.id),
        "categories_alias_taken": lambda: Conflict(
            f"Category with alias '{truncated(category.alias or '')}' already exists"
            f" {_beside(category)}"
        ),
        "categories_external_key_taken": lambda: external_key_taken(
            CATEGORY.title, category.body["externalKey"]
        ),
    }


def _beside(category: Category) -> str:
    if category.parent_id is None:
        return "at the top of the tree"
    return f"below category '{truncated(category.parent_id)}'"
