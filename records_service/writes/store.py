"""The SQL that writes records: each write is one statement, so it is atomic and one round trip.

Each statement starts by locking the workspace's model row in share mode at the version that the
values were checked against: if the model has changed, nothing is written and the caller checks
again. Every later part selects from the part before it, so row locks are taken in one order, and
the version that orders its events and its history is counted under the record's lock.

The event of a new record is made by its statement, of the entry of the history: so the values are
sent and parsed once for both. `effects.event_of_create` tells its form.

Each INSERT of a SELECT ends with RETURNING: Citus copies the rows of one that returns nothing and
reports every violated constraint of it as an internal error.

The last version of an id is in `record_lives` and not only in its history: the history may be
shortened one day, and versions must go on counting all the same; its oldest entries have no
version; and the CHECK of that row is what settles the race of two creates of one id.
"""

from __future__ import annotations

from collections.abc import Sequence

from records_service.attributes.unique_keys import UniqueKey
from records_service.model_objects.commands import SOURCE
from records_service.search_index import parts
from records_service.search_index.changes import IndexChange
from records_service.search_texts.notes import Note, noted
from records_service.writes.batches import columns_with_records
from records_service.writes.model import (
    PendingCreate,
    Record,
    StaleModel,
    StaleRecord,
    StripeExhausted,
    VariantsDelete,
    Write,
)
from records_service.writes.variant_deletes import deleted_arguments, deleted_variants
from shared.database import Conn
from shared.events import SPEC_VERSION, Event, EventType
from shared.messaging import outbox
from shared.timestamps import format_timestamp


async def first_version(conn: Conn, workspace_id: str, record_id: str) -> int:
    """The version of a new record: 1, or one more than the last that this id ever had.

    So neither an old `If-Match` nor an old event is ever taken for one of the new record. Another
    record may come and go before this one is stored: then `insert` refuses the version.
    """
    version: int | None = await conn.fetchval(
        "SELECT next_version FROM record_lives WHERE workspace_id = $1 AND record_id = $2",
        workspace_id,
        record_id,
    )
    return version or 1


