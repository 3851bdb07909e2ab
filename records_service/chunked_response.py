"""Writes answers that may be many megabytes piece by piece: no more than one is held at a time.

return await response_in_pieces(request, context, b"[", things, written, b"]", is_large=...)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Final, TypeVar

from aiohttp import hdrs, web

from records_service.context import BaseContext
from shared.errors import ServiceUnavailable

T = TypeVar("T")

PIECE_BYTES: Final = 4 << 20
"""An answer up to this size is sent with its length; a larger one is sent in chunks."""
HEAD_WITHIN_S: Final = 5.0
"""The head of a file is sent at the latest after this, while its first piece is being made."""


async def begin_file(
    request: web.Request, response: web.StreamResponse, first: Coroutine[Any, Any, bytes]
) -> None:
    """Send the head and the first piece of a file.

    Raises what `first` raises: before the head is sent, that is the answer.
    """
    beginning = asyncio.ensure_future(first)
    try:
        await asyncio.wait({beginning}, timeout=HEAD_WITHIN_S)
        if beginning.done():
            beginning.result()
        await response.prepare(request)
        await response.write(await beginning)
    finally:
        beginning.cancel()


async def response_in_pieces(
    request: web.Request,
    context: BaseContext,
    head: bytes,
    things: Iterable[T],
    written: Callable[[T], bytes],
    tail: bytes,
    *,
    is_large: bool,
) -> web.StreamResponse:
    """The JSON of all things, with commas between, between head and tail.

    Where there is much to do, `written` is called in a thread.
    """
    response: web.StreamResponse | None = None
    left = iter(things)
    buffered = bytearray(head)
    comma = b""
    while True:
        try:
            piece = await context.run(is_large, _piece, left, written)
        except ServiceUnavailable:
            if response is None or request.transport is None:
                raise
            # What has begun cannot be refused: broken off, it is taken for whole by nobody.
            request.transport.abort()
            return response
        if not piece:
            break
        if response is None and len(buffered) + len(piece) > PIECE_BYTES:
            response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
            await response.prepare(request)
        buffered += comma + piece
        comma = b","
        if response is not None:
            await response.write(bytes(buffered))
            buffered.clear()
    buffered += tail
    if response is None:
        return web.Response(body=bytes(buffered), content_type="application/json")
    await response.write(bytes(buffered))
    await response.write_eof()
    return response


def _piece(left: Iterator[T], written: Callable[[T], bytes]) -> bytes:
    parts: list[bytes] = []
    size = 0
    for thing in left:
        parts.append(written(thing))
        size += len(parts[-1])
        if size >= PIECE_BYTES:
            break
    return b",".join(parts)
