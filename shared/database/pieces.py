"""Reads rows in pieces of bounded size: nobody holds more at once, however large rows are."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from shared.database.connection import Conn, Record

FIRST_FETCHED: Final = 16
"""Rows of the first round trip: nothing is known of their size."""
FETCHED_MAX: Final = 1_000

Size: TypeAlias = Callable[[Record], int]
"""The bytes that a row counts for."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a piece has at most; it ends with the row by which it is full."""

    rows: int
    bytes: int = 4 << 20
    seconds: float = 0.1
    """How long its rows are read."""


async def pieces(
    conn: Conn, query: str, *arguments: Any, size_of: Size, room: Room
) -> AsyncGenerator[tuple[list[Record], bool], None]:
    """The rows of a SELECT, a piece at a time, and whether it is a full one.

    In a transaction. PostgreSQL computes rows as they are fetched: about as many as fit.
    """
    cursor = await conn.cursor(query, *arguments)
    piece: list[Record] = []
    size, began = 0, time.monotonic()
    wanted = FIRST_FETCHED
    while rows := await cursor.fetch(wanted):
        for row in rows:
            piece.append(row)
            size += size_of(row)
            if len(piece) >= room.rows or size >= room.bytes:
                yield piece, True
                piece, size, began = [], 0, time.monotonic()
        if piece and time.monotonic() - began >= room.seconds:
            yield piece, True
            piece, size, began = [], 0, time.monotonic()
        wanted = _fetched_next(len(piece), size, wanted, room)
    if piece:
        yield piece, False


async def first_piece(
    conn: Conn, query: str, *arguments: Any, size_of: Size, room: Room
) -> tuple[list[Record], bool]:
    """The first piece of `pieces`, and whether it is a full one: then there may be more."""
    async with aclosing(pieces(conn, query, *arguments, size_of=size_of, room=room)) as reading:
        async for piece in reading:
            return piece
    return [], False


def _fetched_next(read: int, size: int, before: int, room: Room) -> int:
    """As many rows as are likely to fit; at most four times as many as before."""
    fitting = room.rows - read
    if size:
        fitting = min(fitting, (room.bytes - size) * read // size)
    return max(1, min(fitting, before * 4, FETCHED_MAX))
