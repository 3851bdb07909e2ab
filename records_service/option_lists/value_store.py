"""SQL of options: one row each, so that adding one to a million writes one row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from records_service.model_objects import store as model_objects
from records_service.model_objects.size import counted
from records_service.option_lists.by_index import by_index
from records_service.option_lists.grams import grams_of
from records_service.option_lists.model import (
    HELD_VALUES_MAX,
    LIST_VALUES_MAX,
    VALUE_TITLE,
    OptionValue,
)
from shared.database import Conn, mapping_constraints
from shared.errors import Conflict, NotFound, truncated
from shared.process.offload import in_thread

VALUE = "id, alias, label, sort_order, color, parent_id, labels, external_key"


async def read_all(conn: Conn, workspace_id: str, list_id: str) -> list[OptionValue]:
    """The values of one list, in order."""
    rows = await conn.fetch(
        f"""
        SELECT {VALUE} FROM option_values
         WHERE workspace_id = $1 AND list_id = $2
         ORDER BY sort_order, label, id
        """,  # noqa: S608
        workspace_id,
        list_id,
    )
    return [value_in(row) for row in rows]


async def find(conn: Conn, workspace_id: str, list_id: str, value_id: str) -> OptionValue | None:
    """One value of a list, or None."""
    row = await conn.fetchrow(
        f"""
        SELECT {VALUE} FROM option_values
         WHERE workspace_id = $1 AND list_id = $2 AND {by_index("id", "$3", 1)}
        """,  # noqa: S608
        workspace_id,
        list_id,
        value_id,
    )
    return None if row is None else value_in(row)


async def get(conn: Conn, workspace_id: str, list_id: str, value_id: str) -> OptionValue:
    """One value of a list, or `NotFound`."""
    value = await find(conn, workspace_id, list_id, value_id)
    if value is None:
        raise NotFound.of(VALUE_TITLE, value_id)
    return value


async def last_place(conn: Conn, workspace_id: str, list_id: str) -> float:
    """The greatest place of a value of a list; -1 in an empty list."""
    last: float | None = await conn.fetchval(
        """
        SELECT max(sort_order) FROM option_values WHERE workspace_id = $1 AND list_id = $2
        """,
        workspace_id,
        list_id,
    )
    return -1.0 if last is None else last


async def any_below(conn: Conn, workspace_id: str, list_id: str) -> OptionValue | None:
    """A value that has a parent, if there is one."""
    row = await conn.fetchrow(
        f"""
        SELECT {VALUE} FROM option_values
         WHERE workspace_id = $1 AND list_id = $2 AND parent_id IS NOT NULL
         LIMIT 1
        """,  # noqa: S608
        workspace_id,
        list_id,
    )
    return None if row is None else value_in(row)


async def named(
    conn: Conn,
    workspace_id: str,
    list_id: str,
    ids: Collection[str],
    aliases: Collection[str],
    external_keys: Collection[str],
) -> list[OptionValue]:
    """The values of a list with one of these ids, aliases or external keys."""
    found = []
    for column, names in (("id", ids), ("alias", aliases), ("external_key", external_keys)):
        if names:
            found += await conn.fetch(
                f"""
                SELECT {VALUE} FROM option_values
                 WHERE workspace_id = $1 AND list_id = $2 AND {column} = ANY($3::text[])
                """,  # noqa: S608 - a constant
                workspace_id,
                list_id,
                sorted(names),
            )
    return list({row["id"]: value_in(row) for row in found}.values())


async def analyze(conn: Conn) -> None:
    """Let PostgreSQL count what is in the table, as it does by itself a minute later.

    Until then it takes any index that begins with workspace and list, and reads the whole list for
    one name. Of a table that is not ours, it only warns.
    """
    await conn.execute("ANALYZE option_values")


async def above(
    conn: Conn, workspace_id: str, list_id: str, value_ids: Collection[str]
) -> dict[str, str | None]:
    """Value -> its parent, of these values and all above them; one statement for each level."""
    found: dict[str, str | None] = {}
    level = sorted(value_ids)
    while level:
        rows = await conn.fetch(
            f"""
            SELECT found.* FROM unnest($3::text[]) AS sought (id)
             CROSS JOIN LATERAL (
                   SELECT id, parent_id FROM option_values v
                    WHERE v.workspace_id = $1 AND v.list_id = $2
                      AND {by_index("v.id", "sought.id", 1)}) AS found
            """,  # noqa: S608 - constants
            workspace_id,
            list_id,
            level,
        )
        found |= {row["id"]: row["parent_id"] for row in rows}
        level = sorted({row["parent_id"] for row in rows} - {None, *found})
    return found


async def insert(conn: Conn, workspace_id: str, list_id: str, new: Sequence[OptionValue]) -> None:
    """New values; `Conflict` for a taken id, alias or external key.

    The message names the first value: whole lists are checked before.
    """
    taken = {
        "option_values_id_taken": lambda: Conflict.taken(VALUE_TITLE, new[0].id),
        "option_values_alias_taken": lambda: _alias_taken(new[0]),
        "option_values_external_key_taken": lambda: _external_key_taken(new[0]),
    }
    grams = await in_thread(_grams, workspace_id, list_id, new)
    async with _counted(conn, workspace_id, list_id):
        with mapping_constraints(taken):
            await conn.fetchval(
                """
                WITH written AS (
                    INSERT INTO option_values (workspace_id, list_id, id, alias, label, sort_order,
                                               color, parent_id, labels, external_key, grams)
                    SELECT $1, $2, v.id, v.alias, v.label, v.sort_order, v.color, v.parent_id,
                           v.labels, v.external_key, v.grams::integer[]
                      FROM unnest($3::text[], $4::text[], $5::text[], $6::float8[], $7::text[],
                                  $8::text[], $9::jsonb[], $10::text[], $11::text[])
                           AS v (id, alias, label, sort_order, color, parent_id, labels,
                                 external_key, grams)
                    RETURNING 1
                )
                SELECT count(*) FROM written
                """,
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
                grams,
            )


async def update(conn: Conn, workspace_id: str, list_id: str, value: OptionValue) -> None:
    """The value as it is now; `Conflict` for a taken alias or external key."""
    taken = {
        "option_values_alias_taken": lambda: _alias_taken(value),
        "option_values_external_key_taken": lambda: _external_key_taken(value),
    }
    async with _counted(conn, workspace_id, list_id):
        with mapping_constraints(taken):
            await conn.execute(
                """
                UPDATE option_values
                   SET alias = $4, label = $5, sort_order = $6, color = $7, parent_id = $8,
                       labels = $9, external_key = $10, grams = $11
                 WHERE workspace_id = $1 AND list_id = $2 AND id = $3
                """,
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
                grams_of(workspace_id, list_id, value),
            )


async def delete(conn: Conn, workspace_id: str, list_id: str, value_ids: Sequence[str]) -> None:
    """Remove values; nobody has them."""
    async with _counted(conn, workspace_id, list_id):
        await conn.execute(
            """
            DELETE FROM option_values
             WHERE workspace_id = $1 AND list_id = $2 AND id = ANY($3::text[])
            """,
            workspace_id,
            list_id,
            list(value_ids),
        )


async def delete_all(conn: Conn, workspace_id: str, list_id: str) -> None:
    """Remove the values of a list that is about to be deleted."""
    async with _counted(conn, workspace_id, list_id):
        await conn.execute(
            "DELETE FROM option_values WHERE workspace_id = $1 AND list_id = $2",
            workspace_id,
            list_id,
        )


async def has_more(conn: Conn, workspace_id: str, list_id: str, *, than: int) -> bool:
    """Whether a list has more values than that."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM option_values
                        WHERE workspace_id = $1 AND list_id = $2
                       OFFSET $3::bigint)
        """,
        workspace_id,
        list_id,
        than,
    )
    return found


async def delete_some(
    conn: Conn, workspace_id: str, list_id: str, after: str, *, rows_max: int
) -> str | None:
    """Remove the next values of a list, after this id; the last of them, None at the end.

    By a range of ids: joined with a list of them, PostgreSQL may read the whole list each time.
    """
    last: str | None = await conn.fetchval(
        """
        SELECT id FROM option_values
         WHERE workspace_id = $1 AND list_id = $2 AND id > $3
         ORDER BY id
        OFFSET $4::bigint - 1
         LIMIT 1
        """,
        workspace_id,
        list_id,
        after,
        rows_max,
    )
    async with counted(conn, workspace_id):
        await conn.execute(
            """
            DELETE FROM option_values
             WHERE workspace_id = $1 AND list_id = $2 AND id > $3
               AND ($4::text IS NULL OR id <= $4)
            """,
            workspace_id,
            list_id,
            after,
            last,
        )
    return last


async def branch(conn: Conn, workspace_id: str, list_id: str, value_id: str) -> list[str]:
    """The value and everything below it; one statement for each level."""
    found = {value_id: None}
    level = [value_id]
    while level:
        rows = await conn.fetch(
            f"""
            SELECT found.id FROM unnest($3::text[]) AS sought (id)
             CROSS JOIN LATERAL (
                   SELECT id FROM option_values v
                    WHERE v.workspace_id = $1 AND v.list_id = $2
                      AND {by_index("v.parent_id", "sought.id", LIST_VALUES_MAX)}) AS found
            """,  # noqa: S608 - constants
            workspace_id,
            list_id,
            level,
        )
        level = [row["id"] for row in rows if row["id"] not in found]
        found |= dict.fromkeys(level)
    return list(found)


@asynccontextmanager
async def _counted(conn: Conn, workspace_id: str, list_id: str) -> AsyncIterator[None]:
    """Count the bytes of a list that processes hold; the options of a large one count nothing."""
    async with counted(conn, workspace_id) as growth:
        before = await held_bytes(conn, workspace_id, list_id)
        yield
        growth.bytes = await held_bytes(conn, workspace_id, list_id) - before


async def held_bytes(conn: Conn, workspace_id: str, list_id: str) -> int:
    """The bytes of the options of a list that processes hold; 0 of a large one."""
    held: int = await conn.fetchval(
        f"""
        SELECT CASE WHEN count(*) <= {HELD_VALUES_MAX}
                    THEN coalesce(sum({_bytes_of("v")}), 0) ELSE 0 END::bigint
          FROM (SELECT * FROM option_values WHERE workspace_id = $1 AND list_id = $2
                 ORDER BY sort_order, label, id
                 LIMIT {HELD_VALUES_MAX + 1}) AS v
        """,  # noqa: S608 - constants
        workspace_id,
        list_id,
    )
    return held


def _bytes_of(row: str) -> str:
    """SQL: the bytes of an option, as the limit of the model counts them: 60 for its names."""
    return (
        f"60 + octet_length({row}.id) + octet_length({row}.alias) + octet_length({row}.label)"
        f" + coalesce(octet_length({row}.color), 0) + coalesce(octet_length({row}.parent_id), 0)"
        f" + coalesce(octet_length({row}.labels::text), 0)"
        f" + coalesce(octet_length({row}.external_key), 0)"
    )


def _grams(workspace_id: str, list_id: str, values: Sequence[OptionValue]) -> list[str]:
    """The parts of the names of each value, as PostgreSQL writes an array."""
    return [f"{{{','.join(map(str, grams_of(workspace_id, list_id, value)))}}}" for value in values]


def _alias_taken(value: OptionValue) -> Conflict:
    return Conflict(f"{VALUE_TITLE} with alias '{truncated(value.alias)}' already exists")


def _external_key_taken(value: OptionValue) -> Conflict:
    return model_objects.external_key_taken(VALUE_TITLE, value.external_key or "")


def _labels(value: OptionValue) -> dict[str, str] | None:
    return dict(value.labels) or None


def value_in(row: Any) -> OptionValue:
    """The value in a row with the columns of `VALUE`."""
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
