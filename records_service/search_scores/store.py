"""SQL: the stored scores, and by which rules those of each schema are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import orjson

from records_service.blueprint.blueprint import Blueprint
from records_service.search_index.terms import bucket_of
from records_service.search_scores.sql import score_in_sql
from records_service.search_scores.views import View
from records_service.workflow_copies.moves import moves_as_json, state_in_sql
from shared.database import Conn
from shared.database.listing import BEGINNING, Position
from shared.database.pieces import Room, first_piece

ViewTable: TypeAlias = Literal["search_scores", "search_sorts"]
"""What has a row for each record and view."""
VIEW_TABLES: Final[tuple[ViewTable, ...]] = ("search_scores", "search_sorts")
_COMPRESSED_FROM: Final = 1_500
"""Bytes from which on PostgreSQL may have compressed the values of a record."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How far the records of a schema are scored by the rules of this digest."""

    schema_id: str
    digest: str
    after: Position | None
    is_done: bool


class Read(Protocol):
    """A record of a schema, as it was read to be scored."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def created_at(self) -> datetime:
        """When it was created."""

    @property
    def state_id(self) -> str | None:
        """The state that it is stored with."""

    @property
    def values(self) -> str:
        """Its values as JSON."""


class Place(NamedTuple):
    """Where a record is among those of its schema."""

    id: str
    created_at: datetime


async def digests(conn: Conn, workspace_id: str) -> dict[str, str]:
    """Schema -> the digest of the rules by which all of its records are scored."""
    rows = await conn.fetch(
        "SELECT schema_id, digest FROM search_scored WHERE workspace_id = $1 AND is_done",
        workspace_id,
    )
    return {row["schema_id"]: row["digest"] for row in rows}


async def scorings(conn: Conn, workspace_id: str) -> dict[str, Scoring]:
    """How far each schema is."""
    rows = await conn.fetch(
        """
        SELECT schema_id, digest, after_created_at, after_id, is_done
          FROM search_scored
         WHERE workspace_id = $1
        """,
        workspace_id,
    )
    return {
        row["schema_id"]: Scoring(
            row["schema_id"],
            row["digest"],
            None if row["after_id"] is None else (row["after_created_at"], row["after_id"]),
            row["is_done"],
        )
        for row in rows
    }


async def keep(conn: Conn, workspace_id: str, scoring: Scoring) -> None:
    """Remember how far a schema is."""
    await conn.execute(
        """
        INSERT INTO search_scored (workspace_id, schema_id, digest, after_created_at, after_id,
                                   is_done)
        VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (workspace_id, schema_id)
            DO UPDATE SET digest = excluded.digest, after_created_at = excluded.after_created_at,
                          after_id = excluded.after_id, is_done = excluded.is_done
        """,
        workspace_id,
        scoring.schema_id,
        scoring.digest,
        *(scoring.after or (None, None)),
        scoring.is_done,
    )


async def forget(conn: Conn, workspace_id: str, schema_ids: Sequence[str]) -> None:
    """Count no records of these schemas as scored: all are scored anew, if any."""
    await conn.execute(
        "DELETE FROM search_scored WHERE workspace_id = $1 AND schema_id = ANY($2::text[])",
        workspace_id,
        schema_ids,
    )


async def next_places(
    conn: Conn, workspace_id: str, schema_id: str, after: Position | None, *, room: Room
) -> tuple[list[Place], bool]:
    """The next records of a schema in the order of their creation, and whether there may be more.

    A record has up to ten megabytes, so a slice is bounded by bytes as well. Of values that may be
    compressed, they are those of their text.
    """
    rows, is_full = await first_piece(
        conn,
        """
        SELECT id, created_at,
               CASE WHEN pg_column_size(values) < $6::int THEN pg_column_size(values)
                    ELSE octet_length(values::text) END AS bytes
          FROM records
         WHERE workspace_id = $1
           AND (schema_id, created_at, id) > ($2, $3, $4)
           AND schema_id <= $2
         ORDER BY schema_id, created_at, id
         LIMIT $5::bigint
        """,
        workspace_id,
        schema_id,
        *(after or BEGINNING),
        room.rows,
        _COMPRESSED_FROM,
        size_of=lambda row: row["bytes"],
        room=room,
    )
    return [Place(row["id"], row["created_at"]) for row in rows], is_full


async def write(
    conn: Conn,
    blueprint: Blueprint,
    schema_id: str,
    records: Sequence[Read],
    views: Sequence[View],
) -> None:
    """Store the scores of these records of the schema, as they were read."""
    arguments: list[Any] = [
        blueprint.workspace_id,
        schema_id,
        [each.id for each in records],
        [bucket_of(each.id) for each in records],
        [each.created_at for each in records],
        [each.state_id for each in records],
        [each.values.encode() for each in records],
    ]
    source = """
        SELECT n.*, $2 AS schema_id
          FROM unnest($3::text[], $4::smallint[], $5::timestamptz[], $6::text[], $7::jsonb[])
               AS n (id, bucket, created_at, state_id, values)"""
    await _write(conn, blueprint, views, source, arguments)


async def write_next(
    conn: Conn,
    blueprint: Blueprint,
    schema_id: str,
    after: Position | None,
    places: Sequence[Place],
    views: Sequence[View],
) -> None:
    """Store the scores of the next records of the schema, of which these are the places.

    Their values do not leave PostgreSQL. They are read in an order that only the index by schema
    has: looked up one by one, they would be read a hundred times as slowly where PostgreSQL knows
    nothing of the table yet, because it takes one of the other indexes of the workspace then.
    """
    last_at, last_id = places[-1].created_at, places[-1].id
    arguments: list[Any] = [
        blueprint.workspace_id,
        schema_id,
        *(after or BEGINNING),
        last_at,
        last_id,
        orjson.dumps({each.id: bucket_of(each.id) for each in places}).decode(),
        len(places),
    ]
    source = """
        SELECT r.id, r.created_at, r.schema_id, r.state_id, r.values,
               ($7::text::jsonb ->> r.id)::smallint AS bucket
          FROM (SELECT r.id, r.created_at, r.schema_id, r.state_id, r.values
                  FROM records r
                 WHERE r.workspace_id = $1
                   AND (r.schema_id, r.created_at, r.id) > ($2, $3, $4)
                   AND (r.schema_id, r.created_at, r.id) <= ($2, $5, $6)
                   AND $7::text::jsonb ? r.id
                 ORDER BY r.schema_id, r.created_at, r.id
                 LIMIT $8::bigint) AS r"""
    await _write(conn, blueprint, views, source, arguments)


async def _write(
    conn: Conn,
    blueprint: Blueprint,
    views: Sequence[View],
    source: str,
    arguments: list[Any],
) -> None:
    """Store the scores of records that a SELECT reads: rows with a bucket and their values."""

    def name(value: Any, kind: str) -> str:
        arguments.append(value)
        return f"${len(arguments)}::{kind}"

    moves = blueprint.state_moves
    state = state_in_sql("r.", name(moves_as_json(moves), "text")) if moves else "r.state_id"
    # Mostly all states ask for the same: then one score is that of several views.
    alike: dict[tuple[str, str, str], list[View]] = {}
    for view in views:
        alike.setdefault((view.rules.counted, view.rules.forms, view.scope), []).append(view)
    scores = ", ".join(
        f"{score_in_sql(same[0].rules, same[0].scope, state, name)}::smallint AS score_{number}"
        for number, same in enumerate(alike.values())
    )
    of_views = ", ".join(
        f"({name(view.key, 'bigint')}, c.score_{number})"
        for number, same in enumerate(alike.values())
        for view in same
    )
    await conn.execute(
        f"""
        INSERT INTO search_scores AS known (workspace_id, created_at, record_id, view, schema_id,
                                            state_id, bucket, score)
        SELECT $1, r.created_at, r.id, s.view, r.schema_id, r.state_id, r.bucket, s.score
          FROM ({source}) AS r
         CROSS JOIN LATERAL (SELECT {scores} OFFSET 0) AS c
         CROSS JOIN LATERAL (VALUES {of_views}) AS s (view, score)
         ORDER BY r.created_at, r.id, s.view
            ON CONFLICT (workspace_id, created_at, record_id, view)
            DO UPDATE SET schema_id = excluded.schema_id, state_id = excluded.state_id,
                          score = excluded.score
             WHERE (known.score, known.schema_id) <> (excluded.score, excluded.schema_id)
                OR known.state_id IS DISTINCT FROM excluded.state_id
        RETURNING 1
        """,  # noqa: S608 - values are arguments
        *arguments,
    )


async def remove_others(
    conn: Conn,
    workspace_id: str,
    records: Sequence[tuple[str, datetime]],
    views: Sequence[int],
    *,
    table: ViewTable = "search_scores",
) -> None:
    """Remove all rows of these records but those of these views: mostly there are none.

    They are looked up one by one, by the one index that has this order. A join with a table of
    which PostgreSQL knows nothing yet, or the other index, might read all rows of the workspace.
    """
    others = await conn.fetch(
        f"""
        SELECT s.created_at, s.record_id, s.view
          FROM unnest($2::text[], $3::timestamptz[]) AS n (id, created_at)
         CROSS JOIN LATERAL (
               SELECT s.created_at, s.record_id, s.view
                 FROM {table} s
                WHERE s.workspace_id = $1
                  AND (s.created_at, s.record_id) >= (n.created_at, n.id)
                  AND (s.created_at, s.record_id) <= (n.created_at, n.id)
                  AND s.view <> ALL($4::bigint[])
                ORDER BY s.created_at, s.record_id, s.view
               OFFSET 0) AS s
        """,  # noqa: S608 - a constant
        workspace_id,
        [record_id for record_id, _ in records],
        [created_at for _, created_at in records],
        views,
    )
    if not others:
        return
    await conn.execute(
        f"""
        DELETE FROM {table} s
         USING unnest($2::timestamptz[], $3::text[], $4::bigint[]) AS n (created_at, id, view)
         WHERE s.workspace_id = $1 AND s.created_at = n.created_at AND s.record_id = n.id
           AND s.view = n.view
        """,  # noqa: S608 - a constant
        workspace_id,
        *zip(*others, strict=True),
    )
