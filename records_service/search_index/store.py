"""SQL: what of the search index is being built, and the rows that a build reads and writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import orjson

from records_service.attributes.model import is_filterable
from records_service.model_objects.converted_values import values_now
from records_service.schema_walks.model import Walk
from records_service.search_index import parts
from records_service.search_index.changes import IndexChange
from records_service.search_index.parts import Held
from shared.database import Conn, Database
from shared.database.pieces import Room, pieces

ENROLLED_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Build:
    """A schema whose records are being entered anew.

    Searches do not use the index for `attribute_ids` until then.
    """

    schema_id: str
    attribute_ids: Sequence[str]
    walk: Walk

    @property
    def is_done(self) -> bool:
        """Whether all of its records have been entered, but for what was written meanwhile."""
        return self.walk.is_over


class Found(NamedTuple):
    """A record as it is stored, its values as JSON."""

    held: Held
    document: str


class Entered(NamedTuple):
    """What the index has of a record: its state and terms, if it has that row, and its numbers."""

    state_id: str | None
    terms: Sequence[int] | None
    number_lists: tuple[Sequence[int], Sequence[float | None]] | None
    """As in `terms.number_lists`; None in a row that an older version has written."""
    numbers: Sequence[tuple[int, int, float, str | None]]
    """As in `Indexed`, each with its state."""


async def is_indexed(conn: Conn, workspace_id: str) -> bool:
    """Whether writes of records of the workspace write the index."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM models WHERE workspace_id = $1 AND is_indexed)", workspace_id
    )
    return found


async def without_index(database: Database) -> list[str]:
    """Workspaces that are to get their index now."""
    rows = await database.fetch(
        """
        SELECT workspace_id FROM models
         WHERE NOT is_indexed AND indexed_from <= now()
         LIMIT $1
        """,
        ENROLLED_AT_ONCE,
    )
    return [row["workspace_id"] for row in rows]


async def builds(conn: Conn, workspace_id: str) -> list[Build]:
    """What is being built: first what is done, then in the order in which it was requested."""
    rows = await conn.fetch(
        """
        SELECT schema_id, attribute_ids, after_created_at, after_id, is_done
          FROM search_builds
         WHERE workspace_id = $1
         ORDER BY is_done DESC, requested_at, schema_id
        """,
        workspace_id,
    )
    return [
        Build(
            row["schema_id"],
            row["attribute_ids"],
            Walk(
                [row["schema_id"]],
                int(row["is_done"]),
                None if row["after_id"] is None else (row["after_created_at"], row["after_id"]),
                ("records",),
            ),
        )
        for row in rows
    ]


async def start(
    conn: Conn, workspace_id: str, attribute_ids: Mapping[str, Collection[str]]
) -> list[str]:
    """Begin the builds of those of these schemas that have records; their ids.

    `attribute_ids` is schema id -> the attributes that wait for it. The caller holds the model
    lock.
    """
    rows = await conn.fetch(
        """
        INSERT INTO search_builds (workspace_id, schema_id, attribute_ids)
        SELECT $1, n.schema_id, ARRAY(SELECT jsonb_array_elements_text(n.attribute_ids::jsonb))
          FROM unnest($2::text[], $3::text[]) AS n (schema_id, attribute_ids)
         WHERE EXISTS (SELECT FROM records
                        WHERE workspace_id = $1 AND schema_id = n.schema_id)
            ON CONFLICT (workspace_id, schema_id)
            DO UPDATE SET attribute_ids = excluded.attribute_ids, after_created_at = NULL,
                          after_id = NULL, is_done = false
        RETURNING schema_id
        """,
        workspace_id,
        list(attribute_ids),
        [orjson.dumps(sorted(each)).decode() for each in attribute_ids.values()],
    )
    return [row["schema_id"] for row in rows]


