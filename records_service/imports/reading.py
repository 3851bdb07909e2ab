"""Takes rows from a part of a file; knows no database.

Each function is given the bytes from where the last rows ended, reads complete rows, and says how
many bytes they took: so reading goes on after any row, in any process, and nothing but a part of
the file is held. A row that is larger than a part is refused with its number.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

ROW_BYTES_MAX: Final = 10 << 20
COLUMNS_MAX: Final = 16_384
TOO_LONG: Final = f"the row has more than {ROW_BYTES_MAX} bytes"
TOO_LONG_OR_OPEN: Final = f"{TOO_LONG}, or a quote in it is not closed"
_SPACES: Final = re.compile(r"[ \t\r\n]*")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Malformed(Exception):
    """The file cannot be read on; the text says why.

    `line` counts from 1 and is relative to the part that was given; None where the text names it.
    """

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of a file: its cells, or its JSON text; or why it cannot be read.

    `line` counts from 1 and is relative to the part that was given.
    """

    line: int
    cells: Sequence[str] = ()
    json: bytes | None = None
    fault: str | None = None

    @property
    def sent(self) -> str:
        """The row as it was sent, as JSON: an array of cells, or what it was."""
        if self.json is not None:
            return self.json.decode("utf-8", "replace").replace("\0", "\ufffd")
        return json.dumps([_SURROGATE.sub("\ufffd", cell) for cell in self.cells])


@dataclass(frozen=True, slots=True)
class Taken:
    """The rows that were read, and how many bytes and lines they took; whether it was the end."""

    rows: list[FileRow]
    size: int
    lines: int
    ended: bool


Take = Callable[[bytes, bool, int], Taken]
"""(bytes, whether they are the last, at most so many rows) -> rows"""


class _NeedsMore(Exception):
    """The next row is not complete in this part."""


def csv_rows(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """The rows of these lines; raises `csv.Error` for a cell of more than `ROW_BYTES_MAX`."""
    csv.field_size_limit(ROW_BYTES_MAX)  # Of the whole process, so others may have set it.
    return csv.reader(lines, delimiter=delimiter)


def take_csv(encoding: str, delimiter: str, width: int | None) -> Take:
    """Reads comma-separated values, as spreadsheets write them; `width` is that of the header."""

    def take(data: bytes, at_end: bool, rows_max: int) -> Taken:
        text = codecs.getincrementaldecoder(encoding)("surrogateescape").decode(data, at_end)
        lines = list(io.StringIO(text, newline=""))
        if lines and not at_end and not lines[-1].endswith("\n"):
            lines.pop()
        source = _Lines(lines, at_end=at_end)
        reader = csv_rows(source, delimiter)
        rows: list[FileRow] = []
        done = 0
        ended = False
        while len(rows) < rows_max:
            try:
                cells = next(reader)
            except _NeedsMore:
                break
            except StopIteration:
                ended = True
                done = len(lines)
                break
            except csv.Error as error:
                if rows:
                    # They are written first.
                    break
                raise Malformed(_why(error), done + 1) from None
            if cells:
                fault = _fault_of(cells, width)
                if source.is_cut:
                    fault = "A quote is opened and not closed"
                rows.append(FileRow(done + 1, cells, fault=fault))
            done = source.taken
        used = "".join(lines[:done])
        return Taken(rows, len(used.encode(encoding, "surrogateescape")), done, ended)

    return take


def _why(error: csv.Error) -> str:
    return TOO_LONG_OR_OPEN if str(error).startswith("field larger") else str(error)


class _Lines:
    """The complete lines of a part, counted."""

    def __init__(self, lines: Sequence[str], *, at_end: bool) -> None:
        self._lines = lines
        self._at_end = at_end
        self.taken = 0
        self._is_read = False

    @property
    def is_cut(self) -> bool:
        """Whether the file ended while the row that was read last wanted more of it."""
        return self._is_read

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.taken == len(self._lines):
            if not self._at_end:
                raise _NeedsMore
            self._is_read = True
            raise StopIteration
        self.taken += 1
        return self._lines[self.taken - 1]


def _fault_of(cells: Sequence[str], width: int | None) -> str | None:
    if len(cells) > COLUMNS_MAX:
        return f"The row has more than {COLUMNS_MAX} columns"
    if width is not None and len(cells) > width and any(cells[width:]):
        return f"The row has {len(cells)} cells, the header has {width}"
    if any(not cell.isascii() and _SURROGATE.search(cell) for cell in cells):
        return "The row is not in the encoding of the file"
    return None


def take_lines(data: bytes, at_end: bool, rows_max: int) -> Taken:
    """Reads one JSON text a line; empty lines are skipped."""
    rows: list[FileRow] = []
    start = line = 0
    while len(rows) < rows_max:
        end = data.find(b"\n", start)
        if end < 0:
            if not at_end:
                return Taken(rows, start, line, ended=False)
            end = len(data)
        text = data[start:end].strip()
        if text:
            fault = TOO_LONG.capitalize() if len(text) > ROW_BYTES_MAX else None
            rows.append(FileRow(line + 1, json=text, fault=fault))
        line += 1
        start = end + 1
        if start >= len(data) and at_end:
            return Taken(rows, len(data), line, ended=True)
    return Taken(rows, start, line, ended=False)


def take_array(data: bytes, at_end: bool, rows_max: int) -> Taken:
    """Reads the elements of a JSON array whose opening bracket was read before."""
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(data, at_end)
    decoder = json.JSONDecoder()
    rows: list[FileRow] = []
    at = 0
    ended = False
    while len(rows) < rows_max:
        begin = _behind_spaces(text, at)
        if text[begin : begin + 1] == ",":
            begin = _behind_spaces(text, begin + 1)
        if text[begin : begin + 1] == "]":
            at, ended = len(text), True
            break
        try:
            _, end = decoder.raw_decode(text, begin)
        except (json.JSONDecodeError, RecursionError) as error:
            is_deep = isinstance(error, RecursionError)
            if rows or not (at_end or is_deep):
                break
            why = "nested too deeply" if is_deep else "malformed, or ends too early"
            raise Malformed(f"the JSON array is {why}", text.count("\n", 0, begin) + 1) from None
        rest = _behind_spaces(text, end)
        if rest >= len(text) and not at_end:
            # A number may go on in the next part.
            break
        raw = text[begin:end].encode("utf-8", "surrogateescape")
        rows.append(FileRow(text.count("\n", 0, begin) + 1, json=raw))
        at = end
    used = text[:at]
    return Taken(rows, len(used.encode("utf-8", "surrogateescape")), used.count("\n"), ended)


def take_unpacked(data: bytes, at_end: bool, rows_max: int) -> Taken:
    """Reads the rows of a spreadsheet as `unpacked` writes them."""
    taken = take_lines(data, at_end, rows_max)
    rows = []
    for row in taken.rows:
        number, fault, *cells = orjson.loads(row.json or b"")
        rows.append(FileRow(number, cells, fault=fault))
    return Taken(rows, taken.size, 0, taken.ended)


def unpacked(number: int, cells: Sequence[str], fault: str | None) -> bytes:
    """A row of a spreadsheet as one line of JSON."""
    plain = [_SURROGATE.sub("\ufffd", cell) if not cell.isascii() else cell for cell in cells]
    return orjson.dumps([number, fault, *plain]) + b"\n"


def _behind_spaces(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return at if found is None else found.end()
