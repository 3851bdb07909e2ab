"""Turns a row into values of its record, and says what was done to each cell.

Nothing is guessed: a value that does not fit its column is kept as text in `unclear-values`, where
people find it with its column's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from deploy.importers import cells
from deploy.importers.tables.files import ReadRow, Table
from deploy.importers.tables.findings import Concern, Findings
from deploy.importers.tables.inference import ColumnType, Types, title_of
from deploy.importers.tables.reading import (
    Cell,
    Form,
    key_of_text,
    plain,
    read_cell,
    same_number,
)

UNCLEAR = "unclear-values"
_KEY_BYTES = 6
_NAME_IN_KEY_MAX = 60
_NO_LETTER = re.compile(r"[^a-z0-9]+")
_LISTS = (Form.NUMBERS, Form.TEXTS)


class Fate(StrEnum):
    """What became of a filled cell."""

    AS_EXPECTED = "as expected"
    CHANGED = "cleaned or converted"
    UNCLEAR = "kept as text"


@dataclass(frozen=True, slots=True)
class Value:
    """One cell as it will be stored."""

    column: ColumnType
    stored: Any
    """None for a value that is kept as text."""
    cell: Cell
    fate: Fate


@dataclass(slots=True)
class MappedRow:
    """A row on its way to a record."""

    table: Table
    number: int
    values: list[Value] = field(default_factory=list)
    title: str = ""

    @property
    def place(self) -> tuple[str, str, int]:
        """As findings name it."""
        return self.table.category, self.table.file, self.number

    def key(self) -> str:
        """The same for all rows of one product, in whatever file and order they stand."""
        told = [
            f"{value.column.name}={_comparable(value)}"
            for value in self.values
            if value.column.in_key
        ]
        digest = hashlib.blake2b("\n".join(sorted(told)).encode(), digest_size=_KEY_BYTES)
        # Not more than the beginning of the name: it is for people.
        name = _NO_LETTER.sub("-", self.title.casefold())[:_NAME_IN_KEY_MAX].strip("-")
        parts = (self.table.category, name, digest.hexdigest())
        return "-".join(part for part in parts if part)

    def content(self) -> bytes:
        """A digest that is the same for exact duplicates only."""
        said = sorted(
            f"{one.column.name}="
            + (_comparable(one) if one.column.type in ("number", "boolean") else one.cell.text)
            for one in self.values
        )
        return hashlib.blake2b("\n".join(said).encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Mapper:
    """How all rows are mapped."""

    types: Types
    titles: Mapping[str, str]
    """Category -> the column without which there is no record."""
    labels: Mapping[str, Mapping[str, str]]
    """Attribute -> text without regard to case -> the option that it means."""

    def row(self, table: Table, row: ReadRow, findings: Findings | None) -> MappedRow:
        """The values of a row; what is remarkable of them goes into the findings."""
        mapped = MappedRow(table, row.number)
        title = self.titles.get(table.category, "")
        for name, raw in row.cells.items():
            cell = read_cell(raw, is_typed=table.is_typed, decimal_comma=row.decimal_comma)
            column = self.types[table.category, name]
            if cell.form is Form.NOTHING:
                if cell.placeholder and findings is not None:
                    findings.add(
                        mapped.place,
                        name,
                        Concern.PLACEHOLDER,
                        cell.placeholder,
                        expected="a value, or nothing",
                        done="not imported; counted as missing",
                    )
                continue
            value = self._value(mapped, column, cell, findings)
            mapped.values.append(value)
            if name == title:
                mapped.title = cell.text
        return mapped

    def _value(
        self, mapped: MappedRow, column: ColumnType, cell: Cell, findings: Findings | None
    ) -> Value:
        stored, is_converted = _stored(column, cell)
        if stored is None:
            if findings is not None:
                findings.add(
                    mapped.place,
                    column.name,
                    Concern.UNFIT,
                    cell.raw or cell.text,
                    expected=_expectation(column),
                    done=f"kept as text in {UNCLEAR}",
                    suggestion=_suggestion(column, cell),
                )
            return Value(column, None, cell, Fate.UNCLEAR)
        label, is_respelled = (
            self._option(column, stored) if column.type == "option" else (stored, False)
        )
        if findings is not None:
            notes = _Notes(findings, mapped.place, column, cell)
            notes.tell(label, is_converted=is_converted, is_respelled=is_respelled)
        is_changed = is_converted or is_respelled or bool(cell.raw)
        return Value(column, label, cell, Fate.CHANGED if is_changed else Fate.AS_EXPECTED)

    def _option(self, column: ColumnType, stored: Any) -> tuple[Any, bool]:
        """The option that is meant, and whether it is spelled otherwise."""
        known = self.labels[column.code]
        if not column.several:
            label = known[key_of_text(stored)]
            return label, label != stored
        labels = list(dict.fromkeys(known[key_of_text(one)] for one in stored))
        return labels, labels != stored


@dataclass(frozen=True, slots=True)
class _Notes:
    """What is remarkable about a cell that is stored."""

    findings: Findings
    place: tuple[str, str, int]
    column: ColumnType
    cell: Cell

    def tell(self, label: Any, *, is_converted: bool, is_respelled: bool) -> None:
        cell, kind = self.cell, self.column.type
        if cell.is_broken:
            self._add(
                Concern.WRONG_LETTERS,
                cell.text,
                "letters of a language",
                "imported as it is",
                _repaired(cell.text),
            )
        if cell.raw:
            self._add(
                Concern.CLEANED,
                repr(cell.raw)[1:-1],
                "no superfluous or invisible letters",
                "imported without them",
                cell.text,
            )
        if is_converted:
            self._add(
                Concern.CONVERTED,
                f"{cell.text} ({cell.form})",
                _expectation(self.column),
                f"stored as {kind} '{_shown(label)}'",
            )
        elif is_respelled:
            self._add(
                Concern.SPELLING,
                cell.text,
                "one spelling of each option",
                f"taken as '{_shown(label)}'",
                _shown(label),
            )

    def _add(
        self, concern: Concern, value: str, expected: str, done: str, suggestion: str = ""
    ) -> None:
        self.findings.add(
            self.place,
            self.column.name,
            concern,
            value,
            expected=expected,
            done=done,
            suggestion=suggestion,
        )


def _stored(column: ColumnType, cell: Cell) -> tuple[Any, bool]:
    """The value of the column's type, None if there is none; and whether it had another one."""
    match column.type:
        case "number":
            return _number(column, cell), False
        case "boolean":
            return _boolean(cell)
        case "complex":
            return (cell.value if isinstance(cell.value, dict) else None), False
    return _text(column, cell)