async def update(conn: Conn, workspace_id: str, schema_id: str, walk: Walk) -> None:
    """Store how far it is."""
    await conn.execute(
        """
        UPDATE search_builds
           SET is_done = $3, after_created_at = $4, after_id = $5
         WHERE workspace_id = $1 AND schema_id = $2
        """,
        workspace_id,
        schema_id,
        walk.is_over,
        *(walk.after or (None, None)),
    )


async def delete(conn: Conn, workspace_id: str, schema_id: str) -> list[str]:
    """The build has ended, or its schema; the attributes that waited for it."""
    found: list[str] | None = await conn.fetchval(
        """
        DELETE FROM search_builds
         WHERE workspace_id = $1 AND schema_id = $2
        RETURNING attribute_ids
        """,
        workspace_id,
        schema_id,
    )
    return found or []


async def set_ready(conn: Conn, workspace_id: str, attribute_ids: Collection[str]) -> None:
    """Searches may use the index for those of these attributes that no build is needed for."""
    await conn.execute(
        """
        INSERT INTO search_attributes (workspace_id, attribute_id, ready_at)
        SELECT $1, a.id, now() FROM attributes a
         WHERE a.workspace_id = $1 AND a.id = ANY($2::text[])
           AND NOT EXISTS (SELECT FROM search_builds
                            WHERE workspace_id = $1 AND a.id = ANY(attribute_ids))
            ON CONFLICT (workspace_id, attribute_id) DO UPDATE SET ready_at = excluded.ready_at
        """,
        workspace_id,
        list(attribute_ids),
    )


