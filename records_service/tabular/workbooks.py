"""Reads a spreadsheet row by row, in constant memory, however it is made (ECMA-376, SpreadsheetML).

Readers of XLSX either load a whole sheet or keep something of each row, and all texts of the
workbook. Here the sheet is parsed as it is unpacked, and the list of texts is put into a temporary
file. What could fill the memory is refused: archives that unpack to far more than they are, cells,
tags and rows beyond what a spreadsheet can have, document types, and thus entities.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Final
from xml.parsers import expat

from records_service.tabular.sheet_texts import Texts, UnusableFile
from records_service.tabular.xml_parts import Handler, check_size, elements, parsed
from shared.errors import truncated

COLUMNS_MAX: Final = 16_384
TEXTS_PART_MAX: Final = 512 << 20
"""With the XML around them: they are read at one go."""
CELL_MAX: Final = 1 << 20
ROW_MAX: Final = 10 << 20
"""Characters, also where many cells refer to one text."""
_ESCAPE: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_QUOTED: Final = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?![hms]+\])[^\]]*\]', re.IGNORECASE)
_DATE_LETTERS: Final = re.compile(r"[dmyhs]", re.IGNORECASE)
_DATE_FORMATS: Final = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A row of a sheet: its number there, and its cells as text; `fault` if one is an error."""

    number: int
    cells: list[str]
    fault: str | None = None


@dataclass(slots=True)
class Workbook:
    """An open spreadsheet: its sheets in order, its texts, and which formats are dates."""

    archive: zipfile.ZipFile
    sheets: list[tuple[str, str]]
    """Name and part of each."""
    texts: Texts
    date_styles: frozenset[int]
    epoch: datetime


def open_workbook(file: IO[bytes]) -> Workbook:
    """The spreadsheet in this file; raises `UnusableFile`."""
    try:
        archive = zipfile.ZipFile(file)
        check_size(archive)
        sheets, is_1904 = _sheets(archive)
        if not sheets:
            raise UnusableFile("The workbook has no sheet")
        date_styles = _date_styles(archive)
        return Workbook(
            archive=archive,
            sheets=sheets,
            # Last: whoever has the workbook closes them.
            texts=_texts(archive),
            date_styles=date_styles,
            epoch=datetime(1904, 1, 1) if is_1904 else datetime(1899, 12, 30),  # noqa: DTZ001
        )
    except (zipfile.BadZipFile, KeyError, expat.ExpatError, NotImplementedError, OSError) as error:
        raise UnusableFile("The file is not a readable XLSX workbook") from error


def sheet_rows(workbook: Workbook, part: str) -> Iterator[SheetRow]:
    """The rows of one sheet that have a cell; raises `UnusableFile`, with the row."""
    reader = _Sheet(workbook)
    try:
        with workbook.archive.open(part) as source:
            for _ in parsed(source, reader):
                yield from reader.take()
    except (zipfile.BadZipFile, expat.ExpatError, EOFError, ValueError, OSError) as error:
        raise UnusableFile(f"The sheet is damaged after row {reader.number}") from error
    except UnusableFile as fault:
        raise UnusableFile(f"Row {reader.number}: {fault}") from None


def text_of_number(raw: str) -> str:
    """A number as the spreadsheet shows it without a format: 2.4500000000000002 is 2.45."""
    number = float(raw)
    if number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    return repr(number)


