"""SQL: the stored scores, and by which rules those of each schema are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

from records_service.blueprint.blueprint import Blueprint
from records_service.search_index.terms import bucket_of
from records_service.search_scores.sql import score_in_sql
from records_service.search_scores.views import View
from records_service.workflow_copies.moves import moves_as_json, state_in_sql
from shared.database import Conn, Record
from shared.database.listing import BEGINNING, Position
from shared.database.pieces import Room, first_piece

ViewTable: TypeAlias = Literal["search_scores", "search_sorts"]
"""What has a row for each record and view."""
VIEW_TABLES: Final[tuple[ViewTable, ...]] = ("search_scores", "search_sorts")


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


@dataclass(frozen=True, slots=True)
class Scored:
    """What is read of a record because the rules of its schema have changed."""

    id: str
    created_at: datetime
    state_id: str | None
    values: str


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


async def next_records(
    conn: Conn, workspace_id: str, schema_id: str, after: Position | None, *, room: Room
) -> tuple[list[Scored], bool]:
    """The next records of a schema in the order of their creation, and whether there may be more.

    A record has up to ten megabytes, so a slice is bounded by bytes as well.
    """
    rows, is_full = await first_piece(
        conn,
        """
        SELECT id, created_at, state_id, values::text FROM records
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
        size_of=_size,
        room=room,
    )
    found = [Scored(row["id"], row["created_at"], row["state_id"], row["values"]) for row in rows]
    return found, is_full


def _size(row: Record) -> int:
    return len(row["values"])


async def write(
    conn: Conn,
    blueprint: Blueprint,
    schema_id: str,
    records: Sequence[Read],
    views: Sequence[View],
) -> None:
    """Store the scores of these records of the schema.

    They are scored as they were read. To look each of them up once more costs more than to send its
    values, and a hundred times as much where PostgreSQL knows nothing of the table yet: it takes
    one of the other indexes of the workspace then, and reads all of that for each.
    """
    arguments: list[Any] = [
        blueprint.workspace_id,
        schema_id,
        [each.id for each in records],
        [bucket_of(each.id) for each in records],
        [each.created_at for each in records],
        [each.state_id for each in records],
        [each.values.encode() for each in records],
    ]

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
          FROM (SELECT n.*, $2 AS schema_id
                  FROM unnest($3::text[], $4::smallint[], $5::timestamptz[], $6::text[],
                              $7::jsonb[])
                       AS n (id, bucket, created_at, state_id, values)) AS r
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
