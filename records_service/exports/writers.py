"""Writes rows as JSON, NDJSON or CSV; each writer makes a file piece by piece."""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import Any, Final, Protocol

from records_service.exports.model import Format
from records_service.exports.xlsx import XlsxWriter
from records_service.tabular.cells import Cell, text_of
from shared.http import to_json

MEDIA_TYPES: Final = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.NDJSON: "application/x-ndjson",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
TABLES: Final = frozenset({Format.CSV, Format.XLSX})
"""Formats with a header and cells; the others have an object for each record."""


class Writer(Protocol):
    """Makes one file; the pieces are called for in order, from any thread."""

    def begin(self, header: Sequence[str]) -> bytes:
        """What stands before the rows."""
        ...

    def rows(self, rows: Sequence[Any]) -> bytes:
        """Some rows: objects in JSON, or lists of cells."""
        ...

    def end(self) -> bytes:
        """What stands behind them."""
        ...


class JsonWriter:
    """An array."""

    def __init__(self) -> None:
        self._comma = b""

    def begin(self, header: Sequence[str]) -> bytes:  # noqa: ARG002 - objects name their members
        """The bracket."""
        return b"["

    def rows(self, rows: Sequence[Any]) -> bytes:
        """Objects with commas between."""
        if not rows:
            return b""
        comma, self._comma = self._comma, b","
        return comma + b",".join(map(to_json, rows))

    def end(self) -> bytes:
        """The other bracket."""
        return b"]"


class NdjsonWriter:
    """One object in each line."""

    def begin(self, header: Sequence[str]) -> bytes:  # noqa: ARG002 - objects name their members
        """Nothing."""
        return b""

    def rows(self, rows: Sequence[Any]) -> bytes:
        """The lines."""
        return b"".join(to_json(row) + b"\n" for row in rows)

    def end(self) -> bytes:
        """Nothing."""
        return b""


class CsvWriter:
    """RFC 4180 in UTF-8; quotes are doubled, line ends inside of a cell stay as they are."""

    def __init__(self, *, bom: bool) -> None:
        self._bom = BOM_UTF8 if bom else b""

    def begin(self, header: Sequence[str]) -> bytes:
        """The byte order mark, if it is asked for, and the header."""
        return self._bom + self.rows([header])

    def rows(self, rows: Sequence[Sequence[Cell]]) -> bytes:
        """The lines."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(
            [text_of(cell) for cell in row] for row in rows
        )
        return text.getvalue().encode()

    def end(self) -> bytes:
        """Nothing."""
        return b""


def writer_of(asked: Format, *, bom: bool) -> Writer:
    """A new file of this format."""
    match asked:
        case Format.JSON:
            return JsonWriter()
        case Format.NDJSON:
            return NdjsonWriter()
        case Format.CSV:
            return CsvWriter(bom=bom)
        case Format.XLSX:
            return XlsxWriter()