async def insert(
    conn: Conn,
    pending: Sequence[PendingCreate],
    *,
    model_version: int,
    record_limit: int,
    stripe: int,
) -> None:
    """Store new records of one workspace, all or none, in places from one stripe of its counter.

    Raises `StaleModel`, `StripeExhausted`, `asyncpg.UniqueViolationError` for an id, a unique value
    or an external key that is taken (`records_id_taken`, `unique_value_taken`,
    `records_external_key_taken`), or `asyncpg.CheckViolationError` for a version that does not go
    on from the id's last one (`record_goes_on_counting`).
    """
    # In one order everywhere, so that two writers never wait for each other in a circle.
    ordered = sorted(pending, key=lambda one: one.record.id)
    records = [one.record for one in ordered]
    indexed = [(one.record.held, one.indexed) for one in ordered if one.indexed is not None]
    shown = {at: format_timestamp(at) for at in {record.created_at for record in records}}
    entered = parts.created(27, indexed, "(SELECT records FROM stored) > 0")
    row = await conn.fetchrow(
        f"""
        WITH model AS (
            SELECT version FROM models
             WHERE workspace_id = $1 AND version = $2
               FOR SHARE
        ), room AS (
            UPDATE usage u
               SET records = u.records + $3, room = u.room - $3
              FROM model
             WHERE u.workspace_id = $1 AND u.stripe = $4
               AND u.record_limit = $5 AND u.room >= $3
            RETURNING u.stripe
        ), record AS (
            INSERT INTO records (workspace_id, id, schema_id, state_id, version, values,
                                 created_at, updated_at, created_by, updated_by, external_key)
            SELECT $1, n.id, n.schema_id, n.state_id, n.version, n.values,
                   n.at, n.at, n.user_id, n.user_id, n.external_key
              FROM room, unnest($6::text[], $7::text[], $8::text[], $9::bigint[], $10::jsonb[],
                                $11::timestamptz[], $12::text[], $22::text[])
                         AS n (id, schema_id, state_id, version, values, at, user_id, external_key)
            RETURNING id, created_at
        ), stored AS (
            SELECT count(*) AS records FROM record
        ), begun AS (
            -- After the record: its id is ours now, and what had it before has ended.
            INSERT INTO record_lives AS known (workspace_id, record_id, last_version, next_version)
            SELECT $1, n.id, n.version - 1, n.version
              FROM unnest($20::text[], $21::bigint[]) AS n (id, version)
             WHERE (SELECT records FROM stored) > 0
                ON CONFLICT (workspace_id, record_id)
                DO UPDATE SET next_version = excluded.next_version
        ), claimed AS (
            INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id)
            SELECT $1, c.attribute_id, c.scope, c.value_hash, c.record_id
              FROM unnest($13::text[], $14::text[], $15::bytea[], $16::text[])
                   AS c (attribute_id, scope, value_hash, record_id)
             WHERE (SELECT records FROM stored) > 0
            RETURNING 1
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                               changes, to_state_id)
            SELECT $1, n.id, n.version, n.schema_id, 'create', n.user_id, n.at, n.changes,
                   n.state_id
              FROM unnest($6::text[], $7::text[], $8::text[], $9::bigint[], $11::timestamptz[],
                          $12::text[], $17::json[])
                   AS n (id, schema_id, state_id, version, at, user_id, changes)
             WHERE (SELECT records FROM stored) > 0
            RETURNING 1
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
            SELECT $1, e.type, e.subject, e.id,
                   CASE WHEN n.traceparent IS NULL THEN row_to_json(e)
                        ELSE ('{{"traceparent":"' || n.traceparent || '",'
                              || substr(row_to_json(e)::text, 2))::json END,
                   n.version
              FROM unnest($6::text[], $7::text[], $8::text[], $9::bigint[], $12::text[],
                          $17::json[], $18::text[], $19::text[], $26::text[])
                   AS n (id, schema_id, state_id, version, user_id, changes, event_id, time,
                         traceparent)
             CROSS JOIN LATERAL (
                   SELECT n.id AS "entityId", n.schema_id AS "schemaId", n.version,
                          n.state_id AS "lifecycleStateId", n.user_id AS "userId", n.changes
                   ) AS d
             CROSS JOIN LATERAL (
                   SELECT $23::text AS specversion, n.event_id AS id, $24::text AS type,
                          $25::text AS source, n.id AS subject, n.time,
                          'application/json' AS datacontenttype,
                          $1 AS workspaceid, d AS data
                   ) AS e
             WHERE (SELECT records FROM stored) > 0
            RETURNING 1
        ){f", {entered}, {noted('record')}" if indexed else ""}
        SELECT EXISTS (SELECT FROM model) AS model_is_current,
               EXISTS (SELECT FROM room) AS had_quota
        """,  # noqa: S608 - constants
        records[0].workspace_id,
        model_version,
        len(records),
        stripe,
        record_limit,
        [record.id for record in records],
        [record.schema_id for record in records],
        [record.state_id for record in records],
        [record.version for record in records],
        [one.document for one in ordered],
        [record.created_at for record in records],
        [record.created_by for record in records],
        *columns_with_records((one.record.id, one.unique_keys) for one in ordered),
        [one.changes for one in ordered],
        [one.event_id for one in ordered],
        [shown[record.created_at] for record in records],
        [one.record.id for one in ordered if one.id_was_asked],
        [one.record.version for one in ordered if one.id_was_asked],
        [record.external_key for record in records],
        SPEC_VERSION,
        EventType.ENTITY_CREATED,
        SOURCE,
        [one.traceparent for one in ordered],
        *(parts.created_arguments(indexed) if indexed else ()),
    )
    assert row is not None
    if not row["model_is_current"]:
        raise StaleModel
    if not row["had_quota"]:
        raise StripeExhausted


