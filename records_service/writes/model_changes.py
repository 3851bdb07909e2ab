"""The SQL that writes many records at once, for a change of the data model.

The caller holds the model lock, so no record is written meanwhile; exceptions are named.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from records_service.model_objects.search_store import ValueTable
from records_service.search_index import parts
from records_service.workflow_copies.moves import StateMoves
from shared.database import Conn
from shared.database.listing import BEGINNING, Position

_SENT: Final = """
    SELECT c ->> 0 AS record_id, c ->> 1 AS scope, decode(c ->> 2, 'hex') AS value_hash,
           c ->> 3 AS variant_id, place
      FROM json_array_elements($3::json) WITH ORDINALITY AS sent (c, place)
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """A record that was taken to another state."""

    id: str
    schema_id: str
    version: int
    from_state_id: str | None
    to_state_id: str | None


async def move_to_states(
    conn: Conn,
    workspace_id: str,
    record_ids: Sequence[str],
    moves: StateMoves,
    user_id: str,
    *,
    at: datetime,
) -> list[Moved]:
    """Take those of these records that are not moved yet to their new states, with their history.

    `at` is the time of the change, unless a record was changed later by another clock. The caller
    holds the model lock, at least shared; records may be written meanwhile.
    """
    rows = await conn.fetch(
        f"""
        WITH lost AS (
            SELECT id, state_id
              FROM records
             WHERE workspace_id = $1 AND id = ANY($2::text[])
               AND $3::jsonb ? coalesce(state_id, '')
             ORDER BY id
               FOR UPDATE
        ), moved AS (
            UPDATE records r
               SET state_id = $3::jsonb ->> coalesce(lost.state_id, ''), version = r.version + 1,
                   updated_at = greatest($5, r.updated_at), updated_by = $4
              FROM lost
             WHERE r.workspace_id = $1 AND r.id = lost.id
            RETURNING r.id, r.schema_id, r.version, r.created_at, r.updated_at, r.state_id,
                      lost.state_id AS from_state_id
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                               changes, from_state_id, to_state_id)
            SELECT $1, id, version, schema_id, 'transition', $4, updated_at, '[]', from_state_id,
                   state_id
              FROM moved
            RETURNING 1
        ), {parts.moved("moved")}
        SELECT id, schema_id, version, from_state_id, state_id AS to_state_id FROM moved
        """,  # noqa: S608 - constants
        workspace_id,
        record_ids,
        moves,
        user_id,
        at,
    )
    return [Moved(**row) for row in rows]


async def insert_unique_keys(
    conn: Conn, workspace_id: str, attribute_id: str, unique_keys: bytes
) -> tuple[str, str] | None:
    """Reserve values that records and variants hold already; two that hold one value, if any do.

    The one that was sent first comes first.
    `unique_keys` is JSON `[[record id, scope, hexadecimal hash, variant id or null], ...]`:
    PostgreSQL takes it apart, and not the event loop.
    """
    try:
        async with conn.transaction():
            await conn.execute(
                f"""
                INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id,
                                           variant_id)
                SELECT m.workspace_id, $2, sent.scope, sent.value_hash, sent.record_id,
                       sent.variant_id
                  FROM models m CROSS JOIN ({_SENT}) AS sent
                 WHERE m.workspace_id = $1
                """,  # noqa: S608 - a constant
                workspace_id,
                attribute_id,
                unique_keys,
            )
    except asyncpg.UniqueViolationError:
        first, second = await conn.fetchval(
            f"""
            WITH sent AS MATERIALIZED ({_SENT})
            SELECT (array_agg(holder ORDER BY place))[1:2] AS pair
              FROM (SELECT scope, value_hash, coalesce(variant_id, record_id) AS holder, place
                      FROM sent
                     UNION ALL
                    SELECT s.scope, s.value_hash, u.holder, 0
                      FROM sent s
                     CROSS JOIN LATERAL (
                           SELECT coalesce(variant_id, record_id) AS holder FROM unique_values
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
            unique_keys,
        )
        return first, second
    return None


async def delete_unique_keys(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Release all reserved values of the attribute."""
    await conn.execute(
        "DELETE FROM unique_values WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )


async def delete_some_unique_keys(
    conn: Conn, workspace_id: str, attribute_id: str, *, rows_max: int
) -> bool:
    """Release reserved values of the attribute; whether there may be more than these."""
    tag = await conn.execute(
        """
        DELETE FROM unique_values
         WHERE workspace_id = $1 AND attribute_id = $2 AND (scope, value_hash) IN (
               SELECT scope, value_hash FROM unique_values
                WHERE workspace_id = $1 AND attribute_id = $2
                LIMIT $3)
        """,
        workspace_id,
        attribute_id,
        rows_max,
    )
    return tag == f"DELETE {rows_max}"


_WITHOUT: Final[Mapping[ValueTable, str]] = {
    "records": "UPDATE records held SET values = held.values - $2",
    "variants": "UPDATE variants held SET values = held.values - $2",
}


async def remove_values(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    schema_id: str,
    after: Position | None,
    *,
    rows_max: int,
    table: ValueTable = "records",
) -> Position | None:
    """Remove its values from the next records of a schema: from where to go on, None at the end.

    With the table `variants`, from their variants. The versions stay: no schema has the attribute,
    so nobody sees a difference. Records may be written meanwhile.
    """
    row = await conn.fetchrow(
        f"""
        WITH read AS MATERIALIZED (
            SELECT created_at, id, values ? $2 AS has_values
              FROM {table}
             WHERE workspace_id = $1
               AND (schema_id, created_at, id) > ($3, $4, $5)
               AND schema_id <= $3
             ORDER BY schema_id, created_at, id
             LIMIT $6::bigint
        ), removed AS (
            {_WITHOUT[table]}
              FROM read
             WHERE held.workspace_id = $1 AND held.id = read.id AND read.has_values
        )
        SELECT created_at, id FROM read
         ORDER BY created_at, id
        OFFSET $6::bigint - 1
        """,  # noqa: S608 - constants
        workspace_id,
        attribute_id,
        schema_id,
        *(after or BEGINNING),
        rows_max,
    )
    return None if row is None else (row["created_at"], row["id"])


async def remove_values_of(
    conn: Conn, workspace_id: str, attribute_id: str, table: ValueTable, ids: Collection[str]
) -> None:
    """As `remove_values`, of these records or variants."""
    await conn.execute(
        f"""
        {_WITHOUT[table]}
         WHERE workspace_id = $1 AND id = ANY($3::text[]) AND values ? $2
        """,
        workspace_id,
        attribute_id,
        list(ids),
    )


async def lock_model_shared(conn: Conn, workspace_id: str) -> None:
    """Prevent changes of the data model until commit; records may be written meanwhile."""
    await conn.execute("SELECT 1 FROM models WHERE workspace_id = $1 FOR SHARE", workspace_id)
