"""SQL of options: one row each, so that adding one to ten thousand writes one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from records_service.model_objects import store as model_objects
from records_service.model_objects.model import ModelObject
from records_service.model_objects.size import counted
from records_service.option_lists.filters import OptionValueFilter
from records_service.option_lists.model import (
    HELD_VALUES_MAX,
    LISTED_VALUES_MAX,
    OPTION_LIST,
    VALUE_TITLE,
    VALUES_MAX,
    OptionValue,
)
from records_service.paging import Key, Order, Part, Place, Total
from shared.database import Conn, Record, mapping_constraints
from shared.database.listing import PIECE_ROWS, WHOLE, Narrowing, Piece, Position
from shared.errors import Conflict, NotFound, truncated

PIECE_VALUES = 10_000

_VALUE = "id, alias, label, sort_order, color, parent_id, labels, external_key"
WITH_VALUES = """
    p.body || jsonb_build_object('values', coalesce((
        SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                   'id', v.id, 'alias', v.alias, 'label', v.label, 'sortOrder', v.sort_order,
                   'color', v.color, 'parentId', v.parent_id,
                   'labels', v.labels, 'externalKey', v.external_key
               )) ORDER BY v.sort_order, v.label, v.id)
          FROM option_values v
         WHERE v.workspace_id = p.workspace_id AND v.list_id = p.id
    ), '[]'))
"""
"""The body of an option list `p` with its options."""
WITH_OPTIONS = f"""
    json_build_object('name', p.body -> 'name', 'hierarchical', p.body -> 'hierarchical',
                      'values', (
        SELECT CASE WHEN count(*) <= {HELD_VALUES_MAX}
                    THEN coalesce(json_agg(json_build_array(v.id, v.alias, v.label, v.labels)
                                           ORDER BY v.sort_order, v.label, v.id), '[]') END
          FROM (SELECT id, alias, label, labels, sort_order FROM option_values
                 WHERE workspace_id = p.workspace_id AND list_id = p.id
                 LIMIT {HELD_VALUES_MAX + 1}) AS v))
"""  # noqa: S608 - a constant
"""An option list `p` for `OptionList.parse`: a third of what is answered, and json, which
PostgreSQL writes as it is and does not take apart again. A large list has no values: null."""
_COUNT = """(
    SELECT count(*) FROM option_values v WHERE v.workspace_id = p.workspace_id AND v.list_id = p.id
)"""
_WHOLE = f"""
    CASE WHEN {_COUNT} <= {VALUES_MAX}
         THEN {WITH_VALUES} ELSE p.body || '{{"values": []}}'::jsonb END
    || jsonb_build_object('valueCount', {_COUNT}, 'valuesComplete', {_COUNT} <= {VALUES_MAX})
"""
"""As it is answered."""
IN_ORDER: Final[Order] = (Key("sort_order", float), Key("label", str), Key("id", str))


async def page(
    conn: Conn, workspace_id: str, after: Position, narrowing: Narrowing = WHOLE
) -> Piece:
    """As `model_objects.store.page`, with the values of each list: some `PIECE_VALUES` in all."""
    rows = await conn.fetch(
        f"""
        WITH next AS MATERIALIZED (
            SELECT p.created_at, p.id,
                   (SELECT count(*) FROM option_values v
                     WHERE v.workspace_id = p.workspace_id AND v.list_id = p.id) AS count
              FROM option_lists p
             WHERE p.workspace_id = $1 AND (p.created_at, p.id) > ($2, $3) {narrowing.condition}
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
        PIECE_ROWS,
        PIECE_VALUES,
        *narrowing.arguments,
    )
    return rows, bool(rows) and (len(rows) < rows[0]["candidates"] or len(rows) == PIECE_ROWS)


async def get(conn: Conn, workspace_id: str, list_id: str) -> ModelObject:
    """One option list with its values, or `NotFound`."""
    row = await conn.fetchrow(
        f"""
        SELECT p.id, p.alias, ({_WHOLE}) AS body, p.version, p.created_at, p.updated_at
          FROM option_lists p
         WHERE p.workspace_id = $1 AND p.id = $2
        """,  # noqa: S608
        workspace_id,
        list_id,
    )
    if row is None:
        raise NotFound.of(OPTION_LIST.title, list_id)
    return ModelObject(**row)


