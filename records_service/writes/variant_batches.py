"""The SQL that changes many variants of one workspace in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from records_service.writes.model import Record, StaleModel, StaleRecord, Variant, Write
from shared.database import Conn
from shared.messaging import outbox


@dataclass(frozen=True, slots=True)
class PendingVariantUpdate:
    """The next version of a variant, with its record, and what is left behind.

    The unique keys of the variant stay as they are.
    """

    record: Record
    variant: Variant
    write: Write


async def update_many(
    conn: Conn, pending: Sequence[PendingVariantUpdate], *, model_version: int
) -> None:
    """Store the next versions of these variants, each named once.

    The caller holds the model lock, so no record of them is being written. Raises `StaleModel` or
    `StaleRecord`; then the caller's transaction must end.
    """
    ordered = sorted(pending, key=lambda one: one.variant.id)
    variants = [one.variant for one in ordered]
    row = await conn.fetchrow(
        """
        WITH model AS (
            SELECT version FROM models
             WHERE workspace_id = $1 AND version = $2
               FOR SHARE
        ), variant AS (
            UPDATE variants v
               SET values = n.values, version = n.version, updated_at = n.at,
                   updated_by = n.user_id, converted = NULL
              FROM model, unnest($3::text[], $4::bigint[], $5::jsonb[], $6::timestamptz[],
                                 $7::text[])
                          AS n (id, version, values, at, user_id)
             WHERE v.workspace_id = $1 AND v.id = n.id AND v.version = n.version - 1
            RETURNING v.id
        ), stored AS (
            SELECT count(*) AS variants FROM variant
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, variant_id, version, schema_id, action,
                               user_id, at, changes)
            SELECT $1, n.record_id, n.id, n.record_version, n.schema_id, n.action, n.user_id, n.at,
                   n.changes
              FROM unnest($8::text[], $3::text[], $9::bigint[], $10::text[], $11::text[],
                          $7::text[], $6::timestamptz[], $12::json[])
                   AS n (record_id, id, record_version, schema_id, action, user_id, at, changes)
             WHERE (SELECT variants FROM stored) > 0
            RETURNING 1
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
            SELECT $1, news.*
              FROM unnest($13::text[], $14::text[], $15::text[], $16::json[], $17::bigint[])
                   AS news
             WHERE (SELECT variants FROM stored) > 0
            RETURNING 1
        )
        SELECT EXISTS (SELECT FROM model) AS model_is_current,
               (SELECT variants FROM stored) AS variants
        """,
        variants[0].workspace_id,
        model_version,
        [one.id for one in variants],
        [one.version for one in variants],
        [orjson.dumps(one.values) for one in variants],
        [one.updated_at for one in variants],
        [one.updated_by for one in variants],
        [one.record.id for one in ordered],
        [one.record.version for one in ordered],
        [one.record.schema_id for one in ordered],
        [one.write.action for one in ordered],
        [one.write.changes for one in ordered],
        *outbox.arrays(one.write.event for one in ordered),
    )
    assert row is not None
    if not row["model_is_current"]:
        raise StaleModel
    if row["variants"] != len(variants):
        raise StaleRecord
