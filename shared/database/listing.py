"""Streams complete lists, which may have many megabytes, in pieces.

The public API returns these lists as plain arrays without paging. One piece of about a megabyte is
read and rendered at a time, in a thread; a process handles a few pieces at once. A list of several
megabytes is sent while it is rendered. Memory use and the time on the event loop therefore do not
depend on the length of a list. No database connection is held between two pieces: an object that is
created or deleted meanwhile may be in the list or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

from aiohttp import hdrs, web

from shared.database import DATABASE, Conn, Record
from shared.http import identity_of
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
Render: TypeAlias = Callable[[Record], bytes]
"""The JSON of one row. It runs in a thread."""


def pieces() -> KeyedSemaphore:
    """For `app[PIECES]`."""
    return KeyedSemaphore(PIECES_AT_ONCE, wait_s=PIECE_WAIT_S)


async def read_piece(
    conn: Conn, table: str, columns: str, size: str, workspace_id: str, after: Position
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
             WHERE workspace_id = $1 AND (created_at, id) > ($2, $3)
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
        PIECE_ROWS,
        PIECE_BYTES,
    )
    return rows, bool(rows) and (len(rows) < rows[0]["candidates"] or len(rows) == PIECE_ROWS)


async def list_response(request: web.Request, read: Read, render: Render) -> web.StreamResponse:
    """Everything that `read` finds in the caller's workspace, as a JSON array."""
    workspace_id = identity_of(request).workspace_id
    position = BEGINNING
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


async def _rendered(
    request: web.Request, workspace_id: str, rows: Sequence[Record], render: Render
) -> bytes:
    size = sum(len(value) for row in rows for value in row.values() if isinstance(value, str))
    if size <= _INLINE_BYTES_MAX:
        return _render(rows, render)
    return await request.app[OFFLOAD].run(workspace_id, _render, rows, render)


def _render(rows: Sequence[Record], render: Render) -> bytes:
    return b",".join(map(render, rows))
