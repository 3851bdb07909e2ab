"""The SQL that reads what many rows are judged by; each function is one statement.

Keys are looked up one by one (`LATERAL ... LIMIT 1`). In a join, PostgreSQL reads the whole table
for each group of rows, as long as it takes the table for small.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from records_service.attributes.unique_keys import UniqueKey
from records_service.model_objects.converted_values import values_now
from records_service.writes.changes import EXTERNAL_KEY
from shared.database import Conn

Key = tuple[str, str, bytes]
"""Attribute, scope and hash of a unique value."""


class Stored(NamedTuple):
    """A record as it is stored, its values still in JSON."""

    row: Any
    document: str


async def model_version(conn: Conn, workspace_id: str, *, lock: bool) -> int:
    """The version of the data model; locked, it stays until the end of the transaction."""
    version: int | None = await conn.fetchval(
        f"SELECT version FROM models WHERE workspace_id = $1 {'FOR SHARE' if lock else ''}",  # noqa: S608
        workspace_id,
    )
    return version or 0


async def records_of(
    conn: Conn, workspace_id: str, ids: Collection[str], *, lock: bool
) -> dict[str, Stored]:
    """Those of these records that exist; locked in the order of their ids, if asked for."""
    if not ids:
        return {}
    rows = await conn.fetch(
        f"""
        SELECT workspace_id, id, schema_id, state_id, version,
               ({values_now("records")})::text AS document,
               created_at, updated_at, created_by, updated_by, external_key
          FROM records
         WHERE workspace_id = $1 AND id = ANY($2::text[])
        {"ORDER BY id FOR UPDATE" if lock else ""}
        """,  # noqa: S608 - constants
        workspace_id,
        list(ids),
    )
    return {row["id"]: Stored(row, row["document"]) for row in rows}


async def holders_of(
    conn: Conn, workspace_id: str, unique_keys: Iterable[UniqueKey]
) -> dict[Key, str]:
    """Unique key -> what holds it, of those that are held; external keys as well.

    What holds it is the id of a record, or a name that no record has for a variant.
    """
    every = sorted({key.key for key in unique_keys})
    keys = [key for key in every if key[0] != EXTERNAL_KEY]
    found = await _holders_of_external_keys(
        conn, workspace_id, [key for key in every if key[0] == EXTERNAL_KEY]
    )
    if not keys:
        return found
    rows = await conn.fetch(
        """
        SELECT c.attribute_id, c.scope, c.value_hash, u.holder
          FROM unnest($2::text[], $3::text[], $4::bytea[]) AS c (attribute_id, scope, value_hash),
               LATERAL (SELECT coalesce(variant_id || '/', record_id) AS holder
                          FROM unique_values
                         WHERE workspace_id = $1 AND attribute_id = c.attribute_id
                           AND scope = c.scope AND value_hash = c.value_hash
                         LIMIT 1) AS u
        """,
        workspace_id,
        [attribute_id for attribute_id, _, _ in keys],
        [scope for _, scope, _ in keys],
        [value_hash for _, _, value_hash in keys],
    )
    return found | {
        (row["attribute_id"], row["scope"], row["value_hash"]): row["holder"] for row in rows
    }


async def _holders_of_external_keys(
    conn: Conn, workspace_id: str, keys: Sequence[Key]
) -> dict[Key, str]:
    if not keys:
        return {}
    rows = await conn.fetch(
        """
        SELECT c.external_key, r.id
          FROM unnest($2::text[]) AS c (external_key),
               LATERAL (SELECT id FROM records
                         WHERE workspace_id = $1 AND external_key = c.external_key
                         LIMIT 1) AS r
        """,
        workspace_id,
        [key.decode() for _, _, key in keys],
    )
    return {external_key(row["external_key"]).key: row["id"] for row in rows}


def external_key(key: str) -> UniqueKey:
    """An external key, in the form of those of unique attributes."""
    return UniqueKey(EXTERNAL_KEY, "", key.encode(), key)


async def next_versions(conn: Conn, workspace_id: str, ids: Sequence[str]) -> dict[str, int]:
    """The version that a new record with this id begins with, of the ids that were used before."""
    if not ids:
        return {}
    rows = await conn.fetch(
        """
        SELECT c.record_id, l.next_version
          FROM unnest($2::text[]) AS c (record_id),
               LATERAL (SELECT next_version FROM record_lives
                         WHERE workspace_id = $1 AND record_id = c.record_id
                         LIMIT 1) AS l
        """,
        workspace_id,
        list(ids),
    )
    return {row["record_id"]: row["next_version"] for row in rows}
