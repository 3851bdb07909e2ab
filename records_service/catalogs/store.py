"""The SQL of catalogs, and conditions about catalogs and categories for other statements.

Each condition appends its arguments to a list and is a constant text with their numbers. The
workspace is `$1`. What lies in catalogs that the caller may not view is in none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from records_service.catalogs.categories.store import BRANCH
from records_service.catalogs.model import CATALOG
from records_service.model_objects import store as model_objects
from records_service.model_objects.model import ModelObject
from records_service.model_objects.store import alias_taken, external_key_taken
from records_service.permissions.rules import Role, catalogs_in_view
from shared.database import Conn, mapping_constraints
from shared.database.listing import WHOLE, Narrowing, Piece, Position
from shared.errors import Conflict

_COLUMNS = "id, alias, body, version, created_at, updated_at"


async def page(
    conn: Conn,
    workspace_id: str,
    after: Position,
    *,
    role: Role | None,
    narrowing: Narrowing = WHOLE,
) -> Piece:
    """Catalogs that the role may view, in order of creation after this one, bodies as text."""

    def seen(arguments: list[Any]) -> str:
        return f"{CATALOG.present} AND {in_view('id', role, arguments)}"

    return await model_objects.page(conn, CATALOG, workspace_id, after, narrowing.and_in(seen))


async def count(conn: Conn, workspace_id: str) -> int:
    """How many catalogs the workspace has."""
    number: int = await conn.fetchval(
        "SELECT count(*) FROM catalogs WHERE workspace_id = $1 AND NOT is_deleted", workspace_id
    )
    return number


async def insert(conn: Conn, workspace_id: str, catalog: ModelObject) -> None:
    """Store a new catalog; `Conflict` for a taken id or alias."""
    with mapping_constraints(_taken(catalog)):
        await conn.execute(
            f"""
            INSERT INTO catalogs (workspace_id, {_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
            """,  # noqa: S608
            workspace_id,
            catalog.id,
            catalog.alias,
            catalog.body,
            catalog.version,
            catalog.created_at,
            catalog.updated_at,
        )


async def update(conn: Conn, workspace_id: str, catalog: ModelObject) -> None:
    """Store the next version of a catalog; `Conflict` for a taken alias."""
    with mapping_constraints(_taken(catalog)):
        await conn.execute(
            """
            UPDATE catalogs SET alias = $3, body = $4, version = $5, updated_at = $6
             WHERE workspace_id = $1 AND id = $2
            """,
            workspace_id,
            catalog.id,
            catalog.alias,
            catalog.body,
            catalog.version,
            catalog.updated_at,
        )


def _taken(catalog: ModelObject) -> Mapping[str, Callable[[], Exception]]:
    return {
        "catalogs_id_taken": lambda: Conflict.taken(CATALOG.title, catalog.id),
        "catalogs_alias_taken": lambda: alias_taken(CATALOG, catalog.alias),
        "catalogs_external_key_taken": lambda: external_key_taken(
            CATALOG.title, catalog.body["externalKey"]
        ),
    }


async def delete(conn: Conn, workspace_id: str, catalog_id: str) -> None:
    """Delete a catalog whose categories have been deleted."""
    await conn.execute(
        "DELETE FROM catalogs WHERE workspace_id = $1 AND id = $2", workspace_id, catalog_id
    )


def in_view(column: str, role: Role | None, arguments: list[Any]) -> str:
    """SQL: the catalog whose id is in this column may be viewed by the role."""
    seen = catalogs_in_view(role)
    if not seen.ids:
        return "true" if seen.all_others else "false"
    arguments.append(sorted(seen.ids))
    number = f"${len(arguments)}::text[]"
    return f"{column} <> ALL({number})" if seen.all_others else f"{column} = ANY({number})"


def assignments_in_view(role: Role | None, arguments: list[Any]) -> str:
    """SQL: the assignment `a` is to a category that there is, in a catalog that the role may view.

    Categories of which a job still removes the assignments are mostly none: PostgreSQL reads them
    once for each statement, and looks each assignment up in what it has read.
    """
    removed = "SELECT id FROM categories WHERE workspace_id = $1 AND is_deleted"
    return f"{in_view('a.catalog_id', role, arguments)} AND a.category_id NOT IN ({removed})"


def records_in_category(
    category_id: str,
    role: Role | None,
    arguments: list[Any],
    *,
    include_subcategories: bool,
) -> str:
    """SQL: a SELECT of the ids of the records that are in a category, perhaps more than once.

    `include_subcategories` adds those in the categories below it.
    """
    arguments.append(category_id)
    named = f"${len(arguments)}"
    where = f"= {named}"
    if include_subcategories:
        where = f"IN ({BRANCH.format(category_id=named)})"
    return (  # constants and numbers of arguments
        "SELECT a.record_id FROM category_assignments a"  # noqa: S608
        f" WHERE a.workspace_id = $1 AND a.category_id {where}"
        f" AND {assignments_in_view(role, arguments)}"
    )


def records_in_catalog(catalog_id: str, role: Role | None, arguments: list[Any]) -> str:
    """SQL: a SELECT of the ids of the records that are in a catalog, perhaps more than once."""
    arguments.append(catalog_id)
    return (
        "SELECT a.record_id FROM category_assignments a"  # noqa: S608
        f" WHERE a.workspace_id = $1 AND a.catalog_id = ${len(arguments)}"
        f" AND {assignments_in_view(role, arguments)}"
    )
