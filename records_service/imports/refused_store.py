"""SQL: the rows that import jobs refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from records_service.imports.rows import CellError
from shared.database import Conn, Record
from shared.database.paging import Key, Order, Part, Place, Total

BY_ROW: Final[Order] = (Key("row_number", int), Key("number", int))


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that failed, with what is wrong; `sent` is the row as it was sent, as JSON."""

    row: int
    line: int
    errors: Sequence[CellError]
    sent: str


async def insert_refused(
    conn: Conn, workspace_id: str, import_id: str, refused: Sequence[Refused]
) -> None:
    """Rows that failed: a database row for each error, the first one with the row as sent."""
    flat = [
        (one.row, number, one.line, error, one.sent if number == 0 else None)
        for one in refused
        for number, error in enumerate(one.errors)
    ]
    await conn.fetch(
        """
        INSERT INTO import_errors (workspace_id, import_id, row_number, number, line,
                                   column_name, attribute, pointer, error, message, sent)
        SELECT $1, $2, row_number, number, line, column_name, attribute, pointer, error, message,
               sent
          FROM unnest($3::int[], $4::int[], $5::int[], $6::text[], $7::text[], $8::text[],
                      $9::text[], $10::text[], $11::text[])
               AS refused (row_number, number, line, column_name, attribute, pointer, error,
                           message, sent)
        RETURNING 1
        """,
        workspace_id,
        import_id,
        [row for row, *_ in flat],
        [number for _, number, *_ in flat],
        [line for _, _, line, *_ in flat],
        [_storable(error.column) for *_, error, _ in flat],
        [_storable(error.attribute) for *_, error, _ in flat],
        [_storable(error.pointer) for *_, error, _ in flat],
        [error.error for *_, error, _ in flat],
        [_storable(error.message) for *_, error, _ in flat],
        [sent for *_, sent in flat],
    )


def _storable(text: str | None) -> str | None:
    """PostgreSQL has no NUL in texts."""
    return text if text is None else text.replace("\0", "\ufffd")


async def page_of_errors(
    conn: Conn, workspace_id: str, import_id: str, *, place: Place
) -> tuple[Part[Record], Total | None]:
    """What is wrong with the rows that failed, in their order."""
    source = "import_errors WHERE workspace_id = $1 AND import_id = $2"
    arguments: list[Any] = [workspace_id, import_id]
    wanted = place.select(
        "row_number, number, line, column_name, attribute, pointer, error, message",
        source,
        arguments,
    )
    rows = await conn.fetch(
        f"""
        WITH wanted AS MATERIALIZED ({wanted})
        SELECT w.*, head.counted
          FROM ({place.count(source)}) head (counted)
          LEFT JOIN wanted w ON true
         ORDER BY {place.order_by}
        """,  # noqa: S608 - constants
        *arguments,
    )
    part = place.part([row for row in rows if row["row_number"] is not None])
    return part, await place.total(conn, part, rows[0]["counted"], source, arguments)


async def first_errors(
    conn: Conn, workspace_id: str, import_id: str, *, errors_max: int
) -> list[Record]:
    """What is wrong with the first rows that failed, in their order."""
    return await conn.fetch(
        """
        SELECT row_number, number, line, column_name, attribute, pointer, error, message
          FROM import_errors
         WHERE workspace_id = $1 AND import_id = $2
         ORDER BY row_number, number
         LIMIT $3::bigint
        """,
        workspace_id,
        import_id,
        errors_max,
    )


async def refused_after(
    conn: Conn, workspace_id: str, import_id: str, row_number: int, *, rows_max: int
) -> list[Record]:
    """Rows that failed, as they were sent, with all that is wrong with each."""
    return await conn.fetch(
        """
        WITH next AS MATERIALIZED (
            SELECT row_number, line, sent
              FROM import_errors
             WHERE workspace_id = $1 AND import_id = $2 AND number = 0 AND row_number > $3
             ORDER BY row_number
             LIMIT $4::bigint
        )
        SELECT n.row_number, n.line, n.sent,
               (SELECT string_agg(concat_ws(': ', e.column_name, e.message), '; '
                                  ORDER BY e.number)
                  FROM import_errors e
                 WHERE e.workspace_id = $1 AND e.import_id = $2
                   AND e.row_number = n.row_number) AS message
          FROM next n
         ORDER BY n.row_number
        """,
        workspace_id,
        import_id,
        row_number,
        rows_max,
    )
