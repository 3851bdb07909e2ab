"""The SQL of records: each write is one statement, so it is atomic and one round trip.

Each write statement starts by locking the workspace's model row in share mode at the version that
the values were checked against: if the model moved, nothing is written and the caller judges again.
Every later part selects from the part before it, so row locks are taken in one order, and the
event's place in the outbox is drawn under the record's lock.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from records_service import paging
from records_service.records.model import Record
from records_service.values.unique_keys import UniqueKey
from shared.database import Conn
from shared.events import Event
from shared.messaging import outbox

_COLUMNS = """
    r.workspace_id, r.id, r.schema_id, r.state_id, r.version, r.values,
    r.created_at, r.updated_at, r.created_by, r.updated_by
"""


STRIPES = 16


def any_stripe() -> int:
    """Any will do, if only not all writers choose the same."""
    return random.randrange(STRIPES)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Write:
    """What one write of a record leaves behind besides the record; `changes` is JSON."""

    action: str
    user_id: str
    at: datetime
    changes: bytes
    event: Event
    from_state_id: str | None = None
    to_state_id: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class PendingCreate:
    """A new record with all that is stored beside it; `document` is its values as JSON.

    An id that a client asked for may have been another record's; one that we made was not.
    """

    record: Record
    id_was_asked: bool
    document: bytes
    claims: Sequence[UniqueKey]
    write: Write


class StaleModel(Exception):
    """The model changed since the values were checked; look at it and judge again."""


class StaleRecord(Exception):
    """The record changed since it was read; read it and judge again."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A record of a list, its values still in JSON: most are shown again as they were last time.

    `written_by` is the transaction that wrote the row: with the version it tells apart two records
    that had one id, one after the other.
    """

    workspace_id: str
    id: str
    schema_id: str
    state_id: str | None
    version: int
    written_by: str
    row: asyncpg.Record

    def record(self) -> Record:
        """The whole record."""
        return _record({**self.row, "values": orjson.loads(self.row["document"])})


@dataclass(frozen=True, slots=True)
class Listing:
    """Part of a list, and what it is to be shown by; all of one moment."""

    records: list[Listed]
    limit: int
    total: int
    model_version: int


class StripeExhausted(Exception):
    """This stripe of the counter has no place left; others may."""


class QuotaExceeded(Exception):
    """There is no room for one more record."""


Key = tuple[str, str]
"""Workspace id and record id."""


async def get_many(conn: Conn, keys: Sequence[Key]) -> dict[Key, tuple[Record, int]]:
    """The existing ones of these records, each with the model version of its workspace."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS}, m.version AS model_version
          FROM unnest($1::text[], $2::text[]) AS asked (workspace_id, id)
          JOIN records r ON r.workspace_id = asked.workspace_id AND r.id = asked.id
          JOIN models m ON m.workspace_id = r.workspace_id
        """,  # noqa: S608 - the columns are the constant above
        [workspace_id for workspace_id, _ in keys],
        [record_id for _, record_id in keys],
    )
    return {(row["workspace_id"], row["id"]): (_record(row), row["model_version"]) for row in rows}


async def page(
    conn: Conn,
    workspace_id: str,
    *,
    schema_id: str | None,
    state_ids: Sequence[str] | None,
    offset: int,
    limit: int,
    limit_is_asked: bool = True,
) -> Listing:
    """Records in order of creation, how many there are in all, and the model's version.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter
    where the limit is the default.
    """
    where = ["workspace_id = $1"]
    arguments: list[Any] = [workspace_id]
    if schema_id is not None:
        arguments.append(schema_id)
        where.append(f"schema_id = ${len(arguments)}")
    if state_ids is not None and len(state_ids) == 1:
        # One state as the index has it: its records are in order there.
        arguments.append(state_ids[0])
        where.append(f"state_id = ${len(arguments)}")
    elif state_ids is not None:
        arguments.append(list(state_ids))
        where.append(f"state_id = ANY(${len(arguments)}::text[])")
    condition = " AND ".join(where)
    # The counter of the record limit counts them all, so nobody needs to.
    count = (
        "SELECT coalesce(sum(records), 0)::bigint FROM usage WHERE workspace_id = $1"
        if condition == where[0]
        else f"SELECT count(*) FROM records WHERE {condition}"  # noqa: S608
    )
    offset_, limit_, bytes_max = (f"${len(arguments) + n}::bigint" for n in (1, 2, 3))
    # The documents of the rows before a page are not looked at: where it begins is found in an
    # index. The first page begins at the beginning.
    begins = "" if offset == 0 else "AND (created_at, id) >= (start.created_at, start.id)"
    rows = await conn.fetch(
        f"""
        WITH start AS MATERIALIZED (
            SELECT created_at, id FROM records
             WHERE {condition}
             ORDER BY created_at, id
            OFFSET {offset_} LIMIT 1
        ), page AS MATERIALIZED (
            SELECT r.*
              FROM {"start CROSS JOIN LATERAL" if begins else ""} (
                   SELECT workspace_id, id, schema_id, state_id, version,
                          values::text AS document, xmin::text AS written_by,
                          created_at, updated_at, created_by, updated_by
                     FROM records
                    WHERE {condition} {begins}
                    ORDER BY created_at, id
                    LIMIT {limit_}
             ) r
        )
        SELECT p.workspace_id, p.id, p.schema_id, p.state_id, p.version,
               -- The first is always there, whatever its size: only there the sum is its own.
               CASE WHEN sum(octet_length(p.document)) OVER (ORDER BY p.created_at, p.id)
                         <= {bytes_max}
                      OR sum(octet_length(p.document)) OVER (ORDER BY p.created_at, p.id)
                         = octet_length(p.document)
                    THEN p.document END AS document, p.written_by,
               p.created_at, p.updated_at, p.created_by, p.updated_by,
               head.total, head.model_version
          FROM (SELECT CASE WHEN f.rows < {limit_} AND (f.rows > 0 OR {offset_} = 0)
                            -- The last page: what comes before it and what is on it is all.
                            THEN {offset_} + f.rows
                            ELSE ({count}) END AS total,
                       (SELECT version FROM models WHERE workspace_id = $1) AS model_version
                  FROM (SELECT count(*) AS rows FROM page) f) head
          LEFT JOIN page p ON true
         ORDER BY p.created_at, p.id
        """,  # noqa: S608 - conditions are the fixed fragments above, values are arguments
        *arguments,
        offset,
        limit,
        paging.PAGE_BYTES_MAX,
    )
    found = [row for row in rows if row["id"] is not None]
    fit = paging.fitting([row["document"] for row in found], limit_is_asked=limit_is_asked)
    return Listing(
        records=[
            Listed(
                workspace_id,
                row["id"],
                row["schema_id"],
                row["state_id"],
                row["version"],
                row["written_by"],
                row,
            )
            for row in found[:fit]
        ],
        limit=fit if fit < len(found) else limit,
        total=rows[0]["total"],
        model_version=rows[0]["model_version"] or 0,
    )


async def existing(conn: Conn, workspace_id: str, record_ids: Sequence[str]) -> dict[str, str]:
    """Of these ids, those that are records, each with its schema."""
    rows = await conn.fetch(
        "SELECT id, schema_id FROM records WHERE workspace_id = $1 AND id = ANY($2::text[])",
        workspace_id,
        list(record_ids),
    )
    return {row["id"]: row["schema_id"] for row in rows}


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
    arrivals: Sequence[PendingCreate],
    *,
    model_version: int,
    record_limit: int,
    stripe: int,
) -> None:
    """Store new records of one workspace, all or none, in places from one stripe of its counter.

    Raises `StaleModel`, `StripeExhausted`, `asyncpg.UniqueViolationError` for an id or a unique
    value that is taken (`records_id_taken`, `unique_value_taken`), or `asyncpg.CheckViolationError`
    for a version that does not go on from the id's last one (`record_goes_on_counting`).
    """
    # In one order everywhere, so that two writers never wait for each other in a circle.
    ordered = sorted(arrivals, key=lambda arrival: arrival.record.id)
    records = [arrival.record for arrival in ordered]
    row = await conn.fetchrow(
        """
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
                                 created_at, updated_at, created_by, updated_by)
            SELECT $1, n.id, n.schema_id, n.state_id, n.version, n.values,
                   n.at, n.at, n.user_id, n.user_id
              FROM room, unnest($6::text[], $7::text[], $8::text[], $9::bigint[], $10::jsonb[],
                                $11::timestamptz[], $12::text[])
                         AS n (id, schema_id, state_id, version, values, at, user_id)
            RETURNING id
        ), stored AS (
            SELECT count(*) AS records FROM record
        ), begun AS (
            -- After the record: its id is ours now, and what had it before has ended.
            INSERT INTO record_lives AS known (workspace_id, record_id, last_version, next_version)
            SELECT $1, n.id, n.version - 1, n.version
              FROM unnest($23::text[], $24::bigint[]) AS n (id, version)
             WHERE (SELECT records FROM stored) > 0
                ON CONFLICT (workspace_id, record_id)
                DO UPDATE SET next_version = excluded.next_version
        ), claimed AS (
            INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id)
            SELECT $1, c.attribute_id, c.scope, c.value_hash, c.record_id
              FROM unnest($13::text[], $14::text[], $15::bytea[], $16::text[])
                   AS c (attribute_id, scope, value_hash, record_id)
             WHERE (SELECT records FROM stored) > 0
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, schema_id, action, user_id, at,
                               changes, to_state_id)
            SELECT $1, n.id, n.schema_id, 'create', n.user_id, n.at, n.changes, n.state_id
              FROM unnest($6::text[], $7::text[], $8::text[], $11::timestamptz[], $12::text[],
                          $17::json[])
                   AS n (id, schema_id, state_id, at, user_id, changes)
             WHERE (SELECT records FROM stored) > 0
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document)
            SELECT news.*
              FROM unnest($18::text[], $19::text[], $20::text[], $21::text[], $22::json[]) AS news
             WHERE (SELECT records FROM stored) > 0
        )
        SELECT EXISTS (SELECT FROM model) AS model_stands,
               EXISTS (SELECT FROM room) AS had_room
        """,
        records[0].workspace_id,
        model_version,
        len(records),
        stripe,
        record_limit,
        [record.id for record in records],
        [record.schema_id for record in records],
        [record.state_id for record in records],
        [record.version for record in records],
        [arrival.document for arrival in ordered],
        [record.created_at for record in records],
        [record.created_by for record in records],
        *_columns_with_records(ordered),
        [arrival.write.changes for arrival in ordered],
        *outbox.arrays(arrival.write.event for arrival in ordered),
        [arrival.record.id for arrival in ordered if arrival.id_was_asked],
        [arrival.record.version for arrival in ordered if arrival.id_was_asked],
    )
    assert row is not None
    if not row["model_stands"]:
        raise StaleModel
    if not row["had_room"]:
        raise StripeExhausted


async def redistribute_quota(conn: Conn, workspace_id: str, record_limit: int, stripe: int) -> None:
    """Share out what room is left anew, with some for this stripe, or raise `QuotaExceeded`.

    A counter in one row would be locked by each create until its commit, so that creates would wait
    for each other's disk flush; with stripes only every sixteenth does. The limit stays exact: a
    stripe gives away no more places than it was given here, where all stripes are locked and
    counted. The caller stores its record in the same transaction.
    """
    await conn.execute(
        """
        INSERT INTO usage (workspace_id, stripe, records, room, record_limit)
        SELECT $1, stripe, 0, 0, $2 FROM generate_series(0, $3 - 1) AS stripe
            ON CONFLICT DO NOTHING
        """,
        workspace_id,
        record_limit,
        STRIPES,
    )
    stripes = await conn.fetch(
        "SELECT records FROM usage WHERE workspace_id = $1 ORDER BY stripe FOR UPDATE",
        workspace_id,
    )
    room = record_limit - sum(row["records"] for row in stripes)
    if room <= 0:
        raise QuotaExceeded
    share, rest = divmod(room, STRIPES)
    await conn.execute(
        """
        UPDATE usage
           SET record_limit = $2, room = $3 + CASE WHEN stripe = $4 THEN $5 ELSE 0 END
         WHERE workspace_id = $1
        """,
        workspace_id,
        record_limit,
        share,
        stripe,
        rest,
    )


async def update(
    conn: Conn,
    record: Record,
    freed: Sequence[UniqueKey],
    claims: Sequence[UniqueKey],
    write: Write,
    *,
    model_version: int,
) -> None:
    """Store the next version of a record, whose `version` is one more than the one read.

    Raises `StaleModel` or `StaleRecord` with nothing written; a taken unique value stays
    `asyncpg.UniqueViolationError`.
    """
    row = await conn.fetchrow(
        """
        WITH model AS (
            SELECT version FROM models
             WHERE workspace_id = $1 AND version = $2
               FOR SHARE
        ), record AS (
            UPDATE records r
               SET values = $5, state_id = $6, version = $4, updated_at = $7, updated_by = $8
              FROM model
             WHERE r.workspace_id = $1 AND r.id = $3 AND r.version = $4 - 1
            RETURNING r.id, r.schema_id
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
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, schema_id, action, user_id, at, changes,
                               from_state_id, to_state_id, comment)
            SELECT $1, record.id, record.schema_id, $15, $8, $7, $16, $17, $18, $19 FROM record
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document)
            SELECT $1, $20, record.id, $21, $22 FROM record
        )
        SELECT EXISTS (SELECT FROM model) AS model_stands,
               EXISTS (SELECT FROM record) AS record_stood
        """,
        record.workspace_id,
        model_version,
        record.id,
        record.version,
        record.values,
        record.state_id,
        record.updated_at,
        record.updated_by,
        *_columns_of(freed),
        *_columns_of(claims),
        write.action,
        write.changes,
        write.from_state_id,
        write.to_state_id,
        write.comment,
        *_staged(write.event),
    )
    assert row is not None
    if not row["model_stands"]:
        raise StaleModel
    if not row["record_stood"]:
        raise StaleRecord


async def delete(
    conn: Conn, record: Record, write: Write, *, model_version: int, stripe: int
) -> None:
    """Remove this version of a record, give its place and its unique values back.

    The place goes to any stripe: only the sum of all counts.

    Raises `StaleModel` or `StaleRecord` with nothing written.
    """
    row = await conn.fetchrow(
        """
        WITH model AS (
            SELECT version FROM models
             WHERE workspace_id = $1 AND version = $2
               FOR SHARE
        ), locked AS (
            -- The stripe before the record, as a create takes them: or the two wait for each other.
            SELECT u.stripe FROM usage u, model
             WHERE u.workspace_id = $1 AND u.stripe = $11
               FOR UPDATE OF u
        ), record AS (
            DELETE FROM records r
             USING model
             WHERE r.workspace_id = $1 AND r.id = $3 AND r.version = $4
               AND (SELECT count(*) FROM locked) IS NOT NULL
            RETURNING r.id, r.schema_id, r.state_id
        ), ended AS (
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
            INSERT INTO audit (workspace_id, record_id, schema_id, action, user_id, at, changes,
                               from_state_id)
            SELECT $1, record.id, record.schema_id, 'delete', $5, $6, $7, record.state_id
              FROM record
        ), staged AS (
            INSERT INTO outbox (workspace_id, type, subject, event_id, document)
            SELECT $1, $8, record.id, $9, $10 FROM record
        )
        SELECT EXISTS (SELECT FROM model) AS model_stands,
               EXISTS (SELECT FROM record) AS record_stood
        """,
        record.workspace_id,
        model_version,
        record.id,
        record.version,
        write.user_id,
        write.at,
        write.changes,
        *_staged(write.event),
        stripe,
    )
    assert row is not None
    if not row["model_stands"]:
        raise StaleModel
    if not row["record_stood"]:
        raise StaleRecord


async def taken(conn: Conn, workspace_id: str, claims: Sequence[UniqueKey]) -> UniqueKey | None:
    """The first of these unique values that some record holds."""
    rows = await conn.fetch(
        """
        SELECT u.attribute_id, u.scope, u.value_hash
          FROM unique_values u
          JOIN unnest($2::text[], $3::text[], $4::bytea[]) AS c (attribute_id, scope, value_hash)
         USING (attribute_id, scope, value_hash)
         WHERE u.workspace_id = $1
        """,
        workspace_id,
        *_columns_of(claims),
    )
    held = {(row["attribute_id"], row["scope"], row["value_hash"]) for row in rows}
    return next((claim for claim in claims if claim.key in held), None)


def _staged(event: Event) -> tuple[str, str, bytes]:
    """Type, id and document of an event, as the outbox keeps them."""
    _, types, _, ids, documents = outbox.arrays([event])
    return types[0], ids[0], documents[0]


def _columns_of(claims: Sequence[UniqueKey]) -> tuple[list[str], list[str], list[bytes]]:
    """In one order everywhere, so that two writers never wait for each other in a circle."""
    ordered = sorted(claims, key=lambda claim: claim.key)
    return (
        [claim.attribute_id for claim in ordered],
        [claim.scope for claim in ordered],
        [claim.value_hash for claim in ordered],
    )


def _columns_with_records(
    arrivals: Sequence[PendingCreate],
) -> tuple[list[str], list[str], list[bytes], list[str]]:
    """The claims of many records as `_columns_of` orders them, each with the record it is for."""
    ordered = sorted(
        ((*claim.key, arrival.record.id) for arrival in arrivals for claim in arrival.claims),
    )
    return (
        [attribute_id for attribute_id, _, _, _ in ordered],
        [scope for _, scope, _, _ in ordered],
        [value_hash for _, _, value_hash, _ in ordered],
        [record_id for _, _, _, record_id in ordered],
    )


def _record(row: Any) -> Record:
    return Record(
        workspace_id=row["workspace_id"],
        id=row["id"],
        schema_id=row["schema_id"],
        state_id=row["state_id"],
        version=row["version"],
        values=row["values"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        created_by=row["created_by"],
        updated_by=row["updated_by"],
    )
