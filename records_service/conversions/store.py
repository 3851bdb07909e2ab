"""SQL: conversions whose jobs go on, and the records and variants that have values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import orjson

from records_service.conversions.model import Conversion, Phase
from records_service.model_objects.model import ModelObject
from records_service.model_objects.search_store import ValueTable
from records_service.option_lists.model import OptionList
from records_service.option_lists.store import WITH_OPTIONS
from records_service.writes.model import Record, Variant
from shared.database import Conn
from shared.database import Record as Row
from shared.database.listing import BEGINNING, Position


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
        list(one.schema_ids),
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
    return Conversion(
        row["attribute_id"],
        row["user_id"],
        row["form"],
        row["before"],
        row["drops"],
        Phase(row["phase"]),
        row["schema_ids"],
        row["last_change"],
        row["schemas_done"],
        None if row["after_id"] is None else (row["after_created_at"], row["after_id"]),
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
        one.schemas_done,
        *(one.after or (None, None)),
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
    """Remember that these records and variants have, or may have, values."""
    await conn.execute(
        """
        INSERT INTO conversion_holders (workspace_id, attribute_id, kind, id)
        SELECT $1, $2, one.kind, one.id
          FROM (SELECT 'records' AS kind, unnest($3::text[]) AS id
                 UNION ALL
                SELECT 'variants', unnest($4::text[])) AS one
            ON CONFLICT DO NOTHING
        RETURNING 1
        """,
        workspace_id,
        attribute_id,
        list(record_ids),
        list(variant_ids),
    )


async def holders(conn: Conn, workspace_id: str, attribute_id: str, table: ValueTable) -> list[str]:
    """The ids of the records or variants that have, or may have, values."""
    rows = await conn.fetch(
        """
        SELECT id FROM conversion_holders
         WHERE workspace_id = $1 AND attribute_id = $2 AND kind = $3
         ORDER BY id
        """,
        workspace_id,
        attribute_id,
        table,
    )
    return [row["id"] for row in rows]


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


async def values_after(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    schema_id: str,
    after: Position | None,
    *,
    rows_max: int,
    table: ValueTable,
) -> tuple[list[Row], int, Position | None]:
    """What the next records or variants of a schema hold of an attribute.

    That is `id`, `record_id`, `entries` of those that hold something; how many were looked at; and
    from where to go on, None at the end.
    """
    record_id = "id" if table == "records" else "record_id"
    rows = await conn.fetch(
        f"""
        SELECT created_at, id, {record_id} AS record_id, values -> $2 AS entries
          FROM {table}
         WHERE workspace_id = $1
           AND (schema_id, created_at, id) > ($3, $4, $5)
           AND schema_id <= $3
         ORDER BY schema_id, created_at, id
         LIMIT $6
        """,  # noqa: S608 - constants
        workspace_id,
        attribute_id,
        schema_id,
        *(after or BEGINNING),
        rows_max,
    )
    last = (rows[-1]["created_at"], rows[-1]["id"]) if len(rows) == rows_max else None
    return [row for row in rows if row["entries"]], len(rows), last


async def records(
    conn: Conn, workspace_id: str, attribute_id: str, record_ids: Sequence[str]
) -> list[Record]:
    """Those of these records that have a value."""
    rows = await conn.fetch(
        """
        SELECT workspace_id, id, schema_id, state_id, version, values, created_at, updated_at,
               created_by, updated_by, external_key
          FROM records
         WHERE workspace_id = $1 AND id = ANY($2::text[]) AND values ? $3
         ORDER BY id
        """,
        workspace_id,
        list(record_ids),
        attribute_id,
    )
    return [Record(**row) for row in rows]


async def variants(
    conn: Conn, workspace_id: str, attribute_id: str, variant_ids: Sequence[str]
) -> list[tuple[Record, Variant]]:
    """Those of these variants that have a value, with their records, whose values are left out."""
    rows = await conn.fetch(
        """
        SELECT r.workspace_id, r.id, r.schema_id, r.state_id, r.version, '{}'::jsonb AS values,
               r.created_at, r.updated_at, r.created_by, r.updated_by, r.external_key,
               v.id AS variant_id, v.parent_id, v.path, v.level, v.version AS variant_version,
               v.values AS variant_values, v.created_at AS variant_created_at,
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
    return [(_record(row), _variant(row)) for row in rows]


def _record(row: Row) -> Record:
    return Record(
        **{
            name: row[name]
            for name in (
                *("workspace_id", "id", "schema_id", "state_id", "version", "values"),
                *("created_at", "updated_at", "created_by", "updated_by", "external_key"),
            )
        }
    )


def _variant(row: Row) -> Variant:
    known: dict[str, Any] = {name: row[name] for name in ("parent_id", "path", "level")}
    return Variant(
        workspace_id=row["workspace_id"],
        id=row["variant_id"],
        record_id=row["id"],
        schema_id=row["schema_id"],
        version=row["variant_version"],
        values=row["variant_values"],
        created_at=row["variant_created_at"],
        updated_at=row["variant_updated_at"],
        created_by=row["variant_created_by"],
        updated_by=row["variant_updated_by"],
        **known,
    )
