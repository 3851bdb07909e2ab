"""SQL: the categories that some names mean, as far as a role may view their catalogs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from records_service.catalogs.store import in_view
from records_service.permissions.rules import Role
from shared.database import Conn


class Placed(NamedTuple):
    """A category and its catalog."""

    id: str
    catalog_id: str


class Step(NamedTuple):
    """A category, and what it is called below what is above it.

    `above` is the id of a category; above those at the top is the alias of their catalog.
    """

    id: str
    catalog_id: str
    above: str
    alias: str | None
    name: str


async def by_id_or_key(
    conn: Conn, workspace_id: str, names: Collection[str], role: Role | None
) -> list[tuple[Placed, str | None]]:
    """The categories with these ids or external keys, each with its key."""
    arguments: list[Any] = [workspace_id, list(names)]
    view = in_view("catalog_id", role, arguments)
    rows = await conn.fetch(
        f"""
        SELECT id, catalog_id, body ->> 'externalKey' AS external_key
          FROM categories
         WHERE workspace_id = $1 AND id = ANY($2::text[]) AND NOT is_deleted AND {view}
         UNION
        SELECT id, catalog_id, body ->> 'externalKey'
          FROM categories
         WHERE workspace_id = $1 AND body ->> 'externalKey' = ANY($2::text[])
           AND NOT is_deleted AND {view}
        """,  # noqa: S608 - the condition is a constant
        *arguments,
    )
    return [(Placed(row["id"], row["catalog_id"]), row["external_key"]) for row in rows]


async def at_the_top(
    conn: Conn,
    workspace_id: str,
    aliases: Collection[str],
    words: Collection[str],
    role: Role | None,
) -> list[Step]:
    """The categories at the top of catalogs with these aliases that have such aliases or names."""
    arguments: list[Any] = [workspace_id, list(aliases), list(words)]
    rows = await conn.fetch(
        f"""
        SELECT c.id, c.catalog_id, t.alias AS above, c.alias, c.body ->> 'name' AS name
          FROM catalogs t
          JOIN categories c ON c.workspace_id = t.workspace_id AND c.catalog_id = t.id
         WHERE t.workspace_id = $1 AND t.alias = ANY($2::text[]) AND NOT t.is_deleted
           AND {in_view("t.id", role, arguments)}
           AND c.parent_id IS NULL
           AND (c.alias = ANY($3::text[]) OR c.body ->> 'name' = ANY($3::text[]))
        """,  # noqa: S608 - the condition is a constant
        *arguments,
    )
    return [Step(*row) for row in rows]


async def directly_below(
    conn: Conn, workspace_id: str, category_ids: Collection[str], words: Collection[str]
) -> list[Step]:
    """The categories directly below these that have such aliases or names."""
    rows = await conn.fetch(
        """
        SELECT id, catalog_id, parent_id, alias, body ->> 'name'
          FROM categories
         WHERE workspace_id = $1 AND parent_id = ANY($2::text[])
           AND (alias = ANY($3::text[]) OR body ->> 'name' = ANY($3::text[]))
        """,
        workspace_id,
        list(category_ids),
        list(words),
    )
    return [Step(*row) for row in rows]
