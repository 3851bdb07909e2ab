"""SQL: the rows of the orders in which records are sorted by texts and by values in scopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.database import Conn
from shared.database.listing import BEGINNING, Position
from shared.database.pieces import Room, first_piece


@dataclass(frozen=True, slots=True)
class Sorting:
    """How far the records of a schema have the rows of this digest."""

    schema_id: str
    digest: str
    after: Position | None
    is_done: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A record that is put in order, with those of its values that matter, as JSON."""

    id: str
    created_at: datetime
    state_id: str | None
    values: str


@dataclass(frozen=True, slots=True)
class Row:
    """A record in one view."""

    id: str
    created_at: datetime
    state_id: str | None
    bucket: int
    view: int
    number: float
    text: str


async def sorted_schemas(conn: Conn, workspace_id: str) -> dict[str, str]:
    """Schema -> the digest of the views in which all of its records are, but those behind."""
    return {
        each.schema_id: each.digest
        for each in (await sortings(conn, workspace_id)).values()
        if each.is_done
    }


async def sortings(conn: Conn, workspace_id: str) -> dict[str, Sorting]:
    """How far each schema is."""
    rows = await conn.fetch(
        """
        SELECT schema_id, digest, after_created_at, after_id, is_done
          FROM search_sorted
         WHERE workspace_id = $1
        """,
        workspace_id,
    )
    return {
        row["schema_id"]: Sorting(
            row["schema_id"],
            row["digest"],
            None if row["after_id"] is None else (row["after_created_at"], row["after_id"]),
            row["is_done"],
        )
        for row in rows
    }


async def keep(conn: Conn, workspace_id: str, sorting: Sorting) -> None:
    """Remember how far a schema is."""
    await conn.execute(
        """
        INSERT INTO search_sorted (workspace_id, schema_id, digest, after_created_at, after_id,
                                   is_done)
        VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (workspace_id, schema_id)
            DO UPDATE SET digest = excluded.digest, after_created_at = excluded.after_created_at,
                          after_id = excluded.after_id, is_done = excluded.is_done
        """,
        workspace_id,
        sorting.schema_id,
        sorting.digest,
        *(sorting.after or (None, None)),
        sorting.is_done,
    )


async def forget(conn: Conn, workspace_id: str, schema_ids: Sequence[str]) -> None:
    """Take no record of these schemas to be in an order."""
    await conn.execute(
        "DELETE FROM search_sorted WHERE workspace_id = $1 AND schema_id = ANY($2::text[])",
        workspace_id,
        schema_ids,
    )


async def next_records(
    conn: Conn,
    workspace_id: str,
    schema_id: str,
    after: Position | None,
    attribute_ids: Sequence[str],
    *,
    room: Room,
) -> tuple[list[Placed], bool]:
    """The next records of a schema in the order of their creation, and whether there may be more.

    Each with its values of these attributes alone: a slice is bounded by the bytes of these.
    """
    rows, is_full = await first_piece(
        conn,
        """
        SELECT r.id, r.created_at, r.state_id,
               (SELECT coalesce(jsonb_object_agg(a.id, r.values -> a.id), '{}')
                  FROM unnest($6::text[]) AS a (id)
                 WHERE r.values ? a.id)::text AS values
          FROM records r
         WHERE r.workspace_id = $1
           AND (r.schema_id, r.created_at, r.id) > ($2, $3, $4)
           AND r.schema_id <= $2
         ORDER BY r.schema_id, r.created_at, r.id
         LIMIT $5::bigint
        """,
        workspace_id,
        schema_id,
        *(after or BEGINNING),
        room.rows,
        attribute_ids,
        size_of=lambda row: len(row["values"]),
        room=room,
    )
    return [Placed(**row) for row in rows], is_full


async def write(conn: Conn, workspace_id: str, schema_id: str, rows: Sequence[Row]) -> None:
    """Store these rows of records of the schema; what is so already is not written."""
    await conn.execute(
        """
        INSERT INTO search_sorts AS known (workspace_id, created_at, record_id, view, schema_id,
                                           state_id, bucket, number, text)
        SELECT $1, n.created_at, n.id, n.view, $2, n.state_id, n.bucket, n.number, n.text
          FROM unnest($3::text[], $4::timestamptz[], $5::text[], $6::smallint[], $7::bigint[],
                      $8::float8[], $9::text[])
               AS n (id, created_at, state_id, bucket, view, number, text)
         ORDER BY n.created_at, n.id, n.view
            ON CONFLICT (workspace_id, created_at, record_id, view)
            DO UPDATE SET schema_id = excluded.schema_id, state_id = excluded.state_id,
                          number = excluded.number, text = excluded.text
             WHERE (known.number, known.text, known.schema_id)
                   <> (excluded.number, excluded.text, excluded.schema_id)
                OR known.state_id IS DISTINCT FROM excluded.state_id
        RETURNING 1
        """,
        workspace_id,
        schema_id,
        [each.id for each in rows],
        [each.created_at for each in rows],
        [each.state_id for each in rows],
        [each.bucket for each in rows],
        [each.view for each in rows],
        [each.number for each in rows],
        [each.text for each in rows],
    )


async def are_due(conn: Conn, workspace_id: str) -> bool:
    """Whether no code that notes no changes of orders writes records any more."""
    found: bool = await conn.fetchval(
        """
        UPDATE search_layouts SET are_sorted = true
         WHERE workspace_id = $1 AND sorts_from <= now()
        RETURNING true
        """,
        workspace_id,
    )
    return bool(found)
