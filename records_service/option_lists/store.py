"""SQL of option lists: as they are answered, and as processes hold them."""

from __future__ import annotations

from records_service.model_objects.model import ModelObject
from records_service.model_objects.size import bytes_of_object, counted
from records_service.option_lists.model import (
    HELD_VALUES_MAX,
    LISTED_VALUES_MAX,
    OPTION_LIST,
    VALUES_MAX,
)
from shared.database import Conn
from shared.database.listing import WHOLE, Narrowing, Piece, Position
from shared.errors import NotFound

PIECE_VALUES = 10_000

_FIRST = """
         (SELECT * FROM option_values
           WHERE workspace_id = p.workspace_id AND list_id = p.id
           ORDER BY sort_order, label, id
           LIMIT {limit})"""
"""The first options of a list `p`: ordered, because PostgreSQL reads the whole table for those of a
small list if another has most of it. By the index of this order it reads no more."""
WITH_VALUES = f"""
    p.body || jsonb_build_object('values', coalesce((
        SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                   'id', v.id, 'alias', v.alias, 'label', v.label, 'sortOrder', v.sort_order,
                   'color', v.color, 'parentId', v.parent_id,
                   'labels', v.labels, 'externalKey', v.external_key
               )) ORDER BY v.sort_order, v.label, v.id)
          FROM {_FIRST.format(limit=VALUES_MAX)} AS v
    ), '[]'))
"""  # noqa: S608 - a constant
"""The body of an option list `p` with its options, of which it has no more than one answer."""
WITH_OPTIONS = f"""
    json_build_object('name', p.body -> 'name', 'hierarchical', p.body -> 'hierarchical',
                      'values', (
        SELECT CASE WHEN count(*) <= {HELD_VALUES_MAX}
                    THEN coalesce(json_agg(json_build_array(v.id, v.alias, v.label, v.labels)
                                           ORDER BY v.sort_order, v.label, v.id), '[]') END
          FROM {_FIRST.format(limit=HELD_VALUES_MAX + 1)} AS v))
"""  # noqa: S608 - a constant
"""An option list `p` for `OptionList.parse`: a third of what is answered, and json, which
PostgreSQL writes as it is and does not take apart again. A large list has no values: null."""
_COUNT = """(
    CASE WHEN p.counted_version = p.version THEN p.value_count
         ELSE (SELECT count(*) FROM option_values v
                WHERE v.workspace_id = p.workspace_id AND v.list_id = p.id) END
)"""
"""How many options a list `p` has. They are counted where a process of an earlier version of this
code has changed the list, which counts nothing."""
_WHOLE = f"""
    CASE WHEN {_COUNT} <= {VALUES_MAX}
         THEN {WITH_VALUES} ELSE p.body || '{{"values": []}}'::jsonb END
    || jsonb_build_object('valueCount', {_COUNT}, 'valuesComplete', {_COUNT} <= {VALUES_MAX})
"""
"""As it is answered."""


async def page(
    conn: Conn, workspace_id: str, after: Position, narrowing: Narrowing = WHOLE
) -> Piece:
    """As `model_objects.store.page`, with the values of each list: some `PIECE_VALUES` in all."""
    rows = await conn.fetch(
        f"""
        WITH next AS MATERIALIZED (
            SELECT p.created_at, p.id, {_COUNT} AS count
              FROM option_lists p
             WHERE p.workspace_id = $1 AND (p.created_at, p.id) > ($2, $3) AND NOT p.is_deleted
                   {narrowing.condition}
             ORDER BY p.created_at, p.id
             LIMIT $4
        ), fitting AS (
            SELECT id, count, coalesce(sum(
                       CASE WHEN count <= {LISTED_VALUES_MAX} THEN count ELSE 0 END) OVER (
                           ORDER BY created_at, id
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS values_before
              FROM next
        )
        SELECT p.id, p.alias,
               (CASE WHEN f.count <= {LISTED_VALUES_MAX} THEN {WITH_VALUES}
                     ELSE p.body || '{{"values": []}}'::jsonb END
                || jsonb_build_object('valueCount', f.count, 'valuesComplete',
                                      f.count <= {LISTED_VALUES_MAX})
               )::text AS body,
               p.version, p.created_at, p.updated_at,
               (SELECT count(*) FROM next) AS candidates
          FROM fitting f
          JOIN option_lists p ON p.workspace_id = $1 AND p.id = f.id
         WHERE f.values_before < $5
         ORDER BY p.created_at, p.id
        """,  # noqa: S608
        workspace_id,
        *after,
        narrowing.rows,
        PIECE_VALUES,
        *narrowing.arguments,
    )
    return rows, bool(rows) and (len(rows) < rows[0]["candidates"] or len(rows) == narrowing.rows)


