"""The SQL that writes many records at once, for a change of the data model.

The caller holds the model lock, so no record is written meanwhile; exceptions are named.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from records_service.model_objects.search_store import ValueTable
from records_service.search_index import parts
from records_service.search_texts.notes import noted
from records_service.workflow_copies.moves import StateMoves
from shared.database import Conn
from shared.database.listing import BEGINNING, Position


@dataclass(frozen=True, slots=True)
class Step:
    """What a slice has done: rows looked at, rows changed, from where to go on; None at the end."""

    looked_at: int
    changed: int
    after: Position | None


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
        ), {parts.noted("moved")}, {parts.moved("moved")}, {noted("moved")}
        SELECT id, schema_id, version, from_state_id, state_id AS to_state_id FROM moved
        """,  # noqa: S608 - constants
        workspace_id,
        record_ids,
        moves,
        user_id,
        at,
    )
    return [Moved(**row) for row in rows]


_WITHOUT: Final[Mapping[ValueTable, str]] = {
    "records": "UPDATE records held"
    " SET values = held.values - $2, converted = nullif(held.converted - $2, '{}')",
    "variants": "UPDATE variants held"
    " SET values = held.values - $2, converted = nullif(held.converted - $2, '{}')",
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
) -> Step:
    """Remove its values from the next records of a schema.

    With the table `variants`, from their variants. The versions stay: no schema has the attribute,
    so nobody sees a difference. Records may be written meanwhile.
    """
    row = await conn.fetchrow(
        f"""
        WITH read AS MATERIALIZED (
            SELECT created_at, id, values ? $2 OR converted ? $2 IS TRUE AS has_values
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
        SELECT (SELECT count(*) FROM read) AS looked_at,
               (SELECT count(*) FROM read WHERE has_values) AS changed,
               last.created_at, last.id
          FROM (SELECT 1) AS always
          LEFT JOIN LATERAL (
               SELECT created_at, id FROM read ORDER BY created_at, id OFFSET $6::bigint - 1
          ) AS last ON true
        """,  # noqa: S608 - constants
        workspace_id,
        attribute_id,
        schema_id,
        *(after or BEGINNING),
        rows_max,
    )
    assert row is not None
    after = None if row["id"] is None else (row["created_at"], row["id"])
    return Step(row["looked_at"], row["changed"], after)


async def remove_values_of(
    conn: Conn, workspace_id: str, attribute_id: str, table: ValueTable, ids: Collection[str]
) -> None:
    """As `remove_values`, of these records or variants."""
    await conn.execute(
        f"""
        {_WITHOUT[table]}
         WHERE workspace_id = $1 AND id = ANY($3::text[])
           AND (values ? $2 OR converted ? $2)
        """,
        workspace_id,
        attribute_id,
        list(ids),
    )