async def update(
    conn: Conn,
    record: Record,
    released: Sequence[UniqueKey],
    unique_keys: Sequence[UniqueKey],
    write: Write,
    *,
    model_version: int,
    index_change: IndexChange | None = None,
    note: Note = Note.NOTHING,
) -> None:
    """Store the next version of a record, whose `version` is one more than the one read.

    Raises `StaleModel` or `StaleRecord` with nothing written; a taken unique value or
    external key stays `asyncpg.UniqueViolationError`.
    """
    in_index = ""
    if index_change is not None:
        in_index = f", {parts.noted('record')}, {parts.changed(24, 'EXISTS (SELECT FROM record)')}"
    elif write.to_state_id is not None:
        in_index = f", {parts.noted('record')}, {parts.moved('record')}"
    if write.to_state_id is not None:
        note = Note.EVERYTHING
    if note:
        in_index += f", {noted('record', note)}"
    row = await conn.fetchrow(
        f"""
        WITH model AS (
            SELECT version FROM models
             WHERE workspace_id = $1 AND version = $2
               FOR SHARE
        ), record AS (
            UPDATE records r
               SET values = $5, state_id = $6, version = $4, updated_at = $7, updated_by = $8,
                   external_key = $23, converted = NULL
              FROM model
             WHERE r.workspace_id = $1 AND r.id = $3 AND r.version = $4 - 1
            RETURNING r.id, r.schema_id, r.created_at, r.state_id
        ), freed AS (
            DELETE FROM unique_values u
             USING record, unnest($9::text[], $10::text[], $11::bytea[])
                           AS f (attribute_id, scope, value_hash)
             WHERE u.workspace_id = $1 AND u.attribute_id = f.attribute_id
               AND u.scope = f.scope AND u.value_hash = f.value_hash
               AND u.record_id = record.id
        ), claimed AS (
            INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id)
            SELECT $1, c.attribute_id, c.scope, c.value_hash, record.id
              FROM record, unnest($12::text[], $13::text[], $14::bytea[])
                           AS c (attribute_id, scope, value_hash)
            RETURNING 1
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                               changes, from_state_id, to_state_id, comment)
            SELECT $1, record.id, $4, record.schema_id, $15, $8, $7, $16, $17, $18, $19 FROM record
            RETURNING 1
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
            SELECT $1, $20, record.id, $21, $22, $4 FROM record
            RETURNING 1
        ){in_index}
        SELECT EXISTS (SELECT FROM model) AS model_is_current,
               EXISTS (SELECT FROM record) AS record_was_current
        """,  # noqa: S608 - constants
        record.workspace_id,
        model_version,
        record.id,
        record.version,
        record.values,
        record.state_id,
        record.updated_at,
        record.updated_by,
        *columns_of(released),
        *columns_of(unique_keys),
        write.action,
        write.changes,
        write.from_state_id,
        write.to_state_id,
        write.comment,
        *staged(write.event),
        record.external_key,
        *(() if index_change is None else parts.changed_arguments([(record.held, index_change)])),
    )
    assert row is not None
    if not row["model_is_current"]:
        raise StaleModel
    if not row["record_was_current"]:
        raise StaleRecord


