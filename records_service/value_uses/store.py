"""SQL: the marks of a workspace, and the walk that sets those of older records.

A mark is never missing: a write sets it before the value is stored, in a transaction that ends no
later. It is removed only under the model lock, with a new version of the model, so that a write
that took it for granted is refused (docs/adr/0075).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from records_service.model_objects.converted_values import values_now
from records_service.model_objects.search_store import VALUE_TABLES, ValueTable
from records_service.schema_walks.model import Walk
from records_service.value_uses.model import ANY_SCOPE, Marks, Use
from shared.database import Conn, Database

BEGUN_AT_ONCE: Final = 100
WITNESSES_MAX: Final = 20


async def keep(conn: Conn, workspace_id: str, uses: Mapping[Use, str]) -> bool:
    """Set the marks that are missing, each with who has such a value; whether one was missing.

    Two that set one mark at the same moment both set it: nobody waits for another's transaction.
    """
    rows = await conn.fetch(
        """
        INSERT INTO value_uses (workspace_id, attribute_id, dimension_id, segment_id, in_variants,
                                holder_id)
        SELECT $1, n.attribute_id, n.dimension_id, n.segment_id, n.in_variants, n.holder_id
          FROM unnest($2::text[], $3::text[], $4::text[], $5::boolean[], $6::text[])
               AS n (attribute_id, dimension_id, segment_id, in_variants, holder_id)
         WHERE NOT EXISTS (
               SELECT FROM value_uses u
                WHERE u.workspace_id = $1 AND u.attribute_id = n.attribute_id
                  AND u.dimension_id = n.dimension_id AND u.segment_id = n.segment_id
                  AND u.in_variants = n.in_variants)
        RETURNING 1
        """,
        workspace_id,
        [use.attribute_id for use in uses],
        [use.dimension_id for use in uses],
        [use.segment_id for use in uses],
        [use.table == "variants" for use in uses],
        list(uses.values()),
    )
    return bool(rows)


async def marks(
    conn: Conn,
    workspace_id: str,
    attribute_ids: Collection[str],
    dimension_id: str = ANY_SCOPE,
    segment_ids: Collection[str] = (ANY_SCOPE,),
) -> Marks | None:
    """The marks of these attributes, in one of these segments; None where older records have none.

    Under the model lock they are those of all values that are stored.
    """
    known: bool | None = await conn.fetchval(
        "SELECT are_uses_known FROM models WHERE workspace_id = $1", workspace_id
    )
    if not known:
        return None
    rows = await conn.fetch(
        """
        SELECT in_variants, attribute_id, min(holder_id) AS holder_id,
               nullif(min(since), '-infinity') AS since
          FROM value_uses
         WHERE workspace_id = $1 AND attribute_id = ANY($2::text[]) AND dimension_id = $3
           AND segment_id = ANY($4::text[])
         GROUP BY in_variants, attribute_id
         ORDER BY in_variants, attribute_id
        """,
        workspace_id,
        list(attribute_ids),
        dimension_id,
        list(segment_ids),
    )
    found = {
        table: [row for row in rows if row["in_variants"] == (table == "variants")]
        for table in VALUE_TABLES
    }
    times = [row["since"] for row in rows]
    return Marks(
        {table: frozenset(row["attribute_id"] for row in of) for table, of in found.items()},
        {
            table: list(dict.fromkeys(row["holder_id"] for row in of))[:WITNESSES_MAX]
            for table, of in found.items()
        },
        None if None in times else min(times, default=None),
    )


async def tell_holder(
    conn: Conn, workspace_id: str, use: Use, attribute_ids: Collection[str], holder_id: str
) -> None:
    """Remember who has such a value: asked first the next time."""
    await conn.execute(
        """
        UPDATE value_uses SET holder_id = $6
         WHERE workspace_id = $1 AND attribute_id = ANY($2::text[]) AND dimension_id = $3
           AND segment_id = $4 AND in_variants = $5
        """,
        workspace_id,
        list(attribute_ids),
        use.dimension_id,
        use.segment_id,
        use.table == "variants",
        holder_id,
    )


async def forget_attribute(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Nothing has a value of the attribute. The caller has raised the version of the model."""
    await conn.execute(
        "DELETE FROM value_uses WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )


async def forget_segments(
    conn: Conn, workspace_id: str, dimension_id: str, segment_ids: Collection[str]
) -> None:
    """Nothing has a value in these segments. The caller has raised the version of the model."""
    await conn.execute(
        """
        DELETE FROM value_uses
         WHERE workspace_id = $1 AND dimension_id = $2 AND segment_id = ANY($3::text[])
        """,
        workspace_id,
        dimension_id,
        list(segment_ids),
    )


async def workspaces_unknown(database: Database) -> list[str]:
    """Workspaces whose older records are to get their marks now, and whose walk has not begun."""
    rows = await database.fetch(
        """
        SELECT m.workspace_id FROM models m
         WHERE NOT m.are_uses_known AND m.uses_from <= now()
           AND NOT EXISTS (SELECT FROM value_use_walks w WHERE w.workspace_id = m.workspace_id)
         LIMIT $1
        """,
        BEGUN_AT_ONCE,
    )
    return [row["workspace_id"] for row in rows]


async def begin_walk(conn: Conn, workspace_id: str) -> bool:
    """Begin the walk through all records that there are; False if another process has begun it."""
    begun: str | None = await conn.fetchval(
        """
        INSERT INTO value_use_walks (workspace_id, schema_ids)
        SELECT $1, ARRAY(SELECT id FROM schemas WHERE workspace_id = $1 ORDER BY id)
            ON CONFLICT DO NOTHING
        RETURNING workspace_id
        """,
        workspace_id,
    )
    return begun is not None


async def find_walk(conn: Conn, workspace_id: str) -> Walk | None:
    """The walk of the workspace, if it is under way."""
    row = await conn.fetchrow(
        """
        SELECT schema_ids, schemas_done, after_created_at, after_id
          FROM value_use_walks
         WHERE workspace_id = $1
        """,
        workspace_id,
    )
    if row is None:
        return None
    after = None if row["after_id"] is None else (row["after_created_at"], row["after_id"])
    return Walk(row["schema_ids"], row["schemas_done"], after)


async def keep_walk(conn: Conn, workspace_id: str, walk: Walk) -> None:
    """Store how far the walk is."""
    await conn.execute(
        """
        UPDATE value_use_walks SET schemas_done = $2, after_created_at = $3, after_id = $4
         WHERE workspace_id = $1
        """,
        workspace_id,
        walk.done,
        *(walk.after or (None, None)),
    )


async def end_walk(conn: Conn, workspace_id: str) -> None:
    """The walk is over."""
    await conn.execute("DELETE FROM value_use_walks WHERE workspace_id = $1", workspace_id)


async def mark_stored(
    conn: Conn, workspace_id: str, table: ValueTable, ids: Collection[str]
) -> None:
    """Set the marks of what these records or variants have.

    Also beside younger marks: these say that no older value is there.
    """
    await conn.execute(
        f"""
        INSERT INTO value_uses (workspace_id, attribute_id, dimension_id, segment_id, in_variants,
                                holder_id, since)
        SELECT $1, held.attribute_id, held.dimension_id, held.segment_id, $3, min(held.id),
               '-infinity'
          FROM (SELECT r.id, value.key AS attribute_id, place.dimension_id, place.segment_id
                  FROM (SELECT id, {values_now(table)} AS values FROM {table}
                         WHERE workspace_id = $1 AND id = ANY($2::text[])) AS r
                 CROSS JOIN LATERAL jsonb_each(r.values) AS value
                 CROSS JOIN LATERAL (
                       SELECT '' AS dimension_id, '' AS segment_id
                        UNION ALL
                       SELECT pair.key, pair.value
                         FROM jsonb_path_query(value.value, '$[*].scope') AS scope
                        CROSS JOIN LATERAL jsonb_each_text(scope) AS pair) AS place) AS held
         WHERE NOT EXISTS (
               SELECT FROM value_uses u
                WHERE u.workspace_id = $1 AND u.attribute_id = held.attribute_id
                  AND u.dimension_id = held.dimension_id AND u.segment_id = held.segment_id
                  AND u.in_variants = $3 AND u.since = '-infinity')
         GROUP BY held.attribute_id, held.dimension_id, held.segment_id
        RETURNING 1
        """,  # noqa: S608 - constants
        workspace_id,
        list(ids),
        table == "variants",
    )
