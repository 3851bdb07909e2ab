"""Receives the file of an import piece by piece; no more than a few pieces are held."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from records_service.imports import store
from records_service.imports.detection import ZIP, utf_16_of
from records_service.imports.store import AS_SENT, CHUNK_BYTES
from shared.database import Database
from shared.errors import PayloadTooLarge, ValidationError

HEAD_BYTES: Final = 1 << 20
"""The beginning of a file, in which its header must be."""
SAMPLE_BYTES: Final = 64 << 10
_SNIFFED: Final = 1 << 10


@dataclass(frozen=True, slots=True)
class Received:
    """A file that is stored, and what was seen of it on the way.

    `sample` begins where the text stops being ASCII. A file in UTF-16 is stored as UTF-8.
    """

    size: int
    stored: int
    head: bytes
    sample: bytes
    is_utf_8: bool
    has_utf_8: bool
    """Whether there is a character of several bytes in UTF-8 before anything that is not UTF-8."""
    was_utf_16: bool
    lines: int
    """Ends of lines that are not inside of quotes."""
    all_lines: int
    """Ends of lines, also of those inside."""
    is_zip: bool


NOTHING_RECEIVED: Final = Received(0, 0, b"", b"", True, False, False, 0, 0, False)


async def receive(
    db: Database,
    workspace_id: str,
    import_id: str,
    pieces: AsyncIterator[bytes],
    *,
    bytes_max: int,
) -> Received:
    """Store the file of an import.

    Raises `PayloadTooLarge`, or `ValidationError` for a text in UTF-16 that is damaged.
    """
    upload = _Upload()
    number = 0
    async for piece in pieces:
        upload.add(piece)
        if upload.size > bytes_max:
            raise PayloadTooLarge(f"The file exceeds {bytes_max} bytes")
        while (chunk := upload.chunk(last=False)) is not None:
            await _store(db, workspace_id, import_id, number, chunk)
            number += 1
    upload.finish()
    while (chunk := upload.chunk(last=True)) is not None:
        await _store(db, workspace_id, import_id, number, chunk)
        number += 1
    return upload.received()


async def _store(
    db: Database, workspace_id: str, import_id: str, number: int, chunk: bytes
) -> None:
    async with db.acquire() as conn:
        await store.insert_chunk(conn, workspace_id, import_id, AS_SENT, number, chunk)


class _Upload:
    """What has come so far."""

    def __init__(self) -> None:
        self.size = 0
        self._stored = 0
        self._begun = False
        self._waiting = bytearray()
        self._ready = bytearray()
        self._head = bytearray()
        self._sample = bytearray()
        self._transcoder: codecs.IncrementalDecoder | None = None
        self._checker = codecs.getincrementaldecoder("utf-8")()
        self._is_utf_8 = True
        self._has_utf_8 = False
        self._quoted = False
        self._lines = 0
        self._all_lines = 0
        self._is_zip = False

    def add(self, piece: bytes) -> None:
        """The next bytes of the file."""
        self.size += len(piece)
        if self._begun:
            self._take(piece)
            return
        self._waiting += piece
        if len(self._waiting) >= _SNIFFED:
            self._begin()

    def finish(self) -> None:
        """The file has ended."""
        if not self._begun:
            self._begin()
        if self._transcoder is not None:
            self._take(b"", final=True)
        if self._is_utf_8:
            self._check(b"", final=True)

    def chunk(self, *, last: bool) -> bytes | None:
        """A piece to be stored, None while there is not enough for one."""
        if len(self._ready) < CHUNK_BYTES and not (last and self._ready):
            return None
        chunk = bytes(self._ready[:CHUNK_BYTES])
        del self._ready[:CHUNK_BYTES]
        return chunk

    def received(self) -> Received:
        """The whole."""
        return Received(
            size=self.size,
            stored=self._stored,
            head=bytes(self._head),
            sample=bytes(self._sample) or bytes(self._head[:SAMPLE_BYTES]),
            is_utf_8=self._is_utf_8,
            has_utf_8=self._has_utf_8,
            was_utf_16=self._transcoder is not None,
            lines=self._lines,
            all_lines=self._all_lines,
            is_zip=self._is_zip,
        )

    def _begin(self) -> None:
        self._begun = True
        first, self._waiting = bytes(self._waiting), bytearray()
        utf_16 = utf_16_of(first)
        if utf_16 is not None:
            self._transcoder = codecs.getincrementaldecoder(utf_16)()
        self._is_zip = first.startswith(ZIP)
        self._take(first.removeprefix(codecs.BOM_UTF8))

    def _take(self, piece: bytes, *, final: bool = False) -> None:
        if self._transcoder is not None:
            try:
                text = self._transcoder.decode(piece, final)
            except UnicodeDecodeError:
                raise ValidationError.at(
                    "/file", f"The file is not UTF-16 before byte {self.size}"
                ) from None
            piece = text.encode("utf-8").removeprefix(codecs.BOM_UTF8 if not self._stored else b"")
        self._stored += len(piece)
        self._ready += piece
        if len(self._head) < HEAD_BYTES:
            self._head += piece[: HEAD_BYTES - len(self._head)]
        if self._is_zip:
            return
        if self._sample or not piece.isascii():
            self._sample += piece[: max(0, SAMPLE_BYTES - len(self._sample))]
        self._check(piece)
        self._all_lines += piece.count(b"\n")
        for number, part in enumerate(piece.split(b'"')):
            if number:
                self._quoted = not self._quoted
            if not self._quoted:
                self._lines += part.count(b"\n")

    def _check(self, piece: bytes, *, final: bool = False) -> None:
        if not self._is_utf_8:
            return
        try:
            text = self._checker.decode(piece, final)
            self._has_utf_8 = self._has_utf_8 or not text.isascii()
        except UnicodeDecodeError as error:
            self._is_utf_8 = False
            self._has_utf_8 = self._has_utf_8 or not error.object[: error.start].isascii()
