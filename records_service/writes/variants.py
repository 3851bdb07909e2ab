"""The SQL that writes variants: like that of records, each write is one statement.

It locks the model row, then the record's row, both in share mode: the record must still be in the
state by which the values were checked, and cannot be deleted before the variant is stored. Then
come the variants, in the order of their ids. Deleting a record locks its row for itself, so no
variant of it is being written then, and the foreign key refuses what the statement does not see.

The history of a variant is part of its record's. Its entries have the version that the record has
at that moment, which the lock keeps: so they are in order with those of the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from records_service.attributes.unique_keys import UniqueKey
from records_service.search_texts.notes import noted
from records_service.writes.model import (
    Record,
    StaleModel,
    StaleRecord,
    Variant,
    VariantsDelete,
    Write,
)
from records_service.writes.store import columns_of, staged
from records_service.writes.variant_deletes import deleted_arguments, deleted_variants
from shared.database import Conn

_LOCKED: Final = """
        model AS (
            SELECT version FROM models
             WHERE workspace_id = $1 AND version = $2
               FOR SHARE
        ), record AS (
            SELECT id, schema_id, state_id, version, created_at FROM records
             WHERE workspace_id = $1 AND id = $3 AND state_id IS NOT DISTINCT FROM $4
               AND EXISTS (SELECT FROM model)
               FOR SHARE
        )"""
_LEFT_BEHIND: Final = """
        , audited AS (
            INSERT INTO audit (workspace_id, record_id, variant_id, version, schema_id, action,
                               user_id, at, changes)
            SELECT $1, record.id, variant.id, record.version, record.schema_id, $7, $8, $9, $10
              FROM record, variant
            RETURNING 1
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
            SELECT $1, $11, variant.id, $12, $13, $6 FROM variant
            RETURNING 1
        ), claimed AS (
            INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id,
                                       variant_id)
            SELECT $1, c.attribute_id, c.scope, c.value_hash, record.id, variant.id
              FROM record, variant, unnest($14::text[], $15::text[], $16::bytea[])
                                    AS c (attribute_id, scope, value_hash)
            RETURNING 1
        )"""
_OUTCOME: Final = f"""
        , {noted("(SELECT id, created_at FROM record WHERE EXISTS (SELECT FROM variant))")}
        SELECT EXISTS (SELECT FROM model) AS model_is_current,
               EXISTS (SELECT FROM variant) AS variant_was_current"""  # noqa: S608 - constants


async def insert(
    conn: Conn,
    record: Record,
    variant: Variant,
    unique_keys: Sequence[UniqueKey],
    write: Write,
    *,
    model_version: int,
    id_was_asked: bool,
) -> None:
    """Store a new variant.

    Raises `StaleModel`, or `StaleRecord` where the record or the variant above is not as it was;
    violated constraints are `variants_id_taken`, `unique_value_taken`, `variant_goes_on_counting`.
    """
    await _execute(
        conn,
        f"""
        WITH {_LOCKED}, parent AS (
            SELECT id FROM variants
             WHERE workspace_id = $1 AND id = $17::text AND record_id = $3
               AND path = ($18::text[])[:cardinality($18::text[]) - 1]
               AND EXISTS (SELECT FROM record)
               FOR KEY SHARE
        ), variant AS (
            INSERT INTO variants (workspace_id, id, record_id, schema_id, parent_id, path, level,
                                  version, values, created_at, updated_at, created_by, updated_by)
            SELECT $1, $5::text, record.id, record.schema_id, $17, $18,
                   cardinality($18::text[]) + 1, $6, $19, $9, $9, $8, $8
              FROM record
             WHERE $17 IS NULL OR EXISTS (SELECT FROM parent)
            RETURNING id
        ), begun AS (
            INSERT INTO variant_lives AS known (workspace_id, variant_id, last_version,
                                                next_version)
            SELECT $1, variant.id, $6 - 1, $6 FROM variant WHERE $20::boolean
                ON CONFLICT (workspace_id, variant_id)
                DO UPDATE SET next_version = excluded.next_version
        ){_LEFT_BEHIND}{_OUTCOME}
        """,  # noqa: S608 - constants
        *_arguments(record, variant, unique_keys, write, model_version),
        variant.parent_id,
        list(variant.path),
        variant.values,
        id_was_asked,
    )


async def update(
    conn: Conn,
    record: Record,
    variant: Variant,
    released: Sequence[UniqueKey],
    unique_keys: Sequence[UniqueKey],
    write: Write,
    *,
    model_version: int,
) -> None:
    """Store the next version of a variant, whose `version` is one more than the one read.

    Raises `StaleModel` or `StaleRecord` with nothing written; a taken unique value stays
    `asyncpg.UniqueViolationError`.
    """
    await _execute(
        conn,
        f"""
        WITH {_LOCKED}, variant AS (
            UPDATE variants v
               SET values = $17, version = $6, updated_at = $9, updated_by = $8,
                   converted = NULL
              FROM record
             WHERE v.workspace_id = $1 AND v.id = $5 AND v.record_id = record.id
               AND v.version = $6 - 1
            RETURNING v.id
        ), freed AS (
            DELETE FROM unique_values u
             USING variant, unnest($18::text[], $19::text[], $20::bytea[])
                            AS f (attribute_id, scope, value_hash)
             WHERE u.workspace_id = $1 AND u.attribute_id = f.attribute_id
               AND u.scope = f.scope AND u.value_hash = f.value_hash
               AND u.variant_id = variant.id
        ){_LEFT_BEHIND}{_OUTCOME}
        """,  # noqa: S608 - constants
        *_arguments(record, variant, unique_keys, write, model_version),
        variant.values,
        *columns_of(released),
    )


async def delete(
    conn: Conn, record: Record, variant: Variant, gone: VariantsDelete, *, model_version: int
) -> None:
    """Remove a variant and all below it, with their unique values; each has a history and an event.

    Raises `StaleModel` or `StaleRecord` with nothing written. A violated `variants_have_a_parent`
    means that one was created below it meanwhile.
    """
    await _execute(
        conn,
        f"""
        WITH {_LOCKED}, doomed AS (
            SELECT id FROM variants
             WHERE workspace_id = $1 AND record_id = $3
               AND (id = $5 AND version = $6 OR path @> ARRAY[$5])
               AND EXISTS (SELECT FROM record)
             ORDER BY id
               FOR UPDATE
        ), variant AS (
            DELETE FROM variants v
             USING doomed
             WHERE v.workspace_id = $1 AND v.id = doomed.id
               AND EXISTS (SELECT FROM doomed WHERE id = $5)
            RETURNING v.id, v.record_id, v.parent_id, v.version, v.updated_at, v.values
        ), freed AS (
            DELETE FROM unique_values u
             WHERE u.workspace_id = $1 AND u.record_id = $3
               AND u.variant_id IN (SELECT id FROM variant)
        ), ended AS (
            SELECT id AS record_id, schema_id, version, $7::text AS user_id, $8::timestamptz AS at,
                   $9::jsonb AS event
              FROM record
        ), {deleted_variants(10)}{_OUTCOME}
        """,  # noqa: S608 - constants
        record.workspace_id,
        model_version,
        record.id,
        record.state_id,
        variant.id,
        variant.version,
        gone.user_id,
        gone.at,
        gone.event,
        *deleted_arguments([gone]),
    )


def _arguments(
    record: Record,
    variant: Variant,
    unique_keys: Sequence[UniqueKey],
    write: Write,
    model_version: int,
) -> tuple[Any, ...]:
    """$1 to $16."""
    return (
        record.workspace_id,
        model_version,
        record.id,
        record.state_id,
        variant.id,
        variant.version,
        write.action,
        write.user_id,
        write.at,
        write.changes,
        *staged(write.event),
        *columns_of(unique_keys),
    )


async def _execute(conn: Conn, statement: str, *arguments: Any) -> None:
    row = await conn.fetchrow(statement, *arguments)
    assert row is not None
    if not row["model_is_current"]:
        raise StaleModel
    if not row["variant_was_current"]:
        raise StaleRecord
