"""SQL: the records and variants of a schema, as far as a change of the model concerns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from records_service.model_objects.converted_values import values_now
from shared.database import Conn
from shared.database.listing import BEGINNING, Position

SLICE_BYTES_MAX: Final = 4 << 20
PICKED_MAX: Final = 10
"""For more attributes than these it is quicker to read all values of a record."""


class Slice(NamedTuple):
    """Some records or variants as JSON: `[[record id, variant id or null, stored state, values]]`.

    The values are those of the attributes that were asked for, in their order, null where there are
    none, or all by attribute where many were asked for, or null where none were.
    `last` is from where to go on, None at the end.
    """

    rows: str
    last: Position | None


async def records_after(
    conn: Conn,
    workspace_id: str,
    schema_id: str,
    attribute_ids: Sequence[str],
    after: Position | None,
    *,
    rows_max: int,
) -> Slice:
    """The next records of a schema, in order of creation, with their values of these attributes."""
    read = f"""
        SELECT created_at, id, id AS record_id, NULL::text AS variant_id, state_id,
               {values_now("records")} AS values
          FROM records
         WHERE workspace_id = $1
           AND (schema_id, created_at, id) > ($2, $3, $4)
           AND schema_id <= $2
         ORDER BY schema_id, created_at, id
         LIMIT $5::bigint
    """  # noqa: S608 - constants
    return await _slice(conn, read, workspace_id, schema_id, attribute_ids, after, rows_max)


async def variants_after(
    conn: Conn,
    workspace_id: str,
    schema_id: str,
    attribute_ids: Sequence[str],
    after: Position | None,
    *,
    rows_max: int,
) -> Slice:
    """The next variants of the records of a schema, with what they store of these attributes."""
    read = f"""
        SELECT v.created_at, v.id, v.record_id, v.id AS variant_id, r.state_id, v.values
          FROM (SELECT created_at, id, record_id, {values_now("variants")} AS values
                  FROM variants
                 WHERE workspace_id = $1
                   AND (schema_id, created_at, id) > ($2, $3, $4)
                   AND schema_id <= $2
                 ORDER BY schema_id, created_at, id
                 LIMIT $5::bigint) AS v
          JOIN records r ON r.workspace_id = $1 AND r.id = v.record_id
    """  # noqa: S608 - constants
    return await _slice(conn, read, workspace_id, schema_id, attribute_ids, after, rows_max)


async def _slice(
    conn: Conn,
    read: str,
    workspace_id: str,
    schema_id: str,
    attribute_ids: Sequence[str],
    after: Position | None,
    rows_max: int,
) -> Slice:
    """Of what is `read`, as many rows as fit into some `SLICE_BYTES_MAX`.

    Both their values as stored, which are measured without being fetched, and what is wanted of
    these as text have to fit.
    """
    stored = "pg_column_size(values)" if attribute_ids else "0"
    row = await conn.fetchrow(
        f"""
        WITH read AS MATERIALIZED ({read}), measured AS (
            SELECT *, count(*) OVER () AS rows,
                   coalesce(sum({stored}) OVER (
                       ORDER BY created_at, id
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS stored_before
              FROM read
        ), fetched AS MATERIALIZED (
            SELECT created_at, id, record_id, variant_id, state_id, rows,
                   {_held(attribute_ids)} AS held
              FROM measured
             WHERE stored_before < $6
        ), sized AS (
            SELECT *, coalesce(sum(octet_length(held)) OVER (
                       ORDER BY created_at, id
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
              FROM fetched
        ), fitting AS MATERIALIZED (
            SELECT * FROM sized WHERE bytes_before < $6
        )
        SELECT (SELECT '[' || string_agg('[' || to_json(record_id)
                                         || ',' || coalesce(to_json(variant_id)::text, 'null')
                                         || ',' || coalesce(to_json(state_id)::text, 'null')
                                         || ',' || coalesce(held, 'null') || ']', ',') || ']'
                  FROM fitting) AS rows,
               last.created_at, last.id,
               (SELECT coalesce(max(rows) = $5::bigint OR count(*) < max(rows), false)
                  FROM fitting) AS is_more
          FROM (SELECT 1) AS always
          LEFT JOIN LATERAL (
               SELECT created_at, id FROM fitting ORDER BY created_at DESC, id DESC LIMIT 1
          ) AS last ON true
        """,  # noqa: S608 - constants of this code
        workspace_id,
        schema_id,
        *(after or BEGINNING),
        rows_max,
        SLICE_BYTES_MAX,
        *(attribute_ids if len(attribute_ids) <= PICKED_MAX else ()),
    )
    assert row is not None
    last = (row["created_at"], row["id"]) if row["is_more"] else None
    return Slice(row["rows"] or "[]", last)


def _held(attribute_ids: Sequence[str]) -> str:
    """SQL: the values of a row that are wanted, as JSON; the parameters from $7 on name them."""
    if len(attribute_ids) > PICKED_MAX:
        return "values::text"
    picked = ", ".join(f"values -> ${number}::text" for number in range(7, 7 + len(attribute_ids)))
    return f"jsonb_build_array({picked})::text" if picked else "NULL::text"