async def value_page(
    conn: Conn, workspace_id: str, list_id: str, asked: OptionValueFilter, place: Place
) -> tuple[Part[Record], Total | None]:
    """Rows for `shown_value` in the order of the list, and how many there are in all."""
    source = "option_values WHERE workspace_id = $1 AND list_id = $2"
    arguments: list[Any] = [workspace_id, list_id]
    if asked.parent_id == "":
        source += " AND parent_id IS NULL"
    elif asked.parent_id is not None:
        arguments.append(asked.parent_id)
        source += f" AND parent_id = ${len(arguments)}"
    if asked.external_key is not None:
        arguments.append(asked.external_key)
        source += f" AND external_key = ${len(arguments)}"
    if asked.query is not None:
        arguments.append(asked.query)
        text = f"lower(${len(arguments)})"
        source += f""" AND (
            position({text} IN lower(label)) > 0 OR position({text} IN lower(alias)) > 0
            OR position({text} IN lower(external_key)) > 0
            OR EXISTS (SELECT FROM jsonb_each_text(labels) AS l (language, label)
                        WHERE position({text} IN lower(l.label)) > 0))"""
    wanted = place.select(_VALUE, source, arguments)
    found = await conn.fetch(
        f"""
        WITH wanted AS MATERIALIZED ({wanted})
        SELECT w.*, head.counted
          FROM ({place.count(source)}) AS head (counted)
          LEFT JOIN wanted w ON true
         ORDER BY {place.order_by}
        """,  # noqa: S608 - conditions are the fixed fragments above, values are arguments
        *arguments,
    )
    rows = [row for row in found if row["id"] is not None]
    part = place.part(rows)
    return part, await place.total(conn, part, found[0]["counted"], source, arguments)


def shown_value(row: Record) -> dict[str, Any]:
    """The public object in a row of `value_page`."""
    return _value(row).to_public()


def position(row: Record) -> list[Any]:
    """Where this row is in the order of the list."""
    return [row[key.column] for key in IN_ORDER]


async def list_values(conn: Conn, workspace_id: str, list_id: str) -> list[OptionValue]:
    """The values of one list, in order."""
    rows = await conn.fetch(
        f"""
        SELECT {_VALUE} FROM option_values
         WHERE workspace_id = $1 AND list_id = $2
         ORDER BY sort_order, label, id
        """,  # noqa: S608
        workspace_id,
        list_id,
    )
    return [_value(row) for row in rows]


async def find_value(
    conn: Conn, workspace_id: str, list_id: str, value_id: str
) -> OptionValue | None:
    """One value of a list, or None."""
    row = await conn.fetchrow(
        f"""
        SELECT {_VALUE} FROM option_values
         WHERE workspace_id = $1 AND list_id = $2 AND id = $3
        """,  # noqa: S608
        workspace_id,
        list_id,
        value_id,
    )
    return None if row is None else _value(row)


async def get_value(conn: Conn, workspace_id: str, list_id: str, value_id: str) -> OptionValue:
    """One value of a list, or `NotFound`."""
    value = await find_value(conn, workspace_id, list_id, value_id)
    if value is None:
        raise NotFound.of(VALUE_TITLE, value_id)
    return value


async def extent(conn: Conn, workspace_id: str, list_id: str) -> tuple[int, float]:
    """How many values a list has, and the greatest place; -1 in an empty list."""
    row = await conn.fetchrow(
        """
        SELECT count(*) AS count, coalesce(max(sort_order), -1) AS last FROM option_values
         WHERE workspace_id = $1 AND list_id = $2
        """,
        workspace_id,
        list_id,
    )
    assert row is not None
    return row["count"], row["last"]


async def insert_values(
    conn: Conn, workspace_id: str, list_id: str, new: Sequence[OptionValue]
) -> None:
    """New values; `Conflict` for a taken id, alias or external key.

    The message names the first value: whole lists are checked before.
    """
    taken = {
        "option_values_id_taken": lambda: Conflict.taken(VALUE_TITLE, new[0].id),
        "option_values_alias_taken": lambda: _alias_taken(new[0]),
        "option_values_external_key_taken": lambda: _external_key_taken(new[0]),
    }
    async with counted(conn, workspace_id) as growth:
        with mapping_constraints(taken):
            growth.bytes = await conn.fetchval(
                f"""
            WITH written AS (
                INSERT INTO option_values AS new (workspace_id, list_id, id, alias, label,
                                                  sort_order, color, parent_id, labels,
                                                  external_key)
                SELECT $1, $2, v.id, v.alias, v.label, v.sort_order, v.color, v.parent_id,
                       v.labels, v.external_key
                  FROM unnest($3::text[], $4::text[], $5::text[], $6::float8[], $7::text[],
                              $8::text[], $9::jsonb[], $10::text[])
                       AS v (id, alias, label, sort_order, color, parent_id, labels, external_key)
                RETURNING {_bytes_of("new")} AS bytes
            )
            SELECT coalesce(sum(bytes), 0)::bigint FROM written
            """,  # noqa: S608
                workspace_id,
                list_id,
                [value.id for value in new],
                [value.alias for value in new],
                [value.label for value in new],
                [value.sort_order for value in new],
                [value.color for value in new],
                [value.parent_id for value in new],
                [_labels(value) for value in new],
                [value.external_key for value in new],
            )


