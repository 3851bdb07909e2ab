"""Writes a spreadsheet while its rows are still being read (ECMA-376, SpreadsheetML).

The libraries that write XLSX keep all rows, or a file of all of them, until the last one is known.
Here each part of the ZIP archive is compressed and handed out as it is made. Texts stand in their
cells and not in a list of all texts. A sheet has 1,048,576 rows at most; more go on in further
sheets, each with the header.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from typing import IO, Final
from xml.sax.saxutils import escape

from records_service.tabular.cells import Cell

ROWS_PER_SHEET_MAX: Final = 1_048_576
EXACT_INTEGER_MAX: Final = 2**53
"""Spreadsheets compute with doubles: a larger whole number stands as a text."""
_MEMBER_DATE: Final = (1980, 1, 1, 0, 0, 0)
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_TYPES: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_NOT_IN_XML: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0d\x0e-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)"
)
"""What XML cannot hold or would change, and what would be taken for such an escape."""


class _Sink:
    """Collects what the archive is made of; nothing is ever read back or changed."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        """What was written since it was taken last."""
        taken, self._parts = b"".join(self._parts), []
        return taken


class XlsxWriter:
    """A workbook with one sheet, or with as many as the rows need."""

    def __init__(self) -> None:
        self._sink = _Sink()
        # It asks a file for more only if that can seek.
        self._zip = zipfile.ZipFile(
            self._sink,  # type: ignore[call-overload]
            "w",
            zipfile.ZIP_DEFLATED,
        )
        self._sheet: IO[bytes] | None = None
        self._sheets = 0
        self._rows_left = 0
        self._header: Sequence[str] = ()

    def begin(self, header: Sequence[str]) -> bytes:
        """The first sheet and its header."""
        self._header = header
        self._open_sheet()
        return self._sink.take()

    def rows(self, rows: Sequence[Sequence[Cell]]) -> bytes:
        """Some rows."""
        rest = list(rows)
        while rest:
            if self._rows_left == 0:
                self._close_sheet()
                self._open_sheet()
            now, rest = rest[: self._rows_left], rest[self._rows_left :]
            self._write(now)
        return self._sink.take()

    def end(self) -> bytes:
        """What names the sheets, and the directory of the archive."""
        self._close_sheet()
        numbers = range(1, self._sheets + 1)
        sheets = "".join(
            f'<sheet name="{"Records" if n == 1 else f"Records {n}"}" sheetId="{n}" r:id="rId{n}"/>'
            for n in numbers
        )
        self._member(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{sheets}</sheets></workbook>',
        )
        leads = "".join(_relationship(n, "worksheet", f"worksheets/sheet{n}.xml") for n in numbers)
        self._member("xl/_rels/workbook.xml.rels", _relationships(leads))
        self._member(
            "_rels/.rels",
            _relationships(_relationship(1, "officeDocument", "xl/workbook.xml")),
        )
        overrides = "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml"'
            f' ContentType="{_TYPES}.worksheet+xml"/>'
            for n in numbers
        )
        self._member(
            "[Content_Types].xml",
            f'<Types xmlns="{_PACKAGE}/content-types">'
            '<Default Extension="rels"'
            ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
            f"{overrides}</Types>",
        )
        self._zip.close()
        return self._sink.take()

    def _open_sheet(self) -> None:
        self._sheets += 1
        self._rows_left = ROWS_PER_SHEET_MAX
        info = _info(f"xl/worksheets/sheet{self._sheets}.xml")
        self._sheet = self._zip.open(info, "w", force_zip64=True)
        self._sheet.write(f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
        self._write([self._header])

    def _close_sheet(self) -> None:
        if self._sheet is not None:
            self._sheet.write(b"</sheetData></worksheet>")
            self._sheet.close()

    def _write(self, rows: Sequence[Sequence[Cell]]) -> None:
        assert self._sheet is not None
        text = []
        for row in rows:
            number = ROWS_PER_SHEET_MAX - self._rows_left + 1
            self._rows_left -= 1
            cells = "".join(
                _cell(f"{column_letters(index)}{number}", cell)
                for index, cell in enumerate(row)
                if cell != ""
            )
            text.append(f'<row r="{number}">{cells}</row>')
        self._sheet.write("".join(text).encode())

    def _member(self, name: str, content: str) -> None:
        self._zip.writestr(_info(name), _HEAD + content)


def column_letters(index: int) -> str:
    """The name of a column: 0 is `A`, 26 is `AA`."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _MEMBER_DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _relationships(leads: str) -> str:
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{leads}</Relationships>'


def _relationship(number: int, kind: str, target: str) -> str:
    return f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'


def _cell(at: str, cell: Cell) -> str:
    if isinstance(cell, bool):
        return f'<c r="{at}" t="b"><v>{int(cell)}</v></c>'
    if isinstance(cell, float) or (isinstance(cell, int) and abs(cell) <= EXACT_INTEGER_MAX):
        return f'<c r="{at}"><v>{cell}</v></c>'
    text = escape(_NOT_IN_XML.sub(_escaped, str(cell)))
    return f'<c r="{at}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def _escaped(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):04X}_"
