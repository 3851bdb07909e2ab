"""The SQL that changes or deletes many records of one workspace, each time in one statement.

As in `writes.store`, a statement writes all of its records or none, and locks in one order: the
model's row, the counter's, then the records in the order of their ids. What came up to date before
the records were locked is told by their versions: if one of them has another version than the one
read, nothing is written and the caller judges again.

Records that give a unique value up and records that take it may be in one statement: values are
released before any is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from records_service.attributes.unique_keys import UniqueKey
from records_service.search_index import parts
from records_service.search_texts.notes import Note, noted
from records_service.writes.model import PendingDelete, PendingUpdate, StaleModel, StaleRecord
from records_service.writes.variant_deletes import deleted_arguments, deleted_variants
from shared.database import Conn
from shared.messaging import outbox


async def update_many(conn: Conn, pending: Sequence[PendingUpdate], *, model_version: int) -> None:
    """Store the next versions of these records of one workspace, each named once.

    Raises `StaleModel` or `StaleRecord` with nothing written; a taken unique value or
    external key stays `asyncpg.UniqueViolationError`.
    """
    ordered = sorted(pending, key=lambda one: one.record.id)
    records = [one.record for one in ordered]
    writes = [one.write for one in ordered]
    changes = [
        (one.record.held, one.index_change) for one in ordered if one.index_change is not None
    ]
    note = max(Note.EVERYTHING if one.write.to_state_id else one.note for one in ordered)
    in_index = [
        *([parts.noted("record")] if changes or any(write.to_state_id for write in writes) else []),
        *([parts.changed(30, "(SELECT records FROM stored) > 0")] if changes else []),
        *([parts.moved("record")] if any(write.to_state_id for write in writes) else []),
        *([noted("record", note)] if note else []),
    ]
    row = await conn.fetchrow(
        f"""
        WITH model AS (
            SELECT version FROM models
             WHERE workspace_id = $1 AND version = $2
               FOR SHARE
        ), current AS (
            SELECT id, version FROM records
             WHERE workspace_id = $1 AND id = ANY($3::text[]) AND EXISTS (SELECT FROM model)
             ORDER BY id
               FOR UPDATE
        ), fresh AS (
            SELECT count(*) AS records
              FROM current c
              JOIN unnest($3::text[], $4::bigint[]) AS n (id, version)
                ON c.id = n.id AND c.version = n.version - 1
        ), record AS (
            UPDATE records r
               SET values = CASE WHEN n.removed IS NULL THEN r.values || n.changed
                                 ELSE (r.values || n.changed)
                                      - ARRAY(SELECT jsonb_array_elements_text(n.removed)) END,
                   state_id = n.state_id, version = n.version,
                   updated_at = n.at, updated_by = n.user_id, external_key = n.external_key,
                   converted = NULL
              FROM fresh, unnest($3::text[], $4::bigint[], $5::jsonb[], $6::text[],
                                 $7::timestamptz[], $8::text[], $28::text[], $29::jsonb[])
                          AS n (id, version, changed, state_id, at, user_id, external_key, removed)
             WHERE r.workspace_id = $1 AND r.id = n.id
               AND fresh.records = cardinality($3::text[])
            RETURNING r.id, r.schema_id, r.created_at, r.state_id
        ), stored AS (
            SELECT count(*) AS records FROM record
        ), freed AS (
            DELETE FROM unique_values u
             USING unnest($9::text[], $10::text[], $11::bytea[], $12::text[])
                   AS f (attribute_id, scope, value_hash, record_id)
             WHERE u.workspace_id = $1 AND u.attribute_id = f.attribute_id
               AND u.scope = f.scope AND u.value_hash = f.value_hash
               AND u.record_id = f.record_id
               AND (SELECT records FROM stored) > 0
            RETURNING u.record_id
        ), released AS (
            SELECT count(*) AS values FROM freed
        ), claimed AS (
            INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id)
            SELECT $1, c.attribute_id, c.scope, c.value_hash, c.record_id
              FROM released, unnest($13::text[], $14::text[], $15::bytea[], $16::text[])
                             AS c (attribute_id, scope, value_hash, record_id)
             WHERE (SELECT records FROM stored) > 0
            RETURNING 1
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                               changes, from_state_id, to_state_id, comment)
            SELECT $1, n.id, n.version, n.schema_id, n.action, n.user_id, n.at, n.changes,
                   n.from_state_id, n.to_state_id, n.comment
              FROM unnest($3::text[], $4::bigint[], $17::text[], $18::text[], $8::text[],
                          $7::timestamptz[], $19::json[], $20::text[], $21::text[], $22::text[])
                   AS n (id, version, schema_id, action, user_id, at, changes, from_state_id,
                         to_state_id, comment)
             WHERE (SELECT records FROM stored) > 0
            RETURNING 1
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
            SELECT $1, news.*
              FROM unnest($23::text[], $24::text[], $25::text[], $26::json[], $27::bigint[])
                   AS news
             WHERE (SELECT records FROM stored) > 0
            RETURNING 1
        ){"".join(f", {each}" for each in in_index)}
        SELECT EXISTS (SELECT FROM model) AS model_is_current,
               (SELECT records FROM stored) AS records
        """,  # noqa: S608 - constants
        records[0].workspace_id,
        model_version,
        [record.id for record in records],
        [record.version for record in records],
        [one.changed for one in ordered],
        [record.state_id for record in records],
        [record.updated_at for record in records],
        [record.updated_by for record in records],
        *columns_with_records((one.record.id, one.released) for one in ordered),
        *columns_with_records((one.record.id, one.added) for one in ordered),
        [record.schema_id for record in records],
        [write.action for write in writes],
        [write.changes for write in writes],
        [write.from_state_id for write in writes],
        [write.to_state_id for write in writes],
        [write.comment for write in writes],
        *outbox.arrays(write.event for write in writes),
        [record.external_key for record in records],
        [one.removed for one in ordered],
        *(parts.changed_arguments(changes) if changes else ()),
    )
    assert row is not None
    if not row["model_is_current"]:
        raise StaleModel
    if row["records"] != len(records):
        raise StaleRecord


async def delete_many(
    conn: Conn, pending: Sequence[PendingDelete], *, model_version: int, stripe: int
) -> None:
    """Remove these records of one workspace, each named once, with variants and unique values.

    Their places go to one stripe: only the sum of all counts.

    Raises `StaleModel` or `StaleRecord` with nothing written. A violated `variants_have_a_record`
    means that a variant was created meanwhile.
    """
    ordered = sorted(pending, key=lambda one: one.record.id)
    records = [one.record for one in ordered]
    writes = [one.write for one in ordered]
    row = await conn.fetchrow(
        f"""
        WITH model AS (
            SELECT version FROM models
             WHERE workspace_id = $1 AND version = $2
               FOR SHARE
        ), locked AS (
            -- The stripe before the records, as a create takes them, or the two wait for each
            -- other.
            SELECT stripe FROM usage
             WHERE workspace_id = $1 AND stripe = $5 AND EXISTS (SELECT FROM model)
               FOR UPDATE
        ), current AS (
            SELECT id, version FROM records
             WHERE workspace_id = $1 AND id = ANY($3::text[])
               AND (SELECT count(*) FROM locked) IS NOT NULL AND EXISTS (SELECT FROM model)
             ORDER BY id
               FOR UPDATE
        ), fresh AS (
            SELECT count(*) AS records
              FROM current c
              JOIN unnest($3::text[], $4::bigint[]) AS n (id, version)
                ON c.id = n.id AND c.version = n.version
        ), record AS (
            DELETE FROM records r
             USING fresh
             WHERE r.workspace_id = $1 AND r.id = ANY($3::text[])
               AND fresh.records = cardinality($3::text[])
            RETURNING r.id, r.schema_id, r.created_at
        ), stored AS (
            SELECT count(*) AS records FROM record
        ), life AS (
            INSERT INTO record_lives (workspace_id, record_id, last_version, next_version)
            SELECT $1, n.id, n.version + 1, n.version + 2
              FROM unnest($3::text[], $4::bigint[]) AS n (id, version)
             WHERE (SELECT records FROM stored) > 0
                ON CONFLICT (workspace_id, record_id)
                DO UPDATE SET last_version = excluded.last_version,
                              next_version = excluded.next_version
        ), room AS (
            UPDATE usage u
               SET records = u.records - stored.records, room = u.room + stored.records
              FROM stored
             WHERE u.workspace_id = $1 AND u.stripe = $5 AND stored.records > 0
        ), freed AS (
            DELETE FROM unique_values u
             USING record
             WHERE u.workspace_id = $1 AND u.record_id = record.id
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                               changes, from_state_id)
            SELECT $1, n.id, n.version + 1, n.schema_id, 'delete', n.user_id, n.at, n.changes,
                   n.state_id
              FROM unnest($3::text[], $4::bigint[], $6::text[], $7::text[], $8::timestamptz[],
                          $9::json[], $10::text[])
                   AS n (id, version, schema_id, user_id, at, changes, state_id)
             WHERE (SELECT records FROM stored) > 0
            RETURNING 1
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
            SELECT $1, news.*
              FROM unnest($11::text[], $12::text[], $13::text[], $14::json[], $15::bigint[])
                   AS news
             WHERE (SELECT records FROM stored) > 0
            RETURNING 1
        ), variant AS (
            DELETE FROM variants v
             USING record
             WHERE v.workspace_id = $1 AND v.record_id = record.id
            RETURNING v.id, v.record_id, v.parent_id, v.version, v.updated_at, v.values
        ), ended AS (
            SELECT n.id AS record_id, n.schema_id, n.version + 1 AS version, n.user_id, n.at,
                   n.event::jsonb AS event
              FROM unnest($3::text[], $4::bigint[], $6::text[], $7::text[], $8::timestamptz[],
                          $16::json[])
                   AS n (id, version, schema_id, user_id, at, event)
        ), {parts.removed("record")}, {noted("record")}, {deleted_variants(17)}
        SELECT EXISTS (SELECT FROM model) AS model_is_current,
               (SELECT records FROM stored) AS records
        """,  # noqa: S608 - constants
        records[0].workspace_id,
        model_version,
        [record.id for record in records],
        [record.version for record in records],
        stripe,
        [record.schema_id for record in records],
        [write.user_id for write in writes],
        [write.at for write in writes],
        [write.changes for write in writes],
        [record.state_id for record in records],
        *outbox.arrays(write.event for write in writes),
        [one.variants.event for one in ordered],
        *deleted_arguments(one.variants for one in ordered),
    )
    assert row is not None
    if not row["model_is_current"]:
        raise StaleModel
    if row["records"] != len(records):
        raise StaleRecord


def columns_with_records(
    keys_of: Iterable[tuple[str, Sequence[UniqueKey]]],
) -> tuple[list[str], list[str], list[bytes], list[str]]:
    """The unique keys of many records, each with its record.

    In one order everywhere, so that two writers never wait for each other in a circle.
    """
    ordered = sorted((*key.key, record_id) for record_id, keys in keys_of for key in keys)
    return (
        [attribute_id for attribute_id, _, _, _ in ordered],
        [scope for _, scope, _, _ in ordered],
        [value_hash for _, _, value_hash, _ in ordered],
        [record_id for _, _, _, record_id in ordered],
    )