async def get(conn: Conn, workspace_id: str, list_id: str) -> ModelObject:
    """One option list with its values, or `NotFound`."""
    row = await conn.fetchrow(
        f"""
        SELECT p.id, p.alias, ({_WHOLE}) AS body, p.version, p.created_at, p.updated_at
          FROM option_lists p
         WHERE p.workspace_id = $1 AND p.id = $2 AND NOT p.is_deleted
        """,  # noqa: S608
        workspace_id,
        list_id,
    )
    if row is None:
        raise NotFound.of(OPTION_LIST.title, list_id)
    return ModelObject(**row)


async def count(conn: Conn, workspace_id: str, list_id: str) -> int:
    """How many options a list has; 0 for none that exists."""
    found: int | None = await conn.fetchval(
        f"SELECT {_COUNT} FROM option_lists p WHERE p.workspace_id = $1 AND p.id = $2",  # noqa: S608
        workspace_id,
        list_id,
    )
    return found or 0


async def set_count(conn: Conn, workspace_id: str, list_id: str, count: int) -> None:
    """How many options a list has in its present version. The caller holds the model lock."""
    await conn.execute(
        """
        UPDATE option_lists SET value_count = $3, counted_version = version
         WHERE workspace_id = $1 AND id = $2
        """,
        workspace_id,
        list_id,
        count,
    )


async def count_of_workspace(conn: Conn, workspace_id: str) -> int:
    """How many options all lists of a workspace have."""
    found: int = await conn.fetchval(
        f"""
        SELECT coalesce(sum({_COUNT}), 0)::bigint FROM option_lists p
         WHERE p.workspace_id = $1 AND NOT p.is_deleted
        """,  # noqa: S608
        workspace_id,
    )
    return found


async def hide(conn: Conn, workspace_id: str, list_id: str, *, held_bytes: int) -> None:
    """A list with many options is deleted: its alias and external key are free, nothing finds it.

    Its alias becomes one that nobody can ask for. `held_bytes` are those of its options.
    """
    async with counted(conn, workspace_id) as growth:
        growth.objects = -1
        growth.bytes = -held_bytes - await conn.fetchval(
            f"""
            UPDATE option_lists p
               SET is_deleted = true, alias = 'deleted ' || p.id,
                   body = p.body - 'externalKey', changed_in = m.version
              FROM models m, option_lists old
             WHERE p.workspace_id = $1 AND p.id = $2 AND m.workspace_id = $1
               AND old.workspace_id = $1 AND old.id = $2
            RETURNING {bytes_of_object("old")}
            """,  # noqa: S608
            workspace_id,
            list_id,
        )


async def is_going(conn: Conn, workspace_id: str, list_id: str) -> bool:
    """Whether the list was deleted, and its options are being removed."""
    return await deleted_up_to(conn, workspace_id, list_id) is not None


async def deleted_up_to(conn: Conn, workspace_id: str, list_id: str) -> str | None:
    """Up to which id the options of a hidden list are removed; None for a list that is none."""
    last: str | None = await conn.fetchval(
        """
        SELECT coalesce(deleted_up_to, '') FROM option_lists
         WHERE workspace_id = $1 AND id = $2 AND is_deleted
        """,
        workspace_id,
        list_id,
    )
    return last


async def set_deleted_up_to(conn: Conn, workspace_id: str, list_id: str, last: str) -> None:
    """The options of a hidden list up to this id are removed."""
    async with counted(conn, workspace_id):
        await conn.execute(
            "UPDATE option_lists SET deleted_up_to = $3 WHERE workspace_id = $1 AND id = $2",
            workspace_id,
            list_id,
            last,
        )


async def delete_hidden(conn: Conn, workspace_id: str, list_id: str) -> None:
    """Delete the row of a hidden list, and with it options that older code has added meanwhile."""
    async with counted(conn, workspace_id):
        await conn.execute(
            "DELETE FROM option_lists WHERE workspace_id = $1 AND id = $2 AND is_deleted",
            workspace_id,
            list_id,
        )
