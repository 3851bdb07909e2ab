"""The SQL that searches the values of records and variants, and what has changed in them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from records_service.model_objects.converted_values import values_now
from shared.database import Conn
from shared.database.listing import BEGINNING, Position
from shared.errors import truncated

ValueTable: TypeAlias = Literal["records", "variants"]
VALUE_TABLES: Final[tuple[ValueTable, ...]] = ("records", "variants")
"""Where values are stored, by attribute id in the column `values`."""


class Hit(NamedTuple):
    """What was found, and the record or variant that has it."""

    table: ValueTable
    id: str
    found: str

    @property
    def by(self) -> str:
        """What uses it, for a refusal: the record or variant that was found, of perhaps many."""
        kind = "record" if self.table == "records" else "variant"
        return f"{kind} '{truncated(self.id)}' has it, and maybe others"


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for in `r.values`, of records and variants.

    A SELECT of one text, `found`, with arguments from $2 on.
    """

    select: str
    arguments: tuple[Any, ...]


async def search_some(
    conn: Conn,
    workspace_id: str,
    table: ValueTable,
    schema_id: str,
    search: Search,
    after: Position | None,
    *,
    rows_max: int,
) -> tuple[Hit | None, Position | None]:
    """Search the next rows of a schema: what was found, and from where to go on, if anywhere.

    Read in an order that only the index by schema has: otherwise PostgreSQL may expect to find
    something soon, and read the records of all schemas or the whole table.
    """
    schema, created_at, record, rows = (f"${len(search.arguments) + n}" for n in range(2, 6))
    next_records = f"""
        FROM {table}
       WHERE workspace_id = $1
         AND (schema_id, created_at, id) > ({schema}, {created_at}, {record})
         AND schema_id <= {schema}
       ORDER BY schema_id, created_at, id
    """
    row = await conn.fetchrow(
        f"""
        SELECT (SELECT ARRAY[r.id, hit.found]
                  FROM (SELECT id, {values_now(table)} AS values {next_records}
                         LIMIT {rows}::bigint) AS r
                 CROSS JOIN LATERAL ({search.select}) AS hit
                 LIMIT 1) AS hit,
               last.created_at, last.id
          FROM (SELECT 1) AS always
          LEFT JOIN LATERAL (
               SELECT created_at, id {next_records} OFFSET {rows}::bigint - 1 LIMIT 1
          ) AS last ON true
        """,  # noqa: S608 - constants of this code
        workspace_id,
        *search.arguments,
        schema_id,
        *(after or BEGINNING),
        rows_max,
    )
    assert row is not None
    hit = None if row["hit"] is None else Hit(table, *row["hit"])
    return hit, None if row["id"] is None else (row["created_at"], row["id"])


async def search_these(
    conn: Conn, workspace_id: str, table: ValueTable, ids: Collection[str], search: Search
) -> Hit | None:
    """Search these rows."""
    if not ids:
        return None
    row = await conn.fetchrow(
        f"""
        SELECT r.id, hit.found
          FROM (SELECT id, {values_now(table)} AS values FROM {table}
                 WHERE workspace_id = $1 AND id = ANY(${len(search.arguments) + 2}::text[])) AS r
         CROSS JOIN LATERAL ({search.select}) AS hit
         LIMIT 1
        """,  # noqa: S608 - constants of this code
        workspace_id,
        *search.arguments,
        list(ids),
    )
    return None if row is None else Hit(table, row["id"], row["found"])


async def written_since(
    conn: Conn,
    workspace_id: str,
    schema_ids: Collection[str],
    since: datetime,
    *,
    rows_max: int,
) -> list[str] | None:
    """The records of these schemas that were created or changed since.

    None where more records than that were, of any schema.
    """
    rows = await conn.fetch(
        """
        SELECT id, schema_id FROM records
         WHERE workspace_id = $1 AND updated_at >= $2
         ORDER BY updated_at, id
         LIMIT $3
        """,
        workspace_id,
        since,
        rows_max + 1,
    )
    if len(rows) > rows_max:
        return None
    return [row["id"] for row in rows if row["schema_id"] in schema_ids]


async def last_change(conn: Conn, workspace_id: str) -> int:
    """The id of the last entry of the history; every later change of a record has a greater one.

    Waits for the writes that have begun, whose entries may have smaller ids. For that it takes the
    model lock, to the end of the statement if no transaction is open.
    """
    last: int | None = await conn.fetchval(
        """
        SELECT (SELECT max(id) FROM audit WHERE workspace_id = $1)
          FROM models
         WHERE workspace_id = $1
           FOR NO KEY UPDATE
        """,
        workspace_id,
    )
    return last or 0


async def changed_since(
    conn: Conn, workspace_id: str, last_change: int, *, rows_max: int
) -> dict[ValueTable, set[str]] | None:
    """The ids with entries in the history after this one; None for more entries than that."""
    rows = await conn.fetch(
        """
        SELECT record_id, variant_id FROM audit
         WHERE workspace_id = $1 AND id > $2
         ORDER BY id
         LIMIT $3
        """,
        workspace_id,
        last_change,
        rows_max + 1,
    )
    if len(rows) > rows_max:
        return None
    return {
        "records": {row["record_id"] for row in rows if row["variant_id"] is None},
        "variants": {row["variant_id"] for row in rows if row["variant_id"] is not None},
    }
