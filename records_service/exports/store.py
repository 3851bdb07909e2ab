"""SQL: the records of an export, a chunk at a time.

The records are read in order of creation, up to the last one that there was when the export began:
each of them once, whatever is created, changed or deleted meanwhile. No transaction and no
connection is held between two chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from records_service.catalogs.store import records_in_catalog
from records_service.model_objects.converted_values import values_now
from records_service.permissions.rules import Role
from records_service.workflow_copies.moves import state_in_sql
from records_service.writes.model import Record
from shared.database import Conn
from shared.database.listing import BEGINNING, Position

ROWS_AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 1 << 20
"""A chunk ends with the record with which its documents exceed this."""
THE_END: Final[Position] = (datetime(9999, 12, 31, tzinfo=UTC), "")
"""Behind every record."""
SCOPES_LOOKED_AT: Final = 5_000
"""Records of a chunk of which only the scopes are read."""
FAMILIES_LOOKED_AT: Final = 200
"""The same with their variants, of which a record may have thousands."""
FamilyPosition = tuple[int, list[str]]
"""Behind a variant: the place of its record among those asked for, its path and its id."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are read; None stands for any."""

    schema_id: str | None = None
    state_id: str | None = None
    ids: Sequence[str] | None = None
    state_moves: str | None = None
    """What `moves_as_json` makes, where there are any."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some records, their position in the walk, and the version of the model at that moment."""

    rows: Sequence[Any]
    last: Position | None
    """Of the last record that was read; None at the end."""
    model_version: int


async def last_of(conn: Conn, workspace_id: str, wanted: Filter) -> Position | None:
    """The position of the newest record; None if there is none."""
    condition, arguments = _condition(workspace_id, wanted)
    row = await conn.fetchrow(
        f"""
        SELECT created_at, id FROM records
         WHERE {condition}
         ORDER BY created_at DESC, id DESC
         LIMIT 1
        """,  # noqa: S608 - the condition is made of constants
        *arguments,
    )
    return None if row is None else (row["created_at"], row["id"])


async def read_part(
    conn: Conn,
    workspace_id: str,
    wanted: Filter,
    after: Position | None,
    last: Position,
    *,
    rows_max: int | None = None,
) -> Part:
    """The records behind a position, with their values as text."""
    condition, arguments = _condition(workspace_id, wanted)
    at = len(arguments)
    rows = await conn.fetch(
        f"""
        WITH next AS MATERIALIZED (
            SELECT id, schema_id, state_id, version, ({values_now("records")})::text AS document,
                   created_at, updated_at, created_by, updated_by, external_key
              FROM records
             WHERE {condition}
               AND (created_at, id) > (${at + 1}::timestamptz, ${at + 2}::text)
               AND (created_at, id) <= (${at + 3}::timestamptz, ${at + 4}::text)
             ORDER BY created_at, id
             LIMIT ${at + 5}::bigint
        ), fitting AS (
            SELECT n.*, coalesce(sum(octet_length(n.document)) OVER (
                            ORDER BY n.created_at, n.id
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
              FROM next n
        )
        SELECT f.id, f.schema_id, f.state_id, f.version, f.document,
               f.created_at, f.updated_at, f.created_by, f.updated_by, f.external_key,
               m.version AS model_version
          FROM (SELECT version FROM models WHERE workspace_id = $1) m
          JOIN fitting f ON f.bytes_before < ${at + 6}::bigint
         ORDER BY f.created_at, f.id
        """,  # noqa: S608 - the condition is made of constants
        *arguments,
        *(after or BEGINNING),
        *last,
        rows_max or ROWS_AT_ONCE,
        BYTES_AT_ONCE,
    )
    if not rows:
        return Part((), None, 0)
    return Part(rows, (rows[-1]["created_at"], rows[-1]["id"]), rows[0]["model_version"])


async def read_variants(
    conn: Conn, workspace_id: str, record_ids: Sequence[str], after: FamilyPosition | None
) -> Part:
    """The variants of these records behind a position: record by record, parents first."""
    place, path = after or (1, [])
    rows = await conn.fetch(
        f"""
        WITH next AS MATERIALIZED (
            SELECT wanted.place, v.*
              FROM unnest($2::text[]) WITH ORDINALITY AS wanted (id, place)
             CROSS JOIN LATERAL (
                   SELECT id, record_id, schema_id, parent_id, path, level, version,
                          ({values_now("variants")})::text AS document,
                          created_at, updated_at, created_by, updated_by
                     FROM variants
                    WHERE workspace_id = $1 AND record_id = wanted.id
                      AND (wanted.place > $3 OR path || id > $4::text[])
                    ORDER BY path || id
                    LIMIT $5::bigint
             ) v
             WHERE wanted.place >= $3
             ORDER BY wanted.place, v.path || v.id
             LIMIT $5::bigint
        ), fitting AS (
            SELECT n.*, coalesce(sum(octet_length(n.document)) OVER (
                            ORDER BY n.place, n.path || n.id
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
              FROM next n
        )
        SELECT f.place, f.id, f.record_id, f.schema_id, f.parent_id, f.path, f.level, f.version,
               f.document, f.created_at, f.updated_at, f.created_by, f.updated_by,
               m.version AS model_version
          FROM (SELECT version FROM models WHERE workspace_id = $1) m
          JOIN fitting f ON f.bytes_before < $6::bigint
         ORDER BY f.place, f.path || f.id
        """,  # noqa: S608 - constants
        workspace_id,
        list(record_ids),
        place,
        path,
        ROWS_AT_ONCE,
        BYTES_AT_ONCE,
    )
    return Part(rows, None, rows[0]["model_version"] if rows else 0)


