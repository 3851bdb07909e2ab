"""Finds the tables of a folder or ZIP archive, and reads their rows as they are written.

A row that cannot be read is a `BrokenRow` with its place; the others are read nevertheless.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from deploy.importers.csv_rows import CELL_LENGTH_MAX, UnreadableCatalogue
from records_service.imports.detection import (
    delimiter_of,
    encoding_of,
    separator_line,
    utf_16_of,
)

TABLE_BYTES_MAX = 512 * 1024 * 1024
_SAMPLE = 64 * 1024
_LISTS, _LINES, _CELLS = (".json",), (".jsonl", ".ndjson"), (".csv", ".tsv")
_ENDINGS = (*_LISTS, *_LINES, *_CELLS)
_MODEL = "model.csv"
"""How a model is called, which is no table."""


@dataclass(frozen=True, slots=True)
class ReadRow:
    """One row: its place, and its cells by column."""

    number: int
    """The line of a CSV or JSON Lines file; the place in the list, from 1, of a JSON file."""
    cells: Mapping[str, Any]
    short_by: int = 0
    """Columns for which a CSV row has no cell at all."""
    decimal_comma: bool = False
    """Whether a comma in a number is that of decimals, because another sign separates cells."""


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """What cannot be read as a row, and why; 0 stands for a file that cannot be read at all."""

    number: int
    why: str


@dataclass(frozen=True, slots=True)
class Text:
    """A decoded file."""

    text: str
    encoding: str


@dataclass(frozen=True, slots=True)
class Table:
    """One file; its name is that of the category."""

    path: Path
    member: str = ""
    """In the archive that `path` is, if it is one."""
    file: str = field(init=False)
    """The name of the file, for people."""
    category: str = field(init=False)
    """What its rows are."""
    is_typed: bool = field(init=False)
    """Whether numbers and texts are told apart by the file."""

    def __post_init__(self) -> None:
        name = PurePosixPath(self.member or self.path.name)
        object.__setattr__(self, "file", name.name)
        object.__setattr__(self, "category", name.stem)
        object.__setattr__(self, "is_typed", name.suffix.lower() not in _CELLS)

    @property
    def encoding(self) -> str:
        """What its text is read in."""
        try:
            return self.decoded().encoding
        except _TooLarge:
            return "utf-8"

    def rows(self) -> Iterator[ReadRow | BrokenRow]:
        """From the first; each call reads the file again."""
        ending = PurePosixPath(self.file).suffix.lower()
        try:
            decoded = self.decoded()
        except _TooLarge as why:
            yield BrokenRow(0, str(why))
            return
        if ending in _LISTS:
            yield from _rows_of_list(decoded.text)
        elif ending in _LINES:
            yield from _rows_of_lines(decoded.text)
        else:
            yield from _rows_of_cells(decoded.text, "\t" if ending == ".tsv" else None)

    def decoded(self) -> Text:
        """The text, and the encoding that it was read in."""
        raw = self._bytes()
        wide = utf_16_of(raw[:_SAMPLE])
        if wide is not None:
            return Text(raw.decode(wide, errors="replace"), wide)
        try:
            return Text(raw.decode("utf-8-sig"), "utf-8")
        except UnicodeDecodeError as error:
            # Around the first letter that is no UTF-8 there is more to tell it by.
            start = max(0, error.start - _SAMPLE // 2)
            encoding = encoding_of(raw[start : start + _SAMPLE])
            return Text(raw.decode(encoding, errors="replace"), encoding)

    def _bytes(self) -> bytes:
        try:
            if not self.member:
                if self.path.stat().st_size > TABLE_BYTES_MAX:
                    raise _TooLarge
                return self.path.read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                if archive.getinfo(self.member).file_size > TABLE_BYTES_MAX:
                    raise _TooLarge
                return archive.read(self.member)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UnreadableCatalogue(f"{self.path} cannot be unpacked: {error}") from error
        except OSError as error:
            raise UnreadableCatalogue(f"{self.path} cannot be read: {error.strerror}") from error


class _TooLarge(Exception):
    def __str__(self) -> str:
        return f"the file has more than {TABLE_BYTES_MAX >> 20} MiB: split it"


def find_tables(place: Path) -> tuple[Table, ...]:
    """The tables of a folder or archive, or of the first place in it that has any; else none.

    Of several places and of several files of one category, JSON comes first: it keeps types.
    """
    places = [[*_of(one)] for one in _places(place)]
    filled = [tables for tables in places if tables]
    if not filled:
        return ()
    best = max(filled, key=lambda tables: tables[0].is_typed)
    by_category: dict[str, Table] = {}
    for table in sorted(best, key=lambda one: (not one.is_typed, one.file)):
        by_category.setdefault(table.category.casefold(), table)
    return tuple(sorted(by_category.values(), key=lambda one: one.category))


def _places(place: Path) -> Iterator[Path]:
    yield place
    if not place.is_dir():
        return
    inside = sorted(place.iterdir())
    folders = [one for one in inside if one.is_dir() and not one.name.startswith(".")]
    yield from folders
    for folder in (place, *folders):
        yield from sorted(folder.glob("*.zip"))


def _of(place: Path) -> Iterator[Table]:
    if place.is_dir():
        for path in sorted(place.iterdir()):
            if path.is_file() and _is_table(path.name):
                yield Table(path)
    elif place.is_file() and zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            for name in sorted(archive.namelist()):
                if _is_table(PurePosixPath(name).name) and not name.startswith("__MACOSX"):
                    yield Table(place, name)


def _is_table(name: str) -> bool:
    return name.lower().endswith(_ENDINGS) and not name.startswith(".") and name.lower() != _MODEL


def _rows_of_list(text: str) -> Iterator[ReadRow | BrokenRow]:
    try:
        rows = orjson.loads(text)
    except ValueError as error:
        yield BrokenRow(0, f"the file is not valid JSON: {error}")
        return
    if not isinstance(rows, list):
        yield BrokenRow(0, "the file is not a list of rows: it must begin with [")
        return
    for number, row in enumerate(rows, 1):
        yield _row(number, row)


def _rows_of_lines(text: str) -> Iterator[ReadRow | BrokenRow]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield _row(number, orjson.loads(line))
        except ValueError as error:
            yield BrokenRow(number, f"the line is not valid JSON: {error}")


def _row(number: int, row: Any) -> ReadRow | BrokenRow:
    if not isinstance(row, dict):
        return BrokenRow(number, "the row is not an object with a value for each column")
    return ReadRow(number, row)


def _rows_of_cells(text: str, delimiter: str | None) -> Iterator[ReadRow | BrokenRow]:
    csv.field_size_limit(CELL_LENGTH_MAX)
    skipped = 0
    named = separator_line(text)
    if named is not None:
        delimiter, skipped = named[0], 1
        text = text[named[1] :]
    delimiter = delimiter or delimiter_of(text[:_SAMPLE])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() or f"column {place}" for place, name in enumerate(next(reader), 1)]
    except StopIteration:
        return
    except csv.Error as error:
        yield BrokenRow(0, f"the header is not valid CSV: {error}")
        return
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        yield BrokenRow(0, f"the header has column '{twice[0]}' twice")
        return
    line = reader.line_num + 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BrokenRow(line + skipped, _fault_of(error, reader.line_num - line + 1))
        else:
            if cells:
                yield _row_of_cells(line + skipped, header, cells, delimiter != ",")
        line = reader.line_num + 1


def _fault_of(error: csv.Error, lines: int) -> str:
    if "end of data" in str(error):
        return f"a quote is opened here and never closed: the {lines} lines to the end are in it"
    return f"the line is not valid CSV: {error}"


def _row_of_cells(
    number: int, header: list[str], found: list[str], decimal_comma: bool
) -> ReadRow | BrokenRow:
    if any(cell.strip() for cell in found[len(header) :]):
        return BrokenRow(
            number,
            f"the row has {len(found)} cells, and the header {len(header)} columns:"
            f" is a delimiter or a quote wrong?",
        )
    short_by = max(0, len(header) - len(found))
    return ReadRow(number, dict(zip(header, found, strict=False)), short_by, decimal_comma)
