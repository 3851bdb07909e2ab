"""Answers with all parts of a kind, of which there may be many megabytes, piece by piece.

The public API has these lists as bare arrays without pages. A piece of about a megabyte is read and
rendered at a time, in a thread, a few pieces at once in a process; a list of several megabytes
is sent as it is rendered. So neither memory nor the event loop knows how large a model is. No
connection is held between two pieces: a part that is made or deleted meanwhile may be in the list
or not, as if the request had come a little earlier or later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel

from records_service.parts.answers import shown
from records_service.parts.model import Part
from shared.offload import off_loop
from shared.postgres import DATABASE, Conn, Record
from shared.turns import Turns
from shared.web import identity_of, to_json

BUFFERED_BYTES_MAX: Final = 4 << 20
"""A list up to this size is one answer with its length; a larger one is sent in chunks."""
PIECES_AT_ONCE: Final = 4
PIECE_WAIT_S: Final = 25.0
"""Longer than others wait for their turn: a list that is refused half-way was read in vain."""
_INLINE_BYTES_MAX: Final = 32 << 10
_BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)

PIECES = web.AppKey("model_list_pieces", Turns)

Position = tuple[datetime, str]
Read = Callable[[Conn, str, Position], Awaitable[tuple[Sequence[Record], bool]]]
"""Reads parts after a position, with their bodies as text, and whether there are more."""


async def list_response(
    request: web.Request, read: Read, shape: type[BaseModel]
) -> web.StreamResponse:
    """All parts that `read` finds in the caller's workspace, as a JSON array."""
    workspace_id = identity_of(request).workspace_id
    position: Position = (_BEGINNING, "")
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
            buffered += await _rendered(workspace_id, rows, shape)
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


async def _rendered(workspace_id: str, rows: Sequence[Record], shape: type[BaseModel]) -> bytes:
    if sum(len(row["body"]) for row in rows) <= _INLINE_BYTES_MAX:
        return _render(rows, shape)
    return await off_loop(workspace_id, _render, rows, shape)


def _render(rows: Sequence[Record], shape: type[BaseModel]) -> bytes:
    return b",".join(
        to_json(
            shown(
                Part(
                    row["id"],
                    row["alias"],
                    orjson.loads(row["body"]),
                    row["version"],
                    row["created_at"],
                    row["updated_at"],
                ),
                shape,
            )
        )
        for row in rows
    )
