"""Asks who uses an attribute, and keeps the unique claims of stored values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from records_service.attributes.uniqueness import Claim
from shared.postgres import Conn


async def is_used(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """Whether a schema groups it or another attribute's guard looks at it."""
    used: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM schemas
                        WHERE workspace_id = $1
                          AND jsonb_path_exists(body, '$.attributeGroups[*].attributeIds[*]
                                                       ? (@ == $id)',
                                                jsonb_build_object('id', $2::text)))
            OR EXISTS (SELECT FROM attributes
                        WHERE workspace_id = $1 AND id <> $2
                          AND jsonb_path_exists(body, '$.guards[*].attributeId ? (@ == $id)',
                                                jsonb_build_object('id', $2::text)))
        """,
        workspace_id,
        attribute_id,
    )
    return used


async def option_ids(
    conn: Conn, workspace_id: str, words: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The option values that these words, each about an attribute, name by alias and not by id."""
    if not words:
        return {}
    rows = await conn.fetch(
        """
        SELECT asked.attribute_id, v.alias, v.id
          FROM unnest($2::text[], $3::text[]) AS asked (attribute_id, word)
          JOIN attributes a ON a.workspace_id = $1 AND a.id = asked.attribute_id
          JOIN option_values v ON v.workspace_id = $1 AND v.list_id = a.body ->> 'optionListId'
                              AND v.alias = asked.word
         WHERE NOT EXISTS (SELECT FROM option_values o
                            WHERE o.workspace_id = $1 AND o.list_id = v.list_id
                              AND o.id = asked.word)
        """,
        workspace_id,
        [attribute_id for attribute_id, _ in words],
        [word for _, word in words],
    )
    return {(row["attribute_id"], row["alias"]): row["id"] for row in rows}


async def has_values(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """Whether a record holds a value of it."""
    held: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM records WHERE workspace_id = $1 AND values ? $2)",
        workspace_id,
        attribute_id,
    )
    return held


async def schemas_claiming(
    conn: Conn, workspace_id: str, attribute_ids: Collection[str]
) -> set[tuple[str, str]]:
    """Each (schema, attribute) of records that hold a value of these unique attributes."""
    if not attribute_ids:
        return set()
    rows = await conn.fetch(
        """
        SELECT DISTINCT r.schema_id, u.attribute_id
          FROM unique_values u
          JOIN records r ON r.workspace_id = u.workspace_id AND r.id = u.record_id
         WHERE u.workspace_id = $1 AND u.attribute_id = ANY($2::text[])
        """,
        workspace_id,
        list(attribute_ids),
    )
    return {(row["schema_id"], row["attribute_id"]) for row in rows}


async def stored_entries(
    conn: Conn, workspace_id: str, attribute_id: str
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Every record that holds a value of it, with its entries."""
    rows = await conn.fetch(
        """
        SELECT id, values -> $2 AS entries
          FROM records
         WHERE workspace_id = $1 AND values ? $2
         ORDER BY created_at, id
        """,
        workspace_id,
        attribute_id,
    )
    return [(row["id"], row["entries"]) for row in rows]


async def claim(conn: Conn, workspace_id: str, claims: Sequence[tuple[str, Claim]]) -> None:
    """Reserve values that records hold already."""
    await conn.execute(
        """
        INSERT INTO unique_values (workspace_id, record_id, attribute_id, scope, value_hash)
        SELECT $1, c.record_id, c.attribute_id, c.scope, c.value_hash
          FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[])
               AS c (record_id, attribute_id, scope, value_hash)
        """,
        workspace_id,
        [record_id for record_id, _ in claims],
        [claim_.attribute_id for _, claim_ in claims],
        [claim_.scope for _, claim_ in claims],
        [claim_.value_hash for _, claim_ in claims],
    )


async def free(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Give back all values that were reserved for it."""
    await conn.execute(
        "DELETE FROM unique_values WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )


async def drop_values(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Forget what records still hold of it; no schema has it, so nobody sees a difference."""
    await conn.execute(
        """
        UPDATE records SET values = values - $2
         WHERE workspace_id = $1 AND values ? $2
        """,
        workspace_id,
        attribute_id,
    )
