"""SQL: conversions whose jobs go on, what was prepared for them, and what cannot be converted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import orjson

from records_service.conversions.model import Conversion, Phase
from records_service.model_objects.model import ModelObject
from records_service.model_objects.search_store import ValueTable
from records_service.option_lists.model import OptionList
from records_service.option_lists.store import WITH_OPTIONS
from records_service.schema_walks.model import Meanwhile, Walk
from shared.database import Conn

FAULTS_FORGOTTEN_AT_ONCE: Final = 5_000


async def insert(conn: Conn, workspace_id: str, one: Conversion) -> None:
    """Remember what is to be converted. The caller holds the model lock."""
    await conn.execute(
        """
        INSERT INTO conversions (workspace_id, attribute_id, user_id, form, before, drops, phase,
                                 schema_ids, schemas_done, last_change)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)
        """,
        workspace_id,
        one.attribute_id,
        one.user_id,
        dict(one.form),
        dict(one.before),
        one.drops,
        one.phase,
        list(one.walk.schema_ids),
        one.meanwhile.since,
    )


async def find(conn: Conn, workspace_id: str, attribute_id: str) -> Conversion | None:
    """The conversion of this attribute, if one goes on.

    One that a process of an earlier version has begun begins again.
    """
    row = await conn.fetchrow(
        """
        SELECT attribute_id, user_id, form, before, drops, phase, schema_ids, schemas_done,
               after_created_at, after_id, last_change, complete_until
          FROM conversions
         WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        attribute_id,
    )
    if row is None:
        return None
    phase, walk = Phase.PREPARING, Walk(row["schema_ids"])
    if row["phase"] in set(Phase):
        after = None if row["after_id"] is None else (row["after_created_at"], row["after_id"])
        phase, walk = Phase(row["phase"]), Walk(row["schema_ids"], row["schemas_done"], after)
    return Conversion(
        row["attribute_id"],
        row["user_id"],
        row["form"],
        row["before"],
        row["drops"],
        phase,
        walk,
        Meanwhile(row["last_change"], row["complete_until"]),
    )


async def is_settling(conn: Conn, workspace_id: str) -> bool:
    """Whether some conversion of the workspace is being stored in its records."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM models WHERE workspace_id = $1 AND settling IS NOT NULL)
        """,
        workspace_id,
    )
    return found


async def update(conn: Conn, workspace_id: str, one: Conversion) -> None:
    """Store how far it is."""
    await conn.execute(
        """
        UPDATE conversions
           SET phase = $3, schemas_done = $4, after_created_at = $5, after_id = $6,
               last_change = $7, complete_until = $8
         WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        one.attribute_id,
        one.phase,
        one.walk.done,
        *(one.walk.after or (None, None)),
        one.meanwhile.since,
        one.meanwhile.until,
    )


async def delete(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Nothing is left to do."""
    await conn.execute(
        "DELETE FROM conversions WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )


async def note_faults(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    looked_at: Collection[tuple[ValueTable, str]],
    faulty: Collection[tuple[ValueTable, str]],
) -> int:
    """Remember which of those looked at cannot be converted; how many more there are than before.

    Each is given by its table and id.
    """
    more: int = await conn.fetchval(
        """
        WITH looked AS MATERIALIZED (
            SELECT * FROM unnest($3::text[], $4::text[]) AS l (kind, id)
        ), faulty AS MATERIALIZED (
            SELECT * FROM unnest($5::text[], $6::text[]) AS f (kind, id)
        ), gone AS (
            DELETE FROM conversion_holders h
             USING looked l
             WHERE h.workspace_id = $1 AND h.attribute_id = $2 AND h.kind = l.kind AND h.id = l.id
               AND NOT EXISTS (SELECT FROM faulty f WHERE f.kind = l.kind AND f.id = l.id)
            RETURNING 1
        ), noted AS (
            INSERT INTO conversion_holders (workspace_id, attribute_id, kind, id)
            SELECT $1, $2, kind, id FROM faulty
                ON CONFLICT DO NOTHING
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM noted) - (SELECT count(*) FROM gone)
        """,
        workspace_id,
        attribute_id,
        [table for table, _ in looked_at],
        [one_id for _, one_id in looked_at],
        [table for table, _ in faulty],
        [one_id for _, one_id in faulty],
    )
    return more


async def has_faults(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """Whether a record or variant has a value that cannot be converted."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM conversion_holders WHERE workspace_id = $1 AND attribute_id = $2)
        """,
        workspace_id,
        attribute_id,
    )
    return found


async def forget_faults(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """Forget some of what could not be converted; whether there may be more."""
    tag = await conn.execute(
        """
        DELETE FROM conversion_holders h
         USING (SELECT kind, id FROM conversion_holders
                 WHERE workspace_id = $1 AND attribute_id = $2
                 LIMIT $3::bigint) AS next
         WHERE h.workspace_id = $1 AND h.attribute_id = $2 AND h.kind = next.kind
           AND h.id = next.id
        """,
        workspace_id,
        attribute_id,
        FAULTS_FORGOTTEN_AT_ONCE,
    )
    return tag != "DELETE 0"


async def option_lists(
    conn: Conn, workspace_id: str, list_ids: Collection[str]
) -> dict[str, OptionList]:
    """These option lists, small ones with their options."""
    rows = await conn.fetch(
        f"""
        SELECT id, alias, ({WITH_OPTIONS})::text AS body, version, created_at, updated_at
          FROM option_lists p
         WHERE workspace_id = $1 AND id = ANY($2::text[]) AND NOT is_deleted
        """,  # noqa: S608 - a constant
        workspace_id,
        list(list_ids),
    )
    return {
        row["id"]: OptionList.parse(ModelObject(**{**row, "body": orjson.loads(row["body"])}))
        for row in rows
    }