class _StringTable(Handler):
    """The list of texts; what is said about how to pronounce them is left out."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._parts: list[str] = []
        self._size = 0
        self._wanted = False
        self._spoken = False

    def start(self, name: str, attributes: dict[str, str]) -> None:  # noqa: ARG002
        if name == "si":
            self._parts, self._size = [], 0
        elif name == "rPh":
            self._spoken = True
        self._wanted = name == "t" and not self._spoken

    def end(self, name: str) -> None:
        self._wanted = False
        if name == "rPh":
            self._spoken = False
        elif name == "si":
            self._texts.add(_unescaped("".join(self._parts)))

    def text(self, text: str) -> None:
        if self._wanted:
            self._size += len(text)
            if self._size > CELL_MAX:
                raise UnusableFile(f"A text has more than {CELL_MAX} characters")
            self._parts.append(text)


class _Sheet(Handler):
    """The rows of a sheet."""

    def __init__(self, workbook: Workbook) -> None:
        self._workbook = workbook
        self._ready: list[SheetRow] = []
        self.number = 0
        self._cells: dict[int, str] = {}
        self._fault: str | None = None
        self._column = -1
        self._kind = "n"
        self._style = 0
        self._parts: list[str] = []
        self._size = 0
        self._row_size = 0
        self._wanted = False
        self._spoken = False

    def take(self) -> list[SheetRow]:
        """The rows that have ended since."""
        ready, self._ready = self._ready, []
        return ready

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            said = attributes.get("r", "")
            number = int(said) if said.isdecimal() and len(said) < 9 else 0  # noqa: PLR2004
            self.number = number if number > self.number else self.number + 1
            self._cells, self._fault, self._column, self._row_size = {}, None, -1, 0
        elif name == "c":
            self._begin_cell(attributes)
        elif name == "rPh":
            self._spoken = True
        self._wanted = name == "v" or (name == "t" and not self._spoken)

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        found = _REFERENCE.fullmatch(attributes.get("r", ""))
        self._column = self._column + 1 if found is None else column_index(found[1])
        if self._column >= COLUMNS_MAX:
            raise UnusableFile(f"The row has more than {COLUMNS_MAX} columns")
        self._kind = attributes.get("t", "n")
        self._style = int(attributes.get("s", "0"))
        self._parts, self._size = [], 0

    def end(self, name: str) -> None:
        self._wanted = False
        if name == "rPh":
            self._spoken = False
        elif name == "c":
            text = self._cell("".join(self._parts))
            self._row_size += len(text)
            if self._row_size > ROW_MAX:
                raise UnusableFile(f"The row has more than {ROW_MAX} characters")
            if text:
                self._cells[self._column] = text
        elif name == "row" and (self._cells or self._fault):
            width = max(self._cells, default=-1) + 1
            cells = [self._cells.get(index, "") for index in range(width)]
            self._ready.append(SheetRow(self.number, cells, self._fault))

    def text(self, text: str) -> None:
        if self._wanted:
            self._size += len(text)
            if self._size > CELL_MAX:
                raise UnusableFile(f"A cell has more than {CELL_MAX} characters")
            self._parts.append(text)

    def _cell(self, raw: str) -> str:
        text = raw
        match self._kind if raw else "":
            case "s":
                text = self._workbook.texts.get(int(raw))
            case "inlineStr" | "str":
                text = _unescaped(raw)
            case "b":
                text = "true" if raw == "1" else "false"
            case "e":
                self._fault = f"A cell holds the error '{truncated(raw)}' of a formula"
            case "n" if self._style in self._workbook.date_styles:
                text = _date(float(raw), self._workbook.epoch)
            case "n":
                text = text_of_number(raw)
        return text


def column_index(letters: str) -> int:
    """The number of a column, from 0: `A` is 0, `AA` is 26."""
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - ord("A") + 1
    return index - 1


def _date(days: float, epoch: datetime) -> str:
    """A date, or a date and time, of a number of days since the epoch."""
    try:
        at = epoch + timedelta(seconds=round(days * 86_400, 3))
    except OverflowError:
        raise UnusableFile("A cell holds a date that no calendar has") from None
    if at.time().isoformat() == "00:00:00":
        return at.date().isoformat()
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds")


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _sheets(archive: zipfile.ZipFile) -> tuple[list[tuple[str, str]], bool]:
    """Name and part of each sheet, and whether days are counted from 1904."""
    targets = {
        attributes["Id"]: attributes["Target"]
        for name, attributes in elements(archive, "xl/_rels/workbook.xml.rels", "Relationship")
        if name == "Relationship"
        and attributes.get("Type", "").endswith("/worksheet")
        and {"Id", "Target"} <= attributes.keys()
    }
    sheets: list[tuple[str, str]] = []
    is_1904 = False
    for name, attributes in elements(archive, "xl/workbook.xml", "workbookPr", "sheet"):
        if name == "workbookPr":
            is_1904 = attributes.get("date1904") in ("1", "true")
        elif name == "sheet":
            relation = next(
                (value for key, value in attributes.items() if key.endswith(" id")), None
            )
            target = targets.get(relation or "")
            if target is not None:
                part = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
                sheets.append((attributes.get("name", ""), part))
    return sheets, is_1904


def _texts(archive: zipfile.ZipFile) -> Texts:
    texts = Texts()
    try:
        _read_texts(archive, texts)
    except BaseException:
        texts.close()
        raise
    return texts


def _read_texts(archive: zipfile.ZipFile, texts: Texts) -> None:
    if "xl/sharedStrings.xml" in archive.namelist():
        if archive.getinfo("xl/sharedStrings.xml").file_size > TEXTS_PART_MAX:
            raise UnusableFile(f"The texts of the workbook have more than {TEXTS_PART_MAX} bytes")
        with archive.open("xl/sharedStrings.xml") as source:
            for _ in parsed(source, _StringTable(texts)):
                pass


def _date_styles(archive: zipfile.ZipFile) -> frozenset[int]:
    """The styles of cells whose numbers are dates."""
    if "xl/styles.xml" not in archive.namelist():
        return frozenset()
    custom: set[int] = set()
    styles: set[int] = set()
    number, inside = 0, False
    for name, attributes in elements(archive, "xl/styles.xml", "numFmt", "cellXfs", "xf"):
        if name == "numFmt":
            code = _QUOTED.sub("", attributes.get("formatCode", ""))
            if _DATE_LETTERS.search(code):
                custom.add(int(attributes.get("numFmtId", "-1")))
        elif name in ("cellXfs", "/cellXfs"):
            inside = name == "cellXfs"
        elif name == "xf" and inside:
            said = int(attributes.get("numFmtId", "0"))
            if said in _DATE_FORMATS or said in custom:
                styles.add(number)
            number += 1
    return frozenset(styles)
