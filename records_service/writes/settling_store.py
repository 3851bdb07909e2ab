"""SQL: what values will be after a conversion, and the records that do not have them yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from records_service.model_objects.search_store import VALUE_TABLES, ValueTable
from records_service.values.entries import Entries
from records_service.writes.model import Record, Variant
from shared.database import Conn
from shared.database import Record as Row
from shared.database.pieces import Room, pieces

_UPDATE: Final[Mapping[ValueTable, str]] = {
    "records": "UPDATE records r",
    "variants": "UPDATE variants r",
}
_OF_RECORD: Final = """
    r.workspace_id, r.id, r.schema_id, r.state_id, r.version, r.created_at, r.updated_at,
    r.created_by, r.updated_by, r.external_key
"""
_RECORD: Final = (
    *("workspace_id", "id", "schema_id", "state_id", "version"),
    *("created_at", "updated_at", "created_by", "updated_by", "external_key"),
)
_VARIANT: Final = (
    *("parent_id", "path", "level", "version"),
    *("created_at", "updated_at", "created_by", "updated_by"),
)


@dataclass(frozen=True, slots=True)
class Settling:
    """An attribute whose converted values hold, and who has converted it."""

    attribute_id: str
    alias: str
    user_id: str


async def prepare(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    table: ValueTable,
    entries: Mapping[str, bytes | None],
) -> None:
    """Store what these records or variants will have of the attribute; None: what they have now."""
    await conn.execute(
        f"""
        WITH held AS (
            SELECT id FROM {table}
             WHERE workspace_id = $1 AND id = ANY($3::text[])
             ORDER BY id
               FOR NO KEY UPDATE
        ), locked AS (
            SELECT count(*) AS rows FROM held
        )
        {_UPDATE[table]}
           SET converted = nullif(
               CASE WHEN n.entries IS NULL THEN r.converted - $2::text
                    ELSE coalesce(r.converted, '{{}}') || n.entries
               END, '{{}}')
          FROM locked, unnest($3::text[], $4::jsonb[]) AS n (id, entries)
         WHERE r.workspace_id = $1 AND r.id = n.id AND locked.rows IS NOT NULL
           AND (n.entries IS NOT NULL OR r.converted ? $2)
        """,  # noqa: S608 - a constant
        workspace_id,
        attribute_id,
        list(entries),
        [
            None if held is None else orjson.dumps({attribute_id: orjson.Fragment(held)})
            for held in entries.values()
        ],
    )


async def forget_prepared(
    conn: Conn, workspace_id: str, attribute_id: str, *, rows_max: int
) -> bool:
    """Remove what was prepared of some records and variants; whether there may be more."""
    is_more = False
    for table in VALUE_TABLES:
        tag = await conn.execute(
            f"""
            WITH held AS MATERIALIZED (
                SELECT id FROM {table}
                 WHERE workspace_id = $1 AND converted IS NOT NULL AND converted ? $2
                 ORDER BY id
                 LIMIT $3::bigint
                   FOR NO KEY UPDATE
            )
            {_UPDATE[table]} SET converted = nullif(r.converted - $2::text, '{{}}')
              FROM held
             WHERE r.workspace_id = $1 AND r.id = held.id
            """,  # noqa: S608 - a constant
            workspace_id,
            attribute_id,
            rows_max,
        )
        is_more |= tag != "UPDATE 0"
    return is_more


async def find(conn: Conn, workspace_id: str) -> Settling | None:
    """The conversion that is being stored in the records: one of a workspace at a time."""
    row = await conn.fetchrow(
        """
        SELECT c.attribute_id, a.alias, c.user_id
          FROM models m
          JOIN conversions c ON c.workspace_id = m.workspace_id AND c.attribute_id = m.settling
          JOIN attributes a ON a.workspace_id = c.workspace_id AND a.id = c.attribute_id
         WHERE m.workspace_id = $1
        """,
        workspace_id,
    )
    return None if row is None else Settling(**row)


async def model_version(conn: Conn, workspace_id: str) -> int:
    """The version of the model, which the caller has locked."""
    version: int = await conn.fetchval(
        "SELECT version FROM models WHERE workspace_id = $1", workspace_id
    )
    return version


async def unsettled(
    conn: Conn, workspace_id: str, attribute_id: str, *, rows_max: int
) -> tuple[list[tuple[str, str]], list[str]]:
    """Ids and schemas of some records that are not done, or else the ids of some variants."""
    rows = await conn.fetch(
        """
        SELECT id, schema_id FROM records
         WHERE workspace_id = $1 AND converted IS NOT NULL AND converted ? $2
         ORDER BY id
         LIMIT $3::bigint
        """,
        workspace_id,
        attribute_id,
        rows_max,
    )
    if rows:
        return [(row["id"], row["schema_id"]) for row in rows], []
    rows = await conn.fetch(
        """
        SELECT id FROM variants
         WHERE workspace_id = $1 AND converted IS NOT NULL AND converted ? $2
         ORDER BY id
         LIMIT $3::bigint
        """,
        workspace_id,
        attribute_id,
        rows_max,
    )
    return [], [row["id"] for row in rows]


async def among(
    conn: Conn, workspace_id: str, attribute_id: str, record_ids: Sequence[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Those of these records, with their schemas, and of their variants that are not done."""
    records = await conn.fetch(
        """
        SELECT id, schema_id FROM records
         WHERE workspace_id = $1 AND id = ANY($2::text[]) AND converted ? $3
         ORDER BY id
        """,
        workspace_id,
        record_ids,
        attribute_id,
    )
    variants = await conn.fetch(
        """
        SELECT id FROM variants
         WHERE workspace_id = $1 AND record_id = ANY($2::text[]) AND converted ? $3
         ORDER BY id
        """,
        workspace_id,
        record_ids,
        attribute_id,
    )
    return [(row["id"], row["schema_id"]) for row in records], [row["id"] for row in variants]


