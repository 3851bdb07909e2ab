"""Local copies of roles (the newest version wins), callers who have changed, names of roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from records_service.model_objects.search_store import VALUE_TABLES, ValueTable
from records_service.permissions.rules import Names
from records_service.value_uses.model import Marks
from shared.database import Conn

_ONE_OF_SCHEMA: Final = (
    "SELECT 1 FROM {table} r WHERE r.workspace_id = $1 AND r.schema_id = s.id LIMIT 1"
)
"""SQL: a record of schema `s`, by the index. Asked by EXISTS, a kept plan may read the whole table:
0.3 s among 300,000 records."""


@dataclass(frozen=True, slots=True)
class KnownCaller:
    """A user or an API key as they were last heard of; a key has no role."""

    active: bool
    role_id: str | None


async def find(conn: Conn, workspace_id: str, role_id: str) -> dict[str, Any] | None:
    """The role document as it was last heard of."""
    document: dict[str, Any] | None = await conn.fetchval(
        "SELECT document FROM roles WHERE workspace_id = $1 AND id = $2", workspace_id, role_id
    )
    return document


async def upsert(
    conn: Conn, workspace_id: str, role_id: str, version: int, document: dict[str, Any]
) -> None:
    """Remember this version unless a newer one is known."""
    await conn.execute(
        """
        INSERT INTO roles AS known (workspace_id, id, version, document)
        VALUES ($1, $2, $3, $4)
            ON CONFLICT (workspace_id, id)
            DO UPDATE SET version = excluded.version, document = excluded.document
                    WHERE known.version < excluded.version
        """,
        workspace_id,
        role_id,
        version,
        document,
    )


async def delete(conn: Conn, workspace_id: str, role_id: str, version: int) -> None:
    """Remove copies of a role that are older than this version, in which it changed or ended."""
    await conn.execute(
        "DELETE FROM roles WHERE workspace_id = $1 AND id = $2 AND version < $3",
        workspace_id,
        role_id,
        version,
    )


async def find_caller(
    conn: Conn, workspace_id: str, kind: str, caller_id: str
) -> KnownCaller | None:
    """What was heard of this caller; None if nothing changed since events are kept."""
    row = await conn.fetchrow(
        """
        SELECT active, role_id FROM callers
         WHERE workspace_id = $1 AND kind = $2 AND id = $3
        """,
        workspace_id,
        kind,
        caller_id,
    )
    return None if row is None else KnownCaller(row["active"], row["role_id"])


async def upsert_caller(
    conn: Conn, workspace_id: str, kind: str, caller_id: str, version: int, known: KnownCaller
) -> None:
    """Remember this version unless a newer one is known."""
    await conn.execute(
        """
        INSERT INTO callers AS known (workspace_id, kind, id, version, active, role_id)
        VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (workspace_id, kind, id)
            DO UPDATE SET version = excluded.version, active = excluded.active,
                          role_id = excluded.role_id
                    WHERE known.version < excluded.version
        """,
        workspace_id,
        kind,
        caller_id,
        version,
        known.active,
        known.role_id,
    )


async def doubt_all(conn: Conn) -> None:
    """Whatever is heard next of a role or a caller is news, also of a version that was known.

    Roles are asked for anew; what was known of callers counts until then.
    """
    await conn.execute("DELETE FROM roles")
    await conn.execute("UPDATE callers SET version = 0")


async def uses(
    conn: Conn, workspace_id: str, attribute_ids: Collection[str]
) -> set[tuple[str, str]]:
    """Each (schema, attribute) of these attributes and the schemas that have them."""
    rows = await conn.fetch(
        """
        SELECT s.id, held.id #>> '{}' AS attribute_id
          FROM schemas s
         CROSS JOIN LATERAL jsonb_path_query(s.body, '$.attributeGroups[*].attributeIds[*]')
               AS held (id)
         WHERE s.workspace_id = $1 AND held.id #>> '{}' = ANY($2::text[])
        """,
        workspace_id,
        list(attribute_ids),
    )
    return {(row["id"], row["attribute_id"]) for row in rows}


async def lost(
    conn: Conn, workspace_id: str, attribute_ids: Collection[str]
) -> set[tuple[str, str]]:
    """Each (schema, attribute) where the schema lost the attribute and has records.

    Values may be left there. Whether there are any is not looked up: that would read all records of
    the schema.
    """
    rows = await conn.fetch(
        """
        SELECT l.schema_id, l.attribute_id
          FROM lost_attributes l
         WHERE l.workspace_id = $1 AND l.attribute_id = ANY($2::text[])
           AND EXISTS (SELECT FROM records r
                        WHERE r.workspace_id = $1 AND r.schema_id = l.schema_id)
        """,
        workspace_id,
        list(attribute_ids),
    )
    return {(row["schema_id"], row["attribute_id"]) for row in rows}


async def schemas_with_values(
    conn: Conn, workspace_id: str, attribute_ids: Collection[str]
) -> list[str]:
    """The schemas with records that may hold a value of one of these attributes."""
    has = await uses(conn, workspace_id, attribute_ids)
    had = await lost(conn, workspace_id, attribute_ids)
    rows = await conn.fetch(
        f"""
        SELECT s.id
          FROM unnest($2::text[]) AS s (id)
         CROSS JOIN LATERAL ({_ONE_OF_SCHEMA.format(table="records")}) AS one
         ORDER BY s.id
        """,  # noqa: S608 - constants
        workspace_id,
        list({schema_id for schema_id, _ in has | had}),
    )
    return [row["id"] for row in rows]


async def places_of_values(
    conn: Conn,
    workspace_id: str,
    attribute_ids: Collection[str],
    indexed: Collection[str] = (),
    marks: Marks | None = None,
) -> list[tuple[ValueTable, str]]:
    """The tables and schemas with rows that may hold a value of one of these attributes.

    Of the attributes that are `indexed`, only what no index has: variants, and records whose schema
    has lost the attribute. With `marks`, only tables where the attribute has one.
    """
    has = await uses(conn, workspace_id, attribute_ids)
    had = await lost(conn, workspace_id, attribute_ids)
    in_table: Mapping[ValueTable, Collection[str]] = (
        dict.fromkeys(VALUE_TABLES, attribute_ids) if marks is None else marks.attribute_ids
    )
    not_indexed = {(schema_id, each) for schema_id, each in has if each not in indexed}
    searched: Mapping[ValueTable, set[tuple[str, str]]] = {
        "records": not_indexed | had,
        "variants": has | had,
    }
    held = {
        table: {schema_id for schema_id, each in pairs if each in in_table[table]}
        for table, pairs in searched.items()
    }
    places: list[tuple[ValueTable, str]] = []
    for table, schema_ids in held.items():
        rows = await conn.fetch(
            f"""
            SELECT s.id
              FROM unnest($2::text[]) AS s (id)
             CROSS JOIN LATERAL ({_ONE_OF_SCHEMA.format(table=table)}) AS one
             ORDER BY s.id
            """,  # noqa: S608 - constants
            workspace_id,
            list(schema_ids),
        )
        places += [(table, row["id"]) for row in rows]
    return places


async def names(
    conn: Conn, workspace_id: str, table: str, object_ids: Collection[str]
) -> dict[str, Names]:
    """What each of these schemas or attributes may be called; `table` is that of their kind."""
    rows = await conn.fetch(
        f"""
        SELECT id, alias FROM {table} WHERE workspace_id = $1 AND id = ANY($2::text[])
         UNION
        SELECT id, alias FROM former_aliases
         WHERE workspace_id = $1 AND kind = $3 AND id = ANY($2::text[])
        """,  # noqa: S608 - the table is a constant of `Kind`
        workspace_id,
        list(object_ids),
        table,
    )
    found = {object_id: Names(object_id, ()) for object_id in object_ids}
    for row in rows:
        found[row["id"]] = Names(row["id"], (*found[row["id"]].aliases, row["alias"]))
    return found
