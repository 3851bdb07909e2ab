"""SQL: conversions whose jobs go on, and the records and variants that have values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import orjson

from records_service.conversions.model import Conversion, Phase
from records_service.model_objects.model import ModelObject
from records_service.model_objects.search_store import ValueTable
from records_service.option_lists.model import OptionList
from records_service.option_lists.store import WITH_OPTIONS
from records_service.schema_walks.model import Walk
from records_service.writes.model import Record, Variant
from shared.database import Conn
from shared.database import Record as Row

SIZED_AT_ONCE: Final = 100
"""Records or variants whose values are measured by one statement, however large they are."""


async def insert(conn: Conn, workspace_id: str, one: Conversion) -> None:
    """Remember what is to be converted. The caller holds the model lock.

    `last_change` is that of this moment.
    """
    await conn.execute(
        """
        INSERT INTO conversions (workspace_id, attribute_id, user_id, form, before, drops, phase,
                                 schema_ids, schemas_done, last_change)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, 0,
               coalesce((SELECT max(id) FROM audit WHERE workspace_id = $1), 0)
        RETURNING 1
        """,
        workspace_id,
        one.attribute_id,
        one.user_id,
        dict(one.form),
        dict(one.before),
        one.drops,
        one.phase,
        list(one.walk.schema_ids),
    )


async def find(conn: Conn, workspace_id: str, attribute_id: str) -> Conversion | None:
    """The conversion of this attribute, if one goes on."""
    row = await conn.fetchrow(
        """
        SELECT attribute_id, user_id, form, before, drops, phase, schema_ids, last_change,
               schemas_done, after_created_at, after_id
          FROM conversions
         WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        attribute_id,
    )
    if row is None:
        return None
    after = None if row["after_id"] is None else (row["after_created_at"], row["after_id"])
    return Conversion(
        row["attribute_id"],
        row["user_id"],
        row["form"],
        row["before"],
        row["drops"],
        Phase(row["phase"]),
        Walk(row["schema_ids"], row["schemas_done"], after),
        row["last_change"],
    )


