"""Reads the rows of a CSV file one at a time, and says where each stands.

A value that is absent and an empty cell are the same here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CELL_LENGTH_MAX = 64 * 1024 * 1024
_DELIMITERS = ";,\t|"
_SHOWN_AROUND = 20


class UnreadableCatalogue(Exception):
    """The folder is not a catalogue that can be read; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file: its number and its filled cells by column."""

    line: int
    cells: Mapping[str, str]
    surplus: int = 0
    """Filled cells beyond the last column of the header."""

    def get(self, column: str) -> str:
        """The cell, or an empty text."""
        return self.cells.get(column, "")

    def codes(self, column: str) -> tuple[str, ...]:
        """A comma-separated cell, each code once."""
        return split_codes(self.get(column))

    def labels(self) -> dict[str, str]:
        """Locale -> label."""
        return {
            name.removeprefix("label-"): cell
            for name, cell in self.cells.items()
            if name.startswith("label-")
        }


def key_of(code: str) -> str:
    """What two spellings of one code have in common."""
    return code.casefold()


def split_codes(cell: str) -> tuple[str, ...]:
    """The codes of a comma-separated cell, without repetition."""
    return once(code.strip() for code in cell.split(",") if code.strip())


def read_rows(path: Path) -> Iterator[Row]:
    """Each line with at least one filled cell. The delimiter is the header's most frequent one."""
    for _, row in _read(path):
        if row is not None:
            yield row


def read_header(path: Path) -> tuple[str, ...]:
    """The names of the columns."""
    for header, _ in _read(path):
        return header
    return ()


def once(codes: Iterable[str]) -> tuple[str, ...]:
    """Each of them, without repetition."""
    return tuple(dict.fromkeys(codes))


def _first_line_not_utf_8(path: Path) -> tuple[int, str]:
    """Its number, and what is there around the first byte that is no UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                around = line[max(0, error.start - _SHOWN_AROUND) : error.start + _SHOWN_AROUND]
                return number, around.decode(errors="replace").strip()
    return 0, ""


def _read(path: Path) -> Iterator[tuple[tuple[str, ...], Row | None]]:
    """The header with no row first, then the header with each row."""
    csv.field_size_limit(CELL_LENGTH_MAX)
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = tuple(name.strip() for name in next(reader, []))
            repeated = sorted({name for name in header if header.count(name) > 1})
            if repeated:
                raise UnreadableCatalogue(f"{path} has column {', '.join(repeated)} twice")
            yield header, None
            line = reader.line_num + 1
            for cells in reader:
                filled = {
                    name: cell for name, cell in zip(header, cells, strict=False) if cell != ""
                }
                surplus = sum(cell != "" for cell in cells[len(header) :])
                if filled or surplus:
                    yield header, Row(line, filled, surplus)
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        line, text = _first_line_not_utf_8(path)
        raise UnreadableCatalogue(
            f"{path} is not UTF-8: line {line} has '{text}'. Export it again as UTF-8: a program"
            f" such as a spreadsheet has saved it in another encoding"
        ) from error
    except csv.Error as error:
        raise UnreadableCatalogue(f"{path} line {line} is not valid CSV: {error}") from error
    except OSError as error:
        raise UnreadableCatalogue(f"{path} cannot be read: {error.strerror}") from error
