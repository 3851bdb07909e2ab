"""The SQL of proposed changes; what they change is written by `writes`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from records_service.model_objects.converted_values import values_now
from shared.database import Conn, Record

HELD_MAX: Final = 100_000
"""Unique values of which it is looked at who takes them, for one change set."""
_ONLY: Final = """
    (SELECT jsonb_object_agg(entry.key, entry.value)
       FROM jsonb_each(({values})::jsonb) AS entry
      WHERE entry.key = ANY($3::text[]))::text
"""


async def records_of(
    conn: Conn, workspace_id: str, ids: Sequence[str], attribute_ids: Collection[str]
) -> dict[str, Record]:
    """Id -> schema, state and the values of these attributes, of those records that exist."""
    rows = await conn.fetch(
        f"""
        SELECT r.id, r.schema_id, r.state_id, {_ONLY.format(values=values_now("r"))} AS document
          FROM records r
         WHERE r.workspace_id = $1 AND r.id = ANY($2::text[])
        """,  # noqa: S608 - constants
        workspace_id,
        list(ids),
        list(attribute_ids),
    )
    return {row["id"]: row for row in rows}


async def variants_of(
    conn: Conn, workspace_id: str, ids: Sequence[str], attribute_ids: Collection[str]
) -> dict[str, Record]:
    """Id -> record and the own values of these attributes, of those variants that exist."""
    rows = await conn.fetch(
        f"""
        SELECT v.id, v.record_id, {_ONLY.format(values=values_now("v"))} AS document
          FROM variants v
         WHERE v.workspace_id = $1 AND v.id = ANY($2::text[])
        """,  # noqa: S608 - constants
        workspace_id,
        list(ids),
        list(attribute_ids),
    )
    return {row["id"]: row for row in rows}


async def unique_values_of(
    conn: Conn, workspace_id: str, record_ids: Sequence[str]
) -> dict[str, list[tuple[str, bytes]]] | None:
    """Record id -> attribute and hash of each unique value that it and its variants hold.

    None if they hold more than `HELD_MAX` of them.
    """
    if not record_ids:
        return {}
    rows = await conn.fetch(
        """
        SELECT record_id, attribute_id, value_hash FROM unique_values
         WHERE workspace_id = $1 AND record_id = ANY($2::text[])
         LIMIT $3
        """,
        workspace_id,
        list(record_ids),
        HELD_MAX + 1,
    )
    if len(rows) > HELD_MAX:
        return None
    held: dict[str, list[tuple[str, bytes]]] = {}
    for row in rows:
        held.setdefault(row["record_id"], []).append((row["attribute_id"], row["value_hash"]))
    return held


async def lock_variants(conn: Conn, workspace_id: str, ids: Sequence[str]) -> None:
    """Lock these variants until the end of the transaction, in the order of their ids."""
    await conn.execute(
        """
        SELECT id FROM variants
         WHERE workspace_id = $1 AND id = ANY($2::text[])
         ORDER BY id
           FOR UPDATE
        """,
        workspace_id,
        list(ids),
    )


async def begin(
    conn: Conn, workspace_id: str, change_set_id: str, attempt: int, user_id: str
) -> bool:
    """Note that this attempt is being made; False if it was made or withdrawn before.

    Waits for another transaction that is just making it.
    """
    begun = await conn.fetchval(
        """
        INSERT INTO applied_change_sets (workspace_id, change_set_id, attempt, user_id)
        VALUES ($1, $2, $3, $4)
            ON CONFLICT (workspace_id, change_set_id, attempt) DO NOTHING
        RETURNING true
        """,
        workspace_id,
        change_set_id,
        attempt,
        user_id,
    )
    return begun is not None


async def keep_results(
    conn: Conn, workspace_id: str, change_set_id: str, attempt: int, results: Any
) -> None:
    """Keep what the attempt did, for whoever asks again."""
    await conn.execute(
        """
        UPDATE applied_change_sets SET results = $4
         WHERE workspace_id = $1 AND change_set_id = $2 AND attempt = $3
        """,
        workspace_id,
        change_set_id,
        attempt,
        results,
    )


async def done(
    conn: Conn, workspace_id: str, change_set_id: str, attempt: int
) -> dict[str, Any] | None:
    """What the attempt did, and who made it; None if it was withdrawn, or was never made."""
    row = await conn.fetchrow(
        """
        SELECT results, user_id FROM applied_change_sets
         WHERE workspace_id = $1 AND change_set_id = $2 AND attempt = $3 AND results IS NOT NULL
        """,
        workspace_id,
        change_set_id,
        attempt,
    )
    return None if row is None else {"results": row["results"], "userId": row["user_id"]}


async def name_change_set(conn: Conn, change_set_id: str) -> None:
    """All entries of the history that this transaction writes name the change set.

    The column has this setting as its default, so that no statement that writes the history has to
    know of it.
    """
    await conn.fetchval("SELECT set_config('sigma.change_set', $1, true)", change_set_id)
