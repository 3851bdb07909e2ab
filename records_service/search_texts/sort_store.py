"""SQL: the rows of the orders in which records are sorted by texts and by values in scopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.database import Conn
from shared.database.listing import Position


@dataclass(frozen=True, slots=True)
class Sorting:
    """How far the records of a schema have the rows of this digest."""

    schema_id: str
    digest: str
    after: Position | None
    is_done: bool


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