async def read_scopes(
    conn: Conn,
    workspace_id: str,
    wanted: Filter,
    after: Position | None,
    last: Position,
    attribute_ids: Sequence[str],
    *,
    variants: bool,
) -> Part:
    """The scopes in which the records behind a position have values of these attributes.

    Each row is a different (schema, state, attribute, scope in JSON), also of their variants if
    these are asked for.
    """
    documents = "SELECT schema_id, state_id, document FROM next"
    if variants:
        documents += """
             UNION ALL
            SELECT n.schema_id, n.state_id, v.values
              FROM next n
              JOIN variants v ON v.workspace_id = $1 AND v.record_id = n.id"""
    condition, arguments = _condition(workspace_id, wanted)
    at = len(arguments)
    row = await conn.fetchrow(
        f"""
        WITH next AS MATERIALIZED (
            SELECT id, schema_id, state_id, created_at, values AS document
              FROM records
             WHERE {condition}
               AND (created_at, id) > (${at + 1}::timestamptz, ${at + 2}::text)
               AND (created_at, id) <= (${at + 3}::timestamptz, ${at + 4}::text)
             ORDER BY created_at, id
             LIMIT ${at + 5}::bigint
        ), found AS (
            SELECT DISTINCT n.schema_id, n.state_id, a.id AS attribute_id,
                            e.entry -> 'scope' AS scope
              FROM ({documents}) n
             CROSS JOIN LATERAL unnest(${at + 6}::text[]) AS a (id)
             CROSS JOIN LATERAL jsonb_array_elements(n.document -> a.id) AS e (entry)
        )
        SELECT (SELECT max(created_at) FROM next) AS created_at,
               (SELECT id FROM next ORDER BY created_at DESC, id DESC LIMIT 1) AS id,
               (SELECT coalesce(jsonb_agg(jsonb_build_array(
                           f.schema_id, f.state_id, f.attribute_id, f.scope)), '[]')::text
                  FROM found f) AS scopes
        """,  # noqa: S608 - the condition is made of constants
        *arguments,
        *(after or BEGINNING),
        *last,
        FAMILIES_LOOKED_AT if variants else SCOPES_LOOKED_AT,
        list(attribute_ids),
    )
    assert row is not None
    if row["id"] is None:
        return Part((), None, 0)
    return Part(orjson.loads(row["scopes"]), (row["created_at"], row["id"]), 0)


async def assigned_after(
    conn: Conn,
    workspace_id: str,
    catalog_id: str,
    role: Role | None,
    after: Position,
    *,
    rows_max: int | None = None,
) -> list[Position]:
    """The next records that are assigned anywhere in a catalog, each once, oldest first."""
    arguments: list[Any] = [workspace_id]
    assigned = records_in_catalog(catalog_id, role, arguments).replace(
        "SELECT a.record_id", "SELECT a.record_created_at, a.record_id", 1
    )
    at = len(arguments)
    rows = await conn.fetch(
        f"""
        SELECT DISTINCT record_created_at, record_id
          FROM ({assigned}
                  AND (a.record_created_at, a.record_id) > (${at + 1}::timestamptz, ${at + 2}::text)
               ) AS assigned
         ORDER BY record_created_at, record_id
         LIMIT ${at + 3}::bigint
        """,  # noqa: S608 - made of constants
        *arguments,
        *after,
        rows_max or ROWS_AT_ONCE,
    )
    return [(row["record_created_at"], row["record_id"]) for row in rows]


def record_of(workspace_id: str, row: Any) -> Record:
    """The record in a row of `read_part`."""
    return Record(
        workspace_id=workspace_id,
        id=row["id"],
        schema_id=row["schema_id"],
        state_id=row["state_id"],
        version=row["version"],
        values=orjson.loads(row["document"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        created_by=row["created_by"],
        updated_by=row["updated_by"],
        external_key=row["external_key"],
    )


def _condition(workspace_id: str, wanted: Filter) -> tuple[str, list[Any]]:
    conditions = ["workspace_id = $1"]
    arguments: list[Any] = [workspace_id]
    state = "state_id"
    if wanted.state_id is not None and wanted.state_moves is not None:
        arguments.append(wanted.state_moves)
        state = state_in_sql("", f"${len(arguments)}::text")
    for column, value in (("schema_id", wanted.schema_id), (state, wanted.state_id)):
        if value is not None:
            arguments.append(value)
            conditions.append(f"{column} = ${len(arguments)}")
    if wanted.ids is not None:
        arguments.append(list(wanted.ids))
        conditions.append(f"id = ANY(${len(arguments)}::text[])")
    return " AND ".join(conditions), arguments
