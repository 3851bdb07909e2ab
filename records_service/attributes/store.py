"""SQL: which schemas use an attribute, and the unique keys of stored values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg

from records_service.model_objects.searching import Searcher
from records_service.model_objects.store import Search
from records_service.permissions.store import schemas_with_values
from shared.database import Conn, Record

BATCH_BYTES_MAX: Final = 4 << 20
_SENT: Final = """
    SELECT c ->> 0 AS record_id, c ->> 1 AS scope, decode(c ->> 2, 'hex') AS value_hash, place
      FROM json_array_elements($3::json) WITH ORDINALITY AS sent (c, place)
"""
_BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)


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


async def countables(conn: Conn, workspace_id: str, attribute_ids: Collection[str]) -> list[Record]:
    """Of each of these attributes: id, whether it is required, what its guards refer to."""
    return await conn.fetch(
        """
        SELECT id,
               coalesce(body->'validation'->'required' = 'true', false) AS required,
               ARRAY(SELECT jsonb_path_query(body, '$.guards[*].attributeId') #>> '{}') AS guards
          FROM attributes
         WHERE workspace_id = $1 AND id = ANY($2::text[])
        """,
        workspace_id,
        list(attribute_ids),
    )


async def with_workflow(
    conn: Conn, workspace_id: str, attribute_id: str
) -> list[tuple[str, str, Sequence[str]]]:
    """Of each schema with a workflow that has this attribute: id, workflow, its attributes."""
    rows = await conn.fetch(
        """
        SELECT id, body->>'workflowId' AS workflow_id,
               ARRAY(SELECT jsonb_path_query(body, '$.attributeGroups[*].attributeIds[*]')
                            #>> '{}') AS attribute_ids
          FROM schemas
         WHERE workspace_id = $1
           AND body->>'workflowId' IS NOT NULL
           AND jsonb_path_exists(body, '$.attributeGroups[*].attributeIds[*] ? (@ == $id)',
                                 jsonb_build_object('id', $2::text))
        """,
        workspace_id,
        attribute_id,
    )
    return [(row["id"], row["workflow_id"], row["attribute_ids"]) for row in rows]


async def option_ids(
    conn: Conn, workspace_id: str, names: Collection[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The option behind each (list, id or alias) that there is; an id comes before an alias."""
    if not names:
        return {}
    rows = await conn.fetch(
        """
        SELECT asked.list_id, asked.name, coalesce(by_id.id, by_alias.id) AS id
          FROM unnest($2::text[], $3::text[]) AS asked (list_id, name)
          LEFT JOIN option_values by_id
                 ON by_id.workspace_id = $1 AND by_id.list_id = asked.list_id
                AND by_id.id = asked.name
          LEFT JOIN option_values by_alias
                 ON by_alias.workspace_id = $1 AND by_alias.list_id = asked.list_id
                AND by_alias.alias = asked.name
         WHERE coalesce(by_id.id, by_alias.id) IS NOT NULL
        """,
        workspace_id,
        [list_id for list_id, _ in names],
        [name for _, name in names],
    )
    return {(row["list_id"], row["name"]): row["id"] for row in rows}


async def comparing(conn: Conn, workspace_id: str, attribute_id: str) -> str | None:
    """The alias of an attribute whose guard compares the values of this one."""
    alias: str | None = await conn.fetchval(
        """
        SELECT alias FROM attributes
         WHERE workspace_id = $1 AND id <> $2
           AND jsonb_path_exists(body, '$.guards[*] ? (@.attributeId == $id
                                            && @.operator != "isEmpty"
                                            && @.operator != "isNotEmpty")',
                                 jsonb_build_object('id', $2::text))
         ORDER BY created_at, id
         LIMIT 1
        """,
        workspace_id,
        attribute_id,
    )
    return alias


async def has_values(conn: Conn, workspace_id: str, attribute_id: str, searcher: Searcher) -> bool:
    """Whether a record holds a value of it."""
    schema_ids = await schemas_with_values(conn, workspace_id, [attribute_id])
    search = Search("SELECT $2::text AS found WHERE r.values ? $2", (attribute_id,))
    return await searcher.first_found(conn, workspace_id, schema_ids, search) is not None


Position = tuple[datetime, str]
"""Creation time and id of a record."""


async def entries_after(
    conn: Conn, workspace_id: str, attribute_id: str, after: Position | None, *, rows_max: int
) -> tuple[Position | None, str]:
    """What the next records hold of an attribute, as JSON `[[record id, entries], ...]`.

    At most `rows_max` records, those without a value included, and some `BATCH_BYTES_MAX` bytes.
    Beside it, from where to go on; None at the end.
    """
    row = await conn.fetchrow(
        """
        WITH read AS (
            SELECT created_at, id, (values -> $2)::text AS entries
              FROM records
             WHERE workspace_id = $1 AND (created_at, id) > ($3, $4)
             ORDER BY created_at, id
             LIMIT $5
        ), fitting AS (
            SELECT created_at, id, entries,
                   coalesce(sum(octet_length(entries)) OVER (
                       ORDER BY created_at, id
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
              FROM read
        ), batch AS (
            SELECT created_at, id, entries FROM fitting WHERE bytes_before < $6
        )
        SELECT (SELECT '[' || coalesce(string_agg('[' || to_json(id) || ',' || entries || ']', ','),
                                       '') || ']'
                  FROM batch WHERE entries IS NOT NULL) AS held,
               last.created_at, last.id
          FROM (SELECT) AS always
          LEFT JOIN LATERAL (
               SELECT created_at, id FROM batch ORDER BY created_at DESC, id DESC LIMIT 1
          ) AS last ON true
        """,
        workspace_id,
        attribute_id,
        *(after or (_BEGINNING, "")),
        rows_max,
        BATCH_BYTES_MAX,
    )
    assert row is not None
    return None if row["id"] is None else (row["created_at"], row["id"]), row["held"]


async def claim(
    conn: Conn, workspace_id: str, attribute_id: str, claims: bytes
) -> tuple[str, str] | None:
    """Reserve values that records hold already; two records that hold one value, if there are any.

    The one that was sent first comes first.
    `claims` is JSON `[[record id, scope, hexadecimal hash], ...]`: PostgreSQL takes it apart, and
    not the event loop.
    """
    try:
        async with conn.transaction():
            await conn.execute(
                f"""
                INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id)
                SELECT $1, $2, scope, value_hash, record_id FROM ({_SENT}) AS sent
                """,  # noqa: S608 - a constant
                workspace_id,
                attribute_id,
                claims,
            )
    except asyncpg.UniqueViolationError:
        first, second = await conn.fetchval(
            f"""
            WITH sent AS MATERIALIZED ({_SENT})
            SELECT (array_agg(record_id ORDER BY place))[1:2] AS pair
              FROM (SELECT scope, value_hash, record_id, place FROM sent
                     UNION ALL
                    SELECT s.scope, s.value_hash, u.record_id, 0
                      FROM sent s
                     CROSS JOIN LATERAL (
                           SELECT record_id FROM unique_values
                            WHERE workspace_id = $1 AND attribute_id = $2
                              AND scope = s.scope AND value_hash = s.value_hash
                            LIMIT 1
                     ) AS u) AS held
             GROUP BY scope, value_hash
            HAVING count(*) > 1
             LIMIT 1
            """,  # noqa: S608 - a constant
            workspace_id,
            attribute_id,
            claims,
        )
        return first, second
    return None


async def free(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Release all reserved values of the attribute."""
    await conn.execute(
        "DELETE FROM unique_values WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )


async def drop_values(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Forget what records still hold of it; no schema has it, so nobody sees a difference."""
    schema_ids = await schemas_with_values(conn, workspace_id, [attribute_id])
    if not schema_ids:
        return
    await conn.execute(
        """
        UPDATE records SET values = values - $2
         WHERE workspace_id = $1 AND schema_id = ANY($3::text[]) AND values ? $2
        """,
        workspace_id,
        attribute_id,
        schema_ids,
    )