def _number(column: ColumnType, cell: Cell) -> Any:
    if cell.form is Form.NUMBER:
        return [cell.value] if column.several else cell.value
    if cell.form is not Form.NUMBERS:
        return None
    if column.several:
        return cell.value
    return cell.value[0] if len(cell.value) == 1 else None


def _boolean(cell: Cell) -> tuple[Any, bool]:
    if cell.form is Form.BOOLEAN:
        return cell.value, False
    try:
        return cells.boolean(cell.text), True
    except cells.Unfit:
        return None, False


def _text(column: ColumnType, cell: Cell) -> tuple[Any, bool]:
    if cell.form is Form.OBJECT:
        return None, False
    if cell.form in _LISTS and column.several:
        items = [one if isinstance(one, str) else plain(one) for one in cell.value]
        return items, cell.is_typed and cell.form is Form.NUMBERS
    text = [cell.text] if column.several else cell.text
    return text, cell.is_typed and cell.form is not Form.TEXT


def _expectation(column: ColumnType) -> str:
    words = {"number": "a number", "boolean": "true or false", "complex": "an object"}
    word = words.get(column.type, "a text")
    if column.several:
        return f"{word}, or a list"
    return word


def _suggestion(column: ColumnType, cell: Cell) -> str:
    """The number that a text with a unit begins or ends with."""
    if column.type != "number" or cell.form is not Form.TEXT:
        return ""
    words = cell.text.replace("$", " ").replace("€", " ").replace("£", " ").split()
    found = []
    for word in words:
        try:
            found.append(cells.number(word))
        except cells.Unfit:
            continue
    return plain(found[0]) if len(found) == 1 else ""


def _repaired(text: str) -> str:
    """What it was before UTF-8 was read as Windows-1252, or nothing."""
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return ""


def _comparable(value: Value) -> str:
    """The same for 5 and 5.0, and for texts that differ in case and spaces only."""
    stored = value.stored
    if stored is None or value.column.type in ("text", "option", "complex"):
        return key_of_text(value.cell.text)
    if isinstance(stored, bool):
        return str(stored)
    several = stored if isinstance(stored, list) else [stored]
    return ",".join(same_number(one) for one in several)


def _shown(label: Any) -> str:
    if isinstance(label, bool):
        return str(label).lower()
    return ", ".join(map(str, label)) if isinstance(label, list) else str(label)


def titles_of(types: Types) -> dict[str, str]:
    """Category -> its title column."""
    names: dict[str, list[str]] = {}
    for category, name in types:
        names.setdefault(category, []).append(name)
    return {category: title_of(found) for category, found in names.items()}