async def delete(
    conn: Conn,
    record: Record,
    write: Write,
    variants: VariantsDelete,
    *,
    model_version: int,
    stripe: int,
) -> None:
    """Remove this version of a record with its variants, give its place and unique values back.

    The place goes to any stripe: only the sum of all counts.

    Raises `StaleModel` or `StaleRecord` with nothing written. A violated `variants_have_a_record`
    means that a variant was created meanwhile.
    """
    row = await conn.fetchrow(
        f"""
        WITH model AS (
            SELECT version FROM models
             WHERE workspace_id = $1 AND version = $2
               FOR SHARE
        ), locked AS (
            -- The stripe before the record, as a create takes them: or the two wait for each other.
            SELECT stripe FROM usage
             WHERE workspace_id = $1 AND stripe = $11 AND EXISTS (SELECT FROM model)
               FOR UPDATE
        ), record AS (
            DELETE FROM records r
             USING model
             WHERE r.workspace_id = $1 AND r.id = $3 AND r.version = $4
               AND (SELECT count(*) FROM locked) IS NOT NULL
            RETURNING r.id, r.schema_id, r.state_id, r.created_at
        ), life AS (
            INSERT INTO record_lives (workspace_id, record_id, last_version, next_version)
            SELECT $1, record.id, $4 + 1, $4 + 2 FROM record
                ON CONFLICT (workspace_id, record_id)
                DO UPDATE SET last_version = excluded.last_version,
                              next_version = excluded.next_version
        ), room AS (
            UPDATE usage u SET records = u.records - 1, room = u.room + 1
              FROM record
             WHERE u.workspace_id = $1 AND u.stripe = $11
        ), freed AS (
            DELETE FROM unique_values u
             USING record
             WHERE u.workspace_id = $1 AND u.record_id = record.id
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                               changes, from_state_id)
            SELECT $1, record.id, $4 + 1, record.schema_id, 'delete', $5, $6, $7, record.state_id
              FROM record
            RETURNING 1
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
            SELECT $1, $8, record.id, $9, $10, $4 + 1 FROM record
            RETURNING 1
        ), variant AS (
            DELETE FROM variants v
             USING record
             WHERE v.workspace_id = $1 AND v.record_id = record.id
            RETURNING v.id, v.record_id, v.parent_id, v.version, v.updated_at, v.values
        ), ended AS (
            SELECT id AS record_id, schema_id, $4 + 1 AS version, $5::text AS user_id,
                   $6::timestamptz AS at, $12::jsonb AS event
              FROM record
        ), {parts.removed("record")}, {noted("record")}, {deleted_variants(13)}
        SELECT EXISTS (SELECT FROM model) AS model_is_current,
               EXISTS (SELECT FROM record) AS record_was_current
        """,  # noqa: S608 - constants
        record.workspace_id,
        model_version,
        record.id,
        record.version,
        write.user_id,
        write.at,
        write.changes,
        *staged(write.event),
        stripe,
        variants.event,
        *deleted_arguments([variants]),
    )
    assert row is not None
    if not row["model_is_current"]:
        raise StaleModel
    if not row["record_was_current"]:
        raise StaleRecord


async def find_taken(
    conn: Conn, workspace_id: str, unique_keys: Sequence[UniqueKey]
) -> UniqueKey | None:
    """The first of these unique keys that some record holds."""
    rows = await conn.fetch(
        """
        SELECT u.attribute_id, u.scope, u.value_hash
          FROM unique_values u
          JOIN unnest($2::text[], $3::text[], $4::bytea[]) AS c (attribute_id, scope, value_hash)
         USING (attribute_id, scope, value_hash)
         WHERE u.workspace_id = $1
        """,
        workspace_id,
        *columns_of(unique_keys),
    )
    held = {(row["attribute_id"], row["scope"], row["value_hash"]) for row in rows}
    return next((key for key in unique_keys if key.key in held), None)


def staged(event: Event) -> tuple[str, str, bytes]:
    """Type, id and document of an event, as the outbox keeps them."""
    types, _, ids, documents, _ = outbox.arrays([event])
    return types[0], ids[0], documents[0]


def columns_of(unique_keys: Sequence[UniqueKey]) -> tuple[list[str], list[str], list[bytes]]:
    """In one order everywhere, so that two writers never wait for each other in a circle."""
    ordered = sorted(unique_keys, key=lambda key: key.key)
    return (
        [key.attribute_id for key in ordered],
        [key.scope for key in ordered],
        [key.value_hash for key in ordered],
    )
