"""The SQL of what is known about records at the target of a channel.

One synchronisation of a channel runs at a time, so nobody else writes these rows meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from shared.database import Conn, Record
from shared.database.listing import Narrowing, Piece, Position, read_piece
from workflow_service.sync_runs.model import Known, Run

LOST_MAX: Final = 10_000
"""Creates of unknown outcome that are looked for at once."""
_COLUMNS: Final = "entity_id, variant_id, external_id, attempt, sent, seen, last_mark"


@dataclass(frozen=True, slots=True)
class Agreed:
    """A record and the target agree on this."""

    entity_id: str
    external_id: str
    sent: Mapping[str, str]
    seen: Mapping[str, str] | None
    checksum: str


async def of_entities(conn: Conn, run: Run, entity_ids: Sequence[str]) -> dict[str, Known]:
    """What is known about these records, by their ids."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM sync_mappings
         WHERE workspace_id = $1 AND channel_id = $2 AND entity_id = ANY($3::text[])
        """,  # noqa: S608 - constants
        run.workspace_id,
        run.channel_id,
        list(entity_ids),
    )
    return _known(rows)


async def of_objects(conn: Conn, run: Run, external_ids: Sequence[str]) -> dict[str, Known]:
    """What is known about the records that these objects of the target are, by external id."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM sync_mappings
         WHERE workspace_id = $1 AND channel_id = $2
           AND entity_id IN (SELECT entity_id FROM sync_mappings
                              WHERE workspace_id = $1 AND channel_id = $2 AND variant_id = ''
                                AND external_id = ANY($3::text[]))
        """,  # noqa: S608 - constants
        run.workspace_id,
        run.channel_id,
        list(external_ids),
    )
    return {
        each.external_id: each for each in _known(rows).values() if each.external_id is not None
    }


async def lost(conn: Conn, run: Run) -> list[Known]:
    """Creates of which nobody knows whether the target has had them."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM sync_mappings
         WHERE workspace_id = $1 AND channel_id = $2 AND attempt IS NOT NULL
         ORDER BY entity_id
         LIMIT $3
        """,  # noqa: S608 - constants
        run.workspace_id,
        run.channel_id,
        LOST_MAX,
    )
    return list(_known(rows).values())


async def intend_creates(
    conn: Conn,
    run: Run,
    attempts: Mapping[str, str],
    sent: Mapping[str, Mapping[str, str]],
    seen: Mapping[str, Mapping[str, str] | None],
    ids: Sequence[str],
) -> None:
    """Note, before it is sent, which records are to be created: entity id -> key of the create."""
    entity_ids = list(attempts)
    await conn.execute(
        """
        INSERT INTO sync_mappings AS known
               (workspace_id, channel_id, id, entity_id, attempt, sent, seen, created_at)
        SELECT $1, $2, n.id, n.entity_id, n.attempt, n.sent, n.seen, now()
          FROM unnest($3::text[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[])
               AS n (id, entity_id, attempt, sent, seen)
            ON CONFLICT (workspace_id, channel_id, entity_id, variant_id)
            DO UPDATE SET attempt = excluded.attempt, sent = excluded.sent, seen = excluded.seen
        """,
        run.workspace_id,
        run.channel_id,
        list(ids),
        entity_ids,
        [attempts[each] for each in entity_ids],
        [orjson.dumps(sent[each]) for each in entity_ids],
        [_json(seen[each]) for each in entity_ids],
    )


async def intend_records(
    conn: Conn, run: Run, entity_ids: Mapping[str, str], ids: Sequence[str]
) -> None:
    """Note, before it is written, which record an object becomes: external id -> entity id."""
    await conn.execute(
        """
        INSERT INTO sync_mappings
               (workspace_id, channel_id, id, entity_id, external_id, created_at)
        SELECT $1, $2, n.id, n.entity_id, n.external_id, now()
          FROM unnest($3::text[], $4::text[], $5::text[]) AS n (id, entity_id, external_id)
            ON CONFLICT DO NOTHING
        """,
        run.workspace_id,
        run.channel_id,
        list(ids),
        list(entity_ids.values()),
        list(entity_ids),
    )


async def agree(conn: Conn, run: Run, agreed: Sequence[Agreed], mark: str) -> None:
    """Note what the target and these records agree on by now."""
    await conn.execute(
        """
        UPDATE sync_mappings known
           SET external_id = n.external_id, attempt = NULL, sent = n.sent, seen = n.seen,
               checksum = n.checksum, last_mark = $3, last_synced_at = now()
          FROM unnest($4::text[], $5::text[], $6::jsonb[], $7::jsonb[], $8::text[])
               AS n (entity_id, external_id, sent, seen, checksum)
         WHERE known.workspace_id = $1 AND known.channel_id = $2
           AND known.entity_id = n.entity_id AND known.variant_id = ''
        """,
        run.workspace_id,
        run.channel_id,
        mark,
        [each.entity_id for each in agreed],
        [each.external_id for each in agreed],
        [orjson.dumps(each.sent) for each in agreed],
        [_json(each.seen) for each in agreed],
        [each.checksum for each in agreed],
    )


async def adopt(conn: Conn, run: Run, found: Mapping[str, str]) -> None:
    """Creates that the target has had: entity id -> external id."""
    await conn.execute(
        """
        UPDATE sync_mappings known
           SET external_id = n.external_id, attempt = NULL
          FROM unnest($3::text[], $4::text[]) AS n (entity_id, external_id)
         WHERE known.workspace_id = $1 AND known.channel_id = $2
           AND known.entity_id = n.entity_id AND known.variant_id = ''
        """,
        run.workspace_id,
        run.channel_id,
        list(found),
        list(found.values()),
    )


async def touch(conn: Conn, run: Run, entity_ids: Sequence[str], mark: str) -> None:
    """Note that these were looked at, and that nothing has changed."""
    await conn.execute(
        """
        UPDATE sync_mappings SET last_mark = $3, last_synced_at = now()
         WHERE workspace_id = $1 AND channel_id = $2 AND entity_id = ANY($4::text[])
           AND variant_id = ''
        """,
        run.workspace_id,
        run.channel_id,
        mark,
        list(entity_ids),
    )


async def forget(conn: Conn, run: Run, entity_ids: Sequence[str]) -> None:
    """Remove what is known about these: the target does not have them."""
    await conn.execute(
        """
        DELETE FROM sync_mappings
         WHERE workspace_id = $1 AND channel_id = $2 AND entity_id = ANY($3::text[])
        """,
        run.workspace_id,
        run.channel_id,
        list(entity_ids),
    )


async def keep_variants(
    conn: Conn, run: Run, variants: Mapping[str, Mapping[str, str]], ids: Sequence[str]
) -> None:
    """Note the ids of variants at the target: entity id -> variant id -> external id, all of each.

    `ids` has one id for each variant.
    """
    rows = [
        (entity_id, variant_id, external_id)
        for entity_id, of_entity in variants.items()
        for variant_id, external_id in of_entity.items()
    ]
    entity_ids, variant_ids, external_ids = (
        [list(column) for column in zip(*rows, strict=True)] if rows else ([], [], [])
    )
    await conn.execute(
        """
        WITH named AS (
            SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[])
                          AS n (id, entity_id, variant_id, external_id)
        ), gone AS (
            DELETE FROM sync_mappings known
             WHERE known.workspace_id = $1 AND known.channel_id = $2
               AND known.entity_id = ANY($7::text[]) AND known.variant_id <> ''
               AND NOT EXISTS (SELECT FROM named n WHERE n.entity_id = known.entity_id
                                                     AND n.variant_id = known.variant_id)
        )
        INSERT INTO sync_mappings AS known
               (workspace_id, channel_id, id, entity_id, variant_id, external_id, created_at,
                last_synced_at)
        SELECT $1, $2, n.id, n.entity_id, n.variant_id, n.external_id, now(), now() FROM named n
            ON CONFLICT (workspace_id, channel_id, entity_id, variant_id)
            DO UPDATE SET external_id = excluded.external_id,
                          last_synced_at = excluded.last_synced_at
        """,
        run.workspace_id,
        run.channel_id,
        list(ids),
        entity_ids,
        variant_ids,
        external_ids,
        list(variants),
    )


async def taken(conn: Conn, run: Run, external_ids: Collection[str]) -> dict[str, str]:
    """External id -> the record that is this object, of those that are known."""
    rows = await conn.fetch(
        """
        SELECT external_id, entity_id FROM sync_mappings
         WHERE workspace_id = $1 AND channel_id = $2 AND variant_id = ''
           AND external_id = ANY($3::text[])
        """,
        run.workspace_id,
        run.channel_id,
        list(external_ids),
    )
    return {row["external_id"]: row["entity_id"] for row in rows}


async def page(
    conn: Conn, workspace_id: str, after: Position, channel_id: str, narrowing: Narrowing
) -> Piece:
    """Rows of `SyncMapping`, in the order of their making, and whether more follow."""
    return await read_piece(
        conn,
        "sync_mappings",
        """id, channel_id, entity_id, variant_id, external_id, checksum, created_at,
           last_synced_at""",
        "200",
        workspace_id,
        after,
        narrowing.and_also("channel_id = {} AND external_id IS NOT NULL", channel_id),
    )


def _json(fingerprints: Mapping[str, str] | None) -> bytes | None:
    return None if fingerprints is None else orjson.dumps(fingerprints)


def _known(rows: Sequence[Record]) -> dict[str, Known]:
    variants: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["variant_id"]:
            variants.setdefault(row["entity_id"], {})[row["variant_id"]] = row["external_id"]
    return {
        row["entity_id"]: Known(
            row["entity_id"],
            row["external_id"],
            row["attempt"],
            row["sent"],
            row["seen"],
            row["last_mark"],
            variants.get(row["entity_id"], {}),
        )
        for row in rows
        if not row["variant_id"]
    }
