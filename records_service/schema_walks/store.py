"""SQL: the next records or variants of a walk, and what the history says was written meanwhile.

    rows, walk = await next_entries(conn, workspace_id, walk, attribute_id, room=Room(2_000))

A walk of a million records sees each once, while they are written. What was written after its
beginning is known from the history, and looked at when it is over (`looking_back`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from records_service.model_objects.converted_values import values_now
from records_service.model_objects.search_store import VALUE_TABLES, ValueTable
from records_service.schema_walks.model import Walk
from shared.database import Conn, Record
from shared.database.listing import BEGINNING
from shared.database.pieces import Room, Size, first_piece, pieces

HELD_BY: Final[Mapping[ValueTable, str]] = {
    "records": "id AS record_id, NULL::text AS variant_id",
    "variants": "record_id, id AS variant_id",
}
"""The columns that name a record or variant."""


@dataclass(frozen=True, slots=True)
class Written:
    """Records, and variants with their records, that were written, by the history.

    `last` is the last entry that was read, None where there are no more.
    """

    records: Sequence[str]
    variants: Sequence[tuple[str, str]]
    last: int | None


NOTHING_WRITTEN: Final = Written((), (), None)


async def next_entries(
    conn: Conn, workspace_id: str, walk: Walk, attribute_id: str, *, room: Room
) -> tuple[list[Record], Walk]:
    """What the next records or variants hold of an attribute, and the walk after them.

    Rows of `record_id`, `variant_id` and `entries`: JSON, or None without a value. The bytes are
    those of the entries.
    """
    return await _next(
        conn,
        workspace_id,
        walk,
        f"{HELD_BY[walk.table]}, ({values_now(walk.table)} -> $2)::text AS entries",
        attribute_id,
        size_of=_size_of_entries,
        room=room,
    )


async def next_ids(
    conn: Conn, workspace_id: str, walk: Walk, *, room: Room
) -> tuple[list[str], Walk]:
    """The ids of the next records or variants, and the walk after them.

    The bytes are those of all values as they are stored, maybe compressed.
    """
    rows, walk = await _next(
        conn,
        workspace_id,
        walk,
        "pg_column_size(values) AS bytes",
        "",
        size_of=lambda row: row["bytes"],
        room=room,
    )
    return [row["id"] for row in rows], walk


async def _next(
    conn: Conn,
    workspace_id: str,
    walk: Walk,
    columns: str,
    attribute_id: str,
    *,
    size_of: Size,
    room: Room,
) -> tuple[list[Record], Walk]:
    # Read in an order that only the index by schema has: no other plan is as good as this.
    rows, is_full = await first_piece(
        conn,
        f"""
        SELECT created_at, id, {columns}
          FROM {walk.table}
         WHERE workspace_id = $1 AND $2::text IS NOT NULL
           AND (schema_id, created_at, id) > ($3, $4, $5)
           AND schema_id <= $3
         ORDER BY schema_id, created_at, id
         LIMIT $6::bigint
        """,  # noqa: S608 - constants
        workspace_id,
        attribute_id,
        walk.schema_id,
        *(walk.after or BEGINNING),
        room.rows,
        size_of=size_of,
        room=room,
    )
    return rows, walk.reached((rows[-1]["created_at"], rows[-1]["id"]) if is_full else None)


def _size_of_entries(row: Record) -> int:
    return len(row["entries"] or "")


async def has_more(
    conn: Conn,
    workspace_id: str,
    schema_ids: Sequence[str],
    *,
    than: int,
    tables: Sequence[ValueTable] = VALUE_TABLES,
) -> bool:
    """Whether one of the tables has more records or variants of these schemas than that."""
    for table in tables:
        found: bool = await conn.fetchval(
            f"""
            SELECT EXISTS (SELECT FROM {table}
                            WHERE workspace_id = $1 AND schema_id = ANY($2::text[])
                           OFFSET $3::bigint)
            """,  # noqa: S608 - a constant
            workspace_id,
            list(schema_ids),
            than,
        )
        if found:
            return True
    return False


async def entries_of(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    record_ids: Collection[str],
    variant_ids: Collection[str],
    *,
    room: Room,
) -> AsyncIterator[list[Record]]:
    """What these records and variants hold of an attribute, a piece at a time.

    Rows as of `next_entries`; those without a value are left out. All as they are at one moment.
    """
    reading = pieces(
        conn,
        f"""
        SELECT {HELD_BY["records"]}, ({values_now("records")} -> $2)::text AS entries
          FROM records
         WHERE workspace_id = $1 AND id = ANY($3::text[]) AND values ? $2
         UNION ALL
        SELECT {HELD_BY["variants"]}, ({values_now("variants")} -> $2)::text
          FROM variants
         WHERE workspace_id = $1 AND id = ANY($4::text[]) AND values ? $2
        """,  # noqa: S608 - constants
        workspace_id,
        attribute_id,
        list(record_ids),
        list(variant_ids),
        size_of=_size_of_entries,
        room=room,
    )
    async for rows, _ in reading:
        yield rows


async def lock_written(conn: Conn, workspace_id: str, written: Written) -> None:
    """Keep these records and variants as they are until commit.

    Records are locked in the order of their ids, as by all writes. A write of a variant locks its
    record, too.
    """
    await conn.execute(
        """
        SELECT 1 FROM records
         WHERE workspace_id = $1 AND id = ANY($2::text[])
         ORDER BY id
           FOR NO KEY UPDATE
        """,
        workspace_id,
        sorted({*written.records, *(record_id for record_id, _ in written.variants)}),
    )


async def last_change(conn: Conn, workspace_id: str) -> int:
    """The last entry of the history; all later ones are greater if the caller holds the model lock.

    0 where there is none.
    """
    last: int = await conn.fetchval(
        "SELECT coalesce(max(id), 0) FROM audit WHERE workspace_id = $1", workspace_id
    )
    return last


async def written_since(
    conn: Conn, workspace_id: str, since: int, until: int | None = None, *, rows_max: int
) -> Written:
    """What the next entries of the history are about: those after `since`, up to `until`."""
    rows = await conn.fetch(
        """
        SELECT id, record_id, variant_id FROM audit
         WHERE workspace_id = $1 AND id > $2 AND ($3::bigint IS NULL OR id <= $3)
         ORDER BY id
         LIMIT $4::bigint
        """,
        workspace_id,
        since,
        until,
        rows_max,
    )
    return Written(
        sorted({row["record_id"] for row in rows if row["variant_id"] is None}),
        sorted(
            {(row["record_id"], row["variant_id"]) for row in rows if row["variant_id"] is not None}
        ),
        rows[-1]["id"] if len(rows) == rows_max else None,
    )