async def forget_attribute(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """The attribute is deleted, or not filterable any more."""
    await conn.execute(
        "DELETE FROM search_attributes WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )


async def schemas_having(conn: Conn, workspace_id: str, attribute_id: str) -> list[str]:
    """The schemas that have the attribute."""
    rows = await conn.fetch(
        """
        SELECT id FROM schemas
         WHERE workspace_id = $1
           AND jsonb_path_exists(body, '$.attributeGroups[*].attributeIds[*] ? (@ == $id)',
                                 jsonb_build_object('id', $2::text))
        """,
        workspace_id,
        attribute_id,
    )
    return [row["id"] for row in rows]


async def filterable_attributes(conn: Conn, workspace_id: str) -> list[str]:
    """All attributes that are filterable."""
    rows = await conn.fetch(
        "SELECT id, body - 'guards' AS body FROM attributes WHERE workspace_id = $1", workspace_id
    )
    return [row["id"] for row in rows if is_filterable(row["body"])]


async def all_schemas(conn: Conn, workspace_id: str) -> list[str]:
    """All schemas."""
    rows = await conn.fetch("SELECT id FROM schemas WHERE workspace_id = $1", workspace_id)
    return [row["id"] for row in rows]


async def lock_records(
    conn: Conn, workspace_id: str, record_ids: Sequence[str]
) -> AsyncIterator[list[Found]]:
    """Keep these records as they are until commit: a piece at a time, in the order of their ids."""
    reading = pieces(
        conn,
        f"""
        SELECT created_at, id, schema_id, state_id, ({values_now("records")})::text AS document
          FROM records
         WHERE workspace_id = $1 AND id = ANY($2::text[])
         ORDER BY id
           FOR SHARE
        """,  # noqa: S608 - constants
        workspace_id,
        record_ids,
        size_of=lambda row: len(row["document"]),
        room=Room(max(1, len(record_ids))),
    )
    async for rows, _ in reading:
        yield [
            Found(
                Held(row["created_at"], row["id"], row["schema_id"], row["state_id"]),
                row["document"],
            )
            for row in rows
        ]


async def entered(conn: Conn, workspace_id: str, records: Sequence[Held]) -> dict[str, Entered]:
    """What the index has of these records."""
    keys = [record.created_at for record in records], [record.id for record in records]
    # Each is looked up, by the index that has this order. PostgreSQL often knows nothing yet of a
    # workspace that is being built, and a join would read all that the index has of it.
    terms = await conn.fetch(
        """
        SELECT s.*
          FROM unnest($2::timestamptz[], $3::text[]) AS n (created_at, id)
         CROSS JOIN LATERAL (
               SELECT s.record_id, s.state_id, s.terms, s.number_keys, s.numbers
                 FROM search_records s
                WHERE s.workspace_id = $1 AND s.created_at = n.created_at AND s.record_id = n.id
                ORDER BY s.created_at, s.record_id
               OFFSET 0) AS s
        """,
        workspace_id,
        *keys,
    )
    numbers = await conn.fetch(
        """
        SELECT s.*
          FROM unnest($2::timestamptz[], $3::text[]) AS n (created_at, id)
         CROSS JOIN LATERAL (
               SELECT s.record_id, s.attribute_key, s.entry, s.number, s.state_id
                 FROM search_numbers s
                WHERE s.workspace_id = $1 AND s.created_at = n.created_at AND s.record_id = n.id
                ORDER BY s.created_at, s.record_id, s.attribute_key, s.entry
               OFFSET 0) AS s
        """,
        workspace_id,
        *keys,
    )
    of_record: dict[str, list[tuple[int, int, float, str | None]]] = {}
    for record_id, key, entry, number, state_id in numbers:
        of_record.setdefault(record_id, []).append((key, entry, number, state_id))
    found = {
        row["record_id"]: Entered(
            row["state_id"],
            row["terms"],
            None if row["number_keys"] is None else (row["number_keys"], row["numbers"]),
            of_record.pop(row["record_id"], []),
        )
        for row in terms
    }
    return found | {each: Entered(None, None, None, held) for each, held in of_record.items()}


async def has_written(conn: Conn, workspace_id: str, schema_id: str, *, more_than: int) -> bool:
    """Whether more records than that are noted."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM search_written
                        WHERE workspace_id = $1 AND schema_id = $2
                       OFFSET $3::bigint)
        """,
        workspace_id,
        schema_id,
        more_than,
    )
    return found


async def written(
    conn: Conn, workspace_id: str, schema_id: str, *, rows_max: int
) -> list[tuple[datetime, str]]:
    """Records of a schema that were written while it is being built: at most so many."""
    rows = await conn.fetch(
        """
        SELECT created_at, record_id FROM search_written
         WHERE workspace_id = $1 AND schema_id = $2
         ORDER BY created_at, record_id
         LIMIT $3
        """,
        workspace_id,
        schema_id,
        rows_max,
    )
    return [(row["created_at"], row["record_id"]) for row in rows]


async def forget_written(
    conn: Conn, workspace_id: str, schema_id: str, records: Sequence[tuple[datetime, str]]
) -> None:
    """Note these records no more. Whoever does it holds their locks, as a write that notes them.

    A write locks its record and then notes it. Two that did so in the other order would wait for
    each other, until PostgreSQL ends one of them a second later.
    """
    await conn.execute(
        """
        DELETE FROM search_written w
         USING unnest($3::timestamptz[], $4::text[]) AS n (created_at, record_id)
         WHERE w.workspace_id = $1 AND w.schema_id = $2
           AND w.created_at = n.created_at AND w.record_id = n.record_id
        """,
        workspace_id,
        schema_id,
        [created_at for created_at, _ in records],
        [record_id for _, record_id in records],
    )


async def remove(conn: Conn, workspace_id: str, records: Sequence[tuple[datetime, str]]) -> None:
    """Take records that are deleted out of the index."""
    await conn.execute(
        f"""
        WITH gone AS (
            SELECT created_at, id FROM unnest($2::timestamptz[], $3::text[]) AS n (created_at, id)
        ), {parts.unindexed("gone")}
        SELECT 1
        """,  # noqa: S608 - constants
        workspace_id,
        [created_at for created_at, _ in records],
        [record_id for _, record_id in records],
    )


async def enter(conn: Conn, workspace_id: str, changes: Sequence[tuple[Held, IndexChange]]) -> None:
    """Write what differs of records that the caller has locked."""
    await conn.execute(
        f"WITH {parts.changed(2, 'true')} SELECT 1",
        workspace_id,
        *parts.changed_arguments(changes),
    )