async def update(conn: Conn, workspace_id: str, one: Conversion) -> None:
    """Store how far it is."""
    await conn.execute(
        """
        UPDATE conversions
           SET phase = $3, last_change = $4, schemas_done = $5, after_created_at = $6,
               after_id = $7
         WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        one.attribute_id,
        one.phase,
        one.last_change,
        one.walk.done,
        *(one.walk.after or (None, None)),
    )


async def delete(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Forget it, and who has values."""
    await conn.execute(
        "DELETE FROM conversions WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )
    await conn.execute(
        "DELETE FROM conversion_holders WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )


async def note_holders(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    record_ids: Collection[str],
    variant_ids: Collection[str],
) -> None:
    """Remember those of these records and variants that have values."""
    await conn.execute(
        """
        INSERT INTO conversion_holders (workspace_id, attribute_id, kind, id)
        SELECT $1, $2, one.kind, one.id
          FROM (SELECT 'records' AS kind, id FROM records
                 WHERE workspace_id = $1 AND id = ANY($3::text[]) AND values ? $2
                 UNION ALL
                SELECT 'variants', id FROM variants
                 WHERE workspace_id = $1 AND id = ANY($4::text[]) AND values ? $2) AS one
            ON CONFLICT DO NOTHING
        RETURNING 1
        """,
        workspace_id,
        attribute_id,
        list(record_ids),
        list(variant_ids),
    )


async def sizes(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    table: ValueTable,
    after_id: str,
    *,
    rows_max: int,
) -> list[tuple[str, int | None]]:
    """The next records or variants that were noted, by id, and the bytes of all their values.

    None stands for one that has no value of the attribute any more.
    """
    rows = await conn.fetch(
        f"""
        WITH noted AS MATERIALIZED (
            SELECT id FROM conversion_holders
             WHERE workspace_id = $1 AND attribute_id = $2 AND kind = $3 AND id > $4
             ORDER BY id
             LIMIT $5
        )
        SELECT noted.id, octet_length(one.values::text) AS bytes
          FROM noted
          LEFT JOIN {table} one
            ON one.workspace_id = $1 AND one.id = noted.id AND one.values ? $2
         ORDER BY noted.id
        """,  # noqa: S608 - a constant
        workspace_id,
        attribute_id,
        table,
        after_id,
        rows_max,
    )
    return [(row["id"], row["bytes"]) for row in rows]


async def count_holders(conn: Conn, workspace_id: str, attribute_id: str) -> int:
    """How many there are."""
    count: int = await conn.fetchval(
        """
        SELECT count(*) FROM conversion_holders WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        attribute_id,
    )
    return count


async def option_lists(
    conn: Conn, workspace_id: str, list_ids: Collection[str]
) -> dict[str, OptionList]:
    """These option lists, small ones with their options."""
    rows = await conn.fetch(
        f"""
        SELECT id, alias, ({WITH_OPTIONS})::text AS body, version, created_at, updated_at
          FROM option_lists p
         WHERE workspace_id = $1 AND id = ANY($2::text[])
        """,  # noqa: S608 - a constant
        workspace_id,
        list(list_ids),
    )
    return {
        row["id"]: OptionList.parse(ModelObject(**{**row, "body": orjson.loads(row["body"])}))
        for row in rows
    }


async def records(
    conn: Conn, workspace_id: str, attribute_id: str, record_ids: Sequence[str]
) -> list[Row]:
    """Those of these records that have a value, for `record_of`: their values are JSON."""
    rows: list[Row] = await conn.fetch(
        """
        SELECT workspace_id, id, schema_id, state_id, version, values::text AS values, created_at,
               updated_at, created_by, updated_by, external_key
          FROM records
         WHERE workspace_id = $1 AND id = ANY($2::text[]) AND values ? $3
         ORDER BY id
        """,
        workspace_id,
        list(record_ids),
        attribute_id,
    )
    return rows


async def variants(
    conn: Conn, workspace_id: str, attribute_id: str, variant_ids: Sequence[str]
) -> list[Row]:
    """Those of these variants that have a value, for `variant_of`: their values are JSON.

    The values of their records are left out.
    """
    rows: list[Row] = await conn.fetch(
        """
        SELECT r.workspace_id, r.id, r.schema_id, r.state_id, r.version, '{}' AS values,
               r.created_at, r.updated_at, r.created_by, r.updated_by, r.external_key,
               v.id AS variant_id, v.parent_id, v.path, v.level, v.version AS variant_version,
               v.values::text AS variant_values, v.created_at AS variant_created_at,
               v.updated_at AS variant_updated_at, v.created_by AS variant_created_by,
               v.updated_by AS variant_updated_by
          FROM variants v
          JOIN records r ON r.workspace_id = v.workspace_id AND r.id = v.record_id
         WHERE v.workspace_id = $1 AND v.id = ANY($2::text[]) AND v.values ? $3
         ORDER BY v.id
        """,
        workspace_id,
        list(variant_ids),
        attribute_id,
    )
    return rows


def record_of(row: Row) -> Record:
    """The record that was read; slow where its values are many."""
    known: dict[str, Any] = {
        name: row[name]
        for name in (
            *("workspace_id", "id", "schema_id", "state_id", "version"),
            *("created_at", "updated_at", "created_by", "updated_by", "external_key"),
        )
    }
    return Record(values=orjson.loads(row["values"]), **known)


def variant_of(row: Row) -> tuple[Record, Variant]:
    """The variant that was read, with its record."""
    known: dict[str, Any] = {name: row[name] for name in ("parent_id", "path", "level")}
    variant = Variant(
        workspace_id=row["workspace_id"],
        id=row["variant_id"],
        record_id=row["id"],
        schema_id=row["schema_id"],
        version=row["variant_version"],
        values=orjson.loads(row["variant_values"]),
        created_at=row["variant_created_at"],
        updated_at=row["variant_updated_at"],
        created_by=row["variant_created_by"],
        updated_by=row["variant_updated_by"],
        **known,
    )
    return record_of(row), variant