async def lock_records(
    conn: Conn, workspace_id: str, attribute_id: str, record_ids: Sequence[str], *, room: Room
) -> AsyncIterator[list[Row]]:
    """These records as they are stored, in the order of their ids, until commit."""
    reading = pieces(
        conn,
        f"""
        SELECT {_OF_RECORD}, r.values::text AS document, (r.converted -> $3)::text AS entries
          FROM records r
         WHERE r.workspace_id = $1 AND r.id = ANY($2::text[]) AND r.converted ? $3
         ORDER BY r.id
           FOR NO KEY UPDATE
        """,  # noqa: S608 - constants
        workspace_id,
        record_ids,
        attribute_id,
        size_of=_size,
        room=room,
    )
    async for rows, _ in reading:
        yield rows


async def lock_variants(
    conn: Conn, workspace_id: str, attribute_id: str, variant_ids: Sequence[str], *, room: Room
) -> AsyncIterator[list[Row]]:
    """These variants as they are stored, with their records but for the values of these.

    The records are locked: a write of a variant locks its record, too.
    """
    await conn.execute(
        """
        SELECT 1 FROM records
         WHERE workspace_id = $1
           AND id IN (SELECT record_id FROM variants
                       WHERE workspace_id = $1 AND id = ANY($2::text[]))
         ORDER BY id
           FOR NO KEY UPDATE
        """,
        workspace_id,
        variant_ids,
    )
    reading = pieces(
        conn,
        f"""
        SELECT {_OF_RECORD}, v.id AS variant_id, v.parent_id, v.path, v.level,
               v.version AS variant_version, v.created_at AS variant_created_at,
               v.updated_at AS variant_updated_at, v.created_by AS variant_created_by,
               v.updated_by AS variant_updated_by, v.values::text AS document,
               (v.converted -> $3)::text AS entries
          FROM variants v
          JOIN records r ON r.workspace_id = v.workspace_id AND r.id = v.record_id
         WHERE v.workspace_id = $1 AND v.id = ANY($2::text[]) AND v.converted ? $3
         ORDER BY v.id
        """,  # noqa: S608 - constants
        workspace_id,
        variant_ids,
        attribute_id,
        size_of=_size,
        room=room,
    )
    async for rows, _ in reading:
        yield rows


async def clear(
    conn: Conn, workspace_id: str, record_ids: Sequence[str], variant_ids: Sequence[str]
) -> None:
    """Forget what was prepared of these: it is what they have already."""
    of: dict[ValueTable, Sequence[str]] = {"records": record_ids, "variants": variant_ids}
    for table, ids in of.items():
        await conn.execute(
            f"""
            {_UPDATE[table]} SET converted = NULL
             WHERE workspace_id = $1 AND id = ANY($2::text[]) AND converted IS NOT NULL
            """,
            workspace_id,
            ids,
        )


def record_of(row: Row) -> tuple[Record, Entries]:
    """The record that was read, and the entries that it is to have; slow for many values."""
    known: dict[str, Any] = {name: row[name] for name in _RECORD}
    return Record(values=orjson.loads(row["document"]), **known), orjson.loads(row["entries"])


def variant_of(row: Row) -> tuple[Record, Variant, Entries]:
    """The variant that was read, with its record, and the entries that it is to have."""
    known: dict[str, Any] = {name: row[name] for name in _RECORD}
    own: dict[str, Any] = {
        name: row[name] if name in ("parent_id", "path", "level") else row[f"variant_{name}"]
        for name in _VARIANT
    }
    variant = Variant(
        workspace_id=row["workspace_id"],
        id=row["variant_id"],
        record_id=row["id"],
        schema_id=row["schema_id"],
        values=orjson.loads(row["document"]),
        **own,
    )
    return Record(values={}, **known), variant, orjson.loads(row["entries"])


def _size(row: Row) -> int:
    return len(row["document"]) + len(row["entries"])
