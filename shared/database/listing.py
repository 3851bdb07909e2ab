"""Lists that are plain arrays: complete ones, which may have many megabytes, and pages of them.

A client that names a `limit` gets at most that many, with the `Link` of the next page. Otherwise
the list is complete, and sent in pieces. One piece of about a megabyte is read and rendered at a
time, in a thread; a process handles a few pieces at once. A list of several megabytes is sent while
it is rendered. Memory use and the time on the event loop therefore do not depend on the length of a
list. No database connection is held between two pieces: an object that is created or deleted
meanwhile may be in the list or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

import orjson
from aiohttp import hdrs, web
from pydantic import Field

from shared.database import DATABASE, Conn, Record
from shared.errors import ValidationError, truncated
from shared.http import cursors, identity_of
from shared.http.messages import shown
from shared.http.requests import LIST_LIMIT_MAX
from shared.http.shapes import Shape
from shared.process.offload import OFFLOAD
from shared.process.waiting import KeyedSemaphore

BUFFERED_BYTES_MAX: Final = 4 << 20
"""A list up to this size is one answer with its length; a larger one is sent in chunks."""
PIECE_ROWS: Final = 200
PIECE_BYTES: Final = 1 << 20
PIECES_AT_ONCE: Final = 4
PIECE_WAIT_S: Final = 25.0
"""Longer than other waiting times: a list that is refused halfway was read for nothing."""
_INLINE_BYTES_MAX: Final = 32 << 10

PIECES: Final = web.AppKey("list_pieces", KeyedSemaphore)

Position: TypeAlias = tuple[datetime, str]
"""Creation time and id of a row: what is read in pieces goes on after it."""
BEGINNING: Final[Position] = (datetime(1, 1, 1, tzinfo=UTC), "")
"""Before every row."""
Piece: TypeAlias = tuple[Sequence[Record], bool]
Read: TypeAlias = Callable[[Conn, str, Position], Awaitable[Piece]]
"""Reads the rows after a position, with documents as text, and says whether more follow."""
_ORDER: Final = (datetime, str)
_NAMES_MAX: Final = 500
_NO_FILTERS: Final = {"limit", "cursor"}


_ARGUMENTS_OF_A_PIECE: Final = 5
"""Of the statement that reads one, without those of what it is narrowed to."""


class Narrowing(NamedTuple):
    """A condition that begins with AND, with arguments from $6 on; nothing for the whole list."""

    condition: str = ""
    arguments: tuple[Any, ...] = ()
    wanted: int = LIST_LIMIT_MAX
    """How many rows are wanted at most. They are read in pieces."""

    @property
    def rows(self) -> int:
        """How many to read at once: one more than are wanted tells whether others follow."""
        return min(PIECE_ROWS, self.wanted + 1)

    def and_also(self, condition: str, argument: Any) -> Narrowing:
        """One more condition, in which `{}` stands for its argument."""
        name = f"${_ARGUMENTS_OF_A_PIECE + len(self.arguments) + 1}"
        return self._replace(
            condition=f"{self.condition} AND {condition.replace('{}', name)}",
            arguments=(*self.arguments, argument),
        )

    def and_in(self, write: Callable[[list[Any]], str]) -> Narrowing:
        """One more condition, which `write` writes: it appends its arguments to those before."""
        arguments = [None] * _ARGUMENTS_OF_A_PIECE + list(self.arguments)
        condition = write(arguments)
        return self._replace(
            condition=f"{self.condition} AND {condition}",
            arguments=tuple(arguments[_ARGUMENTS_OF_A_PIECE:]),
        )


WHOLE: Final = Narrowing()


class ListQuery(Shape):
    """Which part of a list is asked for. Without `limit`, the list is complete."""

    limit: int | None = Field(default=None, ge=1, le=LIST_LIMIT_MAX)
    """The maximum number of objects. The header `Link` has the address of the next page
    (`rel="next"`), where there is one; a page ends early at 4 MB. Without it, all are answered."""
    cursor: str | None = None
    """Where the page begins, from the `Link` of the page before. All parameters but `limit` must be
    the same as for that page."""
    ids: str | None = None
    """Only objects with these ids: separated by commas, at most 500."""

    def narrowing(self) -> Narrowing:
        """What the list is narrowed to; raises `ValidationError`."""
        page = WHOLE if self.limit is None else WHOLE._replace(wanted=self.limit)
        return self._among(page, "id", "ids", self.ids)

    def _among(self, narrowing: Narrowing, column: str, name: str, sent: str | None) -> Narrowing:
        if sent is None:
            return narrowing
        names = sent.split(",")
        if len(names) > _NAMES_MAX:
            raise ValidationError.at(
                f"/{name}",
                f"Field '{truncated(name)}' must have at most {_NAMES_MAX} items, got {len(names)}",
            )
        return narrowing.and_also(f"{column} = ANY({{}}::text[])", names)


class NamedListQuery(ListQuery):
    """As `ListQuery`, of objects with aliases and external keys in their bodies."""

    aliases: str | None = None
    """Only objects with these aliases: separated by commas, at most 500."""
    external_key: str | None = Field(default=None, alias="externalKey")
    """Only the object that another system calls so."""

    def narrowing(self) -> Narrowing:
        """As in the base class."""
        found = self._among(super().narrowing(), "alias", "aliases", self.aliases)
        if self.external_key is None:
            return found
        return found.and_also("body ->> 'externalKey' = {}", self.external_key)


Render: TypeAlias = Callable[[Record], bytes]
"""The JSON of one row. It runs in a thread."""


def pieces() -> KeyedSemaphore:
    """For `app[PIECES]`."""
    return KeyedSemaphore(PIECES_AT_ONCE, wait_s=PIECE_WAIT_S)


async def read_piece(
    conn: Conn,
    table: str,
    columns: str,
    size: str,
    workspace_id: str,
    after: Position,
    narrowing: Narrowing = WHOLE,
) -> Piece:
    """Rows of a table in order of creation after this one, some `PIECE_BYTES` of them.

    `columns` has `id` and `created_at`, and documents as text; `size` is an expression of what it
    has, in bytes. All three are constants of the caller.
    """
    rows = await conn.fetch(
        f"""
        WITH next AS MATERIALIZED (
            SELECT {columns}
              FROM {table}
             WHERE workspace_id = $1 AND (created_at, id) > ($2, $3) {narrowing.condition}
             ORDER BY created_at, id
             LIMIT $4
        ), fitting AS (
            SELECT *, coalesce(sum({size}) OVER (
                          ORDER BY created_at, id
                          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
              FROM next
        )
        SELECT *, (SELECT count(*) FROM next) AS candidates
          FROM fitting
         WHERE bytes_before < $5
         ORDER BY created_at, id
        """,  # noqa: S608
        workspace_id,
        *after,
        narrowing.rows,
        PIECE_BYTES,
        *narrowing.arguments,
    )
    more = bool(rows) and (len(rows) < rows[0]["candidates"] or len(rows) == narrowing.rows)
    return rows, more


async def list_response(
    request: web.Request, read: Read, render: Render, asked: ListQuery | None = None
) -> web.StreamResponse:
    """Everything that `read` finds in the caller's workspace, as a JSON array; or a page of it.

    `read` narrows the list itself. Raises `ValidationError` for a cursor of another list.
    """
    workspace_id = identity_of(request).workspace_id
    position = BEGINNING
    if asked is not None and (asked.limit is not None or asked.cursor is not None):
        return await _page_response(request, read, render, asked)
    response: web.StreamResponse | None = None
    buffered = bytearray(b"[")
    more = True
    while more:
        async with request.app[PIECES].of(PIECES):
            async with request.app[DATABASE].acquire() as conn:
                rows, more = await read(conn, workspace_id, position)
            if not rows:
                break
            if position[1]:
                buffered += b","
            buffered += await _rendered(request, workspace_id, rows, render)
        position = (rows[-1]["created_at"], rows[-1]["id"])
        if response is not None or len(buffered) > BUFFERED_BYTES_MAX:
            if response is None:
                response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
                await response.prepare(request)
            await response.write(bytes(buffered))
            buffered.clear()
    buffered += b"]"
    if response is None:
        return web.Response(body=bytes(buffered), content_type="application/json")
    await response.write(bytes(buffered))
    await response.write_eof()
    return response


async def _page_response(
    request: web.Request, read: Read, render: Render, asked: ListQuery
) -> web.Response:
    workspace_id = identity_of(request).workspace_id
    query = orjson.dumps(
        [workspace_id, request.path, asked.model_dump(mode="json", exclude=_NO_FILTERS)],
        option=orjson.OPT_SORT_KEYS,
    )
    position = BEGINNING if asked.cursor is None else _position(query, asked.cursor)
    left = LIST_LIMIT_MAX if asked.limit is None else asked.limit
    body = bytearray(b"[")
    more = True
    while more and left > 0 and len(body) < BUFFERED_BYTES_MAX:
        async with request.app[PIECES].of(PIECES):
            async with request.app[DATABASE].acquire() as conn:
                rows, more = await read(conn, workspace_id, position)
            if not rows:
                break
            more = more or len(rows) > left
            rows = rows[:left]
            if len(body) > 1:
                body += b","
            body += await _rendered(request, workspace_id, rows, render)
        left -= len(rows)
        position = (rows[-1]["created_at"], rows[-1]["id"])
    body += b"]"
    headers = {}
    if more and position is not BEGINNING:
        cursor = cursors.encode(query, 0, position)
        address = request.rel_url.update_query(cursor=cursor)
        headers[hdrs.LINK] = f'<{address}>; rel="next"'
    return web.Response(body=bytes(body), content_type="application/json", headers=headers)


def _position(query: bytes, cursor: str) -> Position:
    try:
        created_at, object_id = cursors.decode(query, cursor, _ORDER)[1]
    except cursors.NotACursor:
        created_at = object_id = None
    if created_at is None or object_id is None:
        raise ValidationError.at(
            "/cursor",
            "Field 'cursor' must be that of the 'Link' of a page of this list that was asked for"
            f" with the same filters, got {shown(cursor)}",
        )
    return created_at, object_id


async def _rendered(
    request: web.Request, workspace_id: str, rows: Sequence[Record], render: Render
) -> bytes:
    size = sum(len(value) for row in rows for value in row.values() if isinstance(value, str))
    if size <= _INLINE_BYTES_MAX:
        return _render(rows, render)
    return await request.app[OFFLOAD].run(workspace_id, _render, rows, render)


def _render(rows: Sequence[Record], render: Render) -> bytes:
    return b",".join(map(render, rows))
