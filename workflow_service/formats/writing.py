"""Writes JSON, JSON Lines, CSV and XML, and compresses them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final

from workflow_service.formats.model import Compression, CutOff, Format, Writer
from workflow_service.formats.xml import BEGIN, END, element

_GZIP_WINDOW_BITS: Final = 31
"""zlib: the largest window, with header and checksum of gzip."""
_LINE_ENDS: Final = (
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
    ("\u0085".encode(), rb"\u0085"),
)
"""What some readers take for the end of a line; in JSON it can stand in texts only."""


def writer(made: Format, compression: Compression) -> Writer:
    """A new file."""
    plain: Writer = _WRITERS[made]()
    return plain if compression is Compression.NONE else _Gzip(plain)


class _Lines:
    """Cuts what is exported into whole lines, each of which is a record as JSON."""

    def __init__(self) -> None:
        self.records = 0
        self.replaced = 0
        self._rest: list[bytes] = []

    def feed(self, piece: bytes) -> bytes:
        """What the lines become that end in this piece."""
        whole, end, rest = piece.rpartition(b"\n")
        if not end:
            self._rest.append(piece)
            return b""
        lines = b"".join([*self._rest, whole, end])
        self._rest = [rest] if rest else []
        made = self._made(lines)
        self.records += lines.count(b"\n")
        return made

    def finish(self) -> bytes:
        """Check that nothing is left; raises `CutOff`."""
        if self._rest:
            raise CutOff
        return b""

    def _made(self, lines: bytes) -> bytes:
        """What one or more lines, with the ends of all of them, become."""
        raise NotImplementedError


class _JsonLines(_Lines):
    """One record in each line, also for readers that know more ends of lines than JSON does."""

    def _made(self, lines: bytes) -> bytes:
        for character, escaped in _LINE_ENDS:
            lines = lines.replace(character, escaped)
        return lines


class _Json(_Lines):
    """An array."""

    def finish(self) -> bytes:
        """The bracket."""
        return super().finish() + (b"]" if self.records else b"[]")

    def _made(self, lines: bytes) -> bytes:
        # JSON has its line ends escaped: those that are left stand between two records.
        return (b"," if self.records else b"[") + lines[:-1].replace(b"\n", b",")


class _Xml(_Lines):
    """One element for each record."""

    def finish(self) -> bytes:
        """The end of the element around them."""
        return super().finish() + (END if self.records else BEGIN + END)

    def _made(self, lines: bytes) -> bytes:
        elements = [b"" if self.records else BEGIN]
        for line in lines.split(b"\n")[:-1]:
            text, replaced = element(line)
            elements.append(text)
            self.replaced += replaced
        return b"".join(elements)


class _Csv:
    """The table as it is exported; only its rows are counted."""

    def __init__(self) -> None:
        self.replaced = 0
        self._line_ends = 0
        self._within_quotes = False
        self._last = b""

    @property
    def records(self) -> int:
        """The rows without the header."""
        return max(0, self._line_ends - 1)

    def feed(self, piece: bytes) -> bytes:
        """The piece. A quote within quotes is doubled, which changes nothing."""
        for index, part in enumerate(piece.split(b'"')):
            if index:
                self._within_quotes = not self._within_quotes
            if not self._within_quotes:
                self._line_ends += part.count(b"\n")
        self._last = piece[-1:] or self._last
        return piece

    def finish(self) -> bytes:
        """Check that the last row is whole; raises `CutOff`."""
        if self._within_quotes or self._last != b"\n":
            raise CutOff
        return b""


class _Gzip:
    """Compresses what another writer makes; the same content always gives the same file."""

    def __init__(self, plain: Writer) -> None:
        self._plain = plain
        self._gzip = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)

    @property
    def records(self) -> int:
        """As the other writer."""
        return self._plain.records

    @property
    def replaced(self) -> int:
        """As the other writer."""
        return self._plain.replaced

    def feed(self, piece: bytes) -> bytes:
        """What is full of the compressed file."""
        return self._gzip.compress(self._plain.feed(piece))

    def finish(self) -> bytes:
        """The rest, with the checksum; raises `CutOff`."""
        return self._gzip.compress(self._plain.finish()) + self._gzip.flush()


_WRITERS: Final[Mapping[Format, Callable[[], Writer]]] = {
    Format.CSV: _Csv,
    Format.JSON: _Json,
    Format.JSONL: _JsonLines,
    Format.XML: _Xml,
}