async def update_value(conn: Conn, workspace_id: str, list_id: str, value: OptionValue) -> None:
    """The value as it is now; `Conflict` for a taken alias or external key."""
    taken = {
        "option_values_alias_taken": lambda: _alias_taken(value),
        "option_values_external_key_taken": lambda: _external_key_taken(value),
    }
    async with counted(conn, workspace_id) as growth:
        with mapping_constraints(taken):
            more: int | None = await conn.fetchval(
                f"""
            UPDATE option_values v
               SET alias = $4, label = $5, sort_order = $6, color = $7, parent_id = $8,
                   labels = $9, external_key = $10
              FROM option_values old
             WHERE v.workspace_id = $1 AND v.list_id = $2 AND v.id = $3
               AND old.workspace_id = $1 AND old.list_id = $2 AND old.id = $3
            RETURNING ({_bytes_of("v")}) - ({_bytes_of("old")})
            """,  # noqa: S608
                workspace_id,
                list_id,
                value.id,
                value.alias,
                value.label,
                value.sort_order,
                value.color,
                value.parent_id,
                _labels(value),
                value.external_key,
            )
        growth.bytes = more or 0


async def delete_values(
    conn: Conn, workspace_id: str, list_id: str, value_ids: Sequence[str]
) -> None:
    """Remove values; nobody has them."""
    async with counted(conn, workspace_id) as growth:
        growth.bytes = -await conn.fetchval(
            f"""
            WITH gone AS (
                DELETE FROM option_values AS old
                 WHERE workspace_id = $1 AND list_id = $2 AND id = ANY($3::text[])
                RETURNING {_bytes_of("old")} AS bytes
            )
            SELECT coalesce(sum(bytes), 0)::bigint FROM gone
            """,  # noqa: S608
            workspace_id,
            list_id,
            list(value_ids),
        )


async def delete_all_values(conn: Conn, workspace_id: str, list_id: str) -> None:
    """Remove the values of a list that is about to be deleted."""
    async with counted(conn, workspace_id) as growth:
        growth.bytes = -await conn.fetchval(
            f"""
            WITH gone AS (
                DELETE FROM option_values AS old
                 WHERE workspace_id = $1 AND list_id = $2
                RETURNING {_bytes_of("old")} AS bytes
            )
            SELECT coalesce(sum(bytes), 0)::bigint FROM gone
            """,  # noqa: S608
            workspace_id,
            list_id,
        )


async def branch(conn: Conn, workspace_id: str, list_id: str, value_id: str) -> list[str]:
    """The value and everything below it.

    Walked here and not by a recursive statement: on a list that was just filled, PostgreSQL knows
    nothing of its size and took seconds for ten thousand values, with the model lock held.
    """
    rows = await conn.fetch(
        """
        SELECT id, parent_id
          FROM option_values
         WHERE workspace_id = $1 AND list_id = $2 AND parent_id IS NOT NULL
        """,
        workspace_id,
        list_id,
    )
    children: dict[str, list[str]] = {}
    for row in rows:
        children.setdefault(row["parent_id"], []).append(row["id"])
    found = [value_id]
    for each in found:
        found.extend(children.pop(each, ()))
    return found


def _bytes_of(row: str) -> str:
    """SQL: the bytes of an option, as the limit of the model counts them: 60 for its names."""
    return (
        f"60 + octet_length({row}.id) + octet_length({row}.alias) + octet_length({row}.label)"
        f" + coalesce(octet_length({row}.color), 0) + coalesce(octet_length({row}.parent_id), 0)"
        f" + coalesce(octet_length({row}.labels::text), 0)"
        f" + coalesce(octet_length({row}.external_key), 0)"
    )


def _alias_taken(value: OptionValue) -> Conflict:
    return Conflict(f"{VALUE_TITLE} with alias '{truncated(value.alias)}' already exists")


def _external_key_taken(value: OptionValue) -> Conflict:
    return model_objects.external_key_taken(VALUE_TITLE, value.external_key or "")


def _labels(value: OptionValue) -> dict[str, str] | None:
    return dict(value.labels) or None


def _value(row: Any) -> OptionValue:
    return OptionValue(
        id=row["id"],
        alias=row["alias"],
        label=row["label"],
        sort_order=row["sort_order"],
        color=row["color"],
        parent_id=row["parent_id"],
        labels=tuple(sorted((row["labels"] or {}).items())),
        external_key=row["external_key"],
    )
