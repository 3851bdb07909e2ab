"""Tells which rows are one product, without a key in the files.

A row's key is made of the columns that do not change of themselves (not the price). Rows that are
equal in everything are one record. Rows with one key that differ in the rest are records of their
own, numbered in the order of the file: nothing is lost, and a person decides.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from deploy.importers.tables.findings import PLACES_KEPT_MAX
from deploy.importers.tables.mapping import MappedRow

_NO_LETTER = re.compile(r"[^\w.+]|_")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which record a row is."""

    code: str
    first_row: int
    """The row that had the key first; its own number for a new product."""
    is_repeated: bool = False
    """Whether that row, or another one with the key, is equal in everything."""
    differs: str = ""
    """In what it differs from the first row with the key."""
    is_less_filled: bool = False
    """Whether one of the two only lacks values that the other has."""


@dataclass(slots=True)
class _Product:
    rows: dict[bytes, int]
    """Content -> the row that had it first."""
    first: int
    changing: Mapping[str, str]


@dataclass(slots=True)
class Products:
    """The products of one table so far."""

    _products: dict[str, _Product] = field(default_factory=dict)

    def identify(self, mapped: MappedRow) -> Identity:
        """The record of the next row."""
        key, content = mapped.key(), mapped.content()
        known = self._products.get(key)
        if known is None:
            changing = _changing(mapped)
            self._products[key] = _Product({content: mapped.number}, mapped.number, changing)
            return Identity(key, mapped.number)
        if content in known.rows:
            return Identity(key, known.rows[content], is_repeated=True)
        known.rows[content] = mapped.number
        changing = _changing(mapped)
        both = known.changing.keys() & changing.keys()
        return Identity(
            f"{key}-{len(known.rows)}",
            known.first,
            differs=_difference(known.changing, changing),
            is_less_filled=known.changing != changing
            and all(known.changing[name] == changing[name] for name in both),
        )


def _changing(mapped: MappedRow) -> dict[str, str]:
    return {one.column.name: one.cell.text for one in mapped.values if not one.column.in_key}


def _difference(first: Mapping[str, str], other: Mapping[str, str]) -> str:
    names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
    said = [
        f"{name} {first.get(name, 'nothing')} and {other.get(name, 'nothing')}" for name in names
    ]
    return ", ".join(said) or "case and spaces"


@dataclass(slots=True)
class Titles:
    """The names of one table, to find those that are spelled in two ways."""

    _rows: dict[str, dict[str, list[int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, title: str, row: int) -> None:
        """One more row."""
        if not title:
            return
        self._counts[title] += 1
        rows = self._rows[_NO_LETTER.sub("", title.casefold())][title]
        if len(rows) < PLACES_KEPT_MAX:
            rows.append(row)

    def spelled_otherwise(self) -> Iterator[tuple[str, str, int, int]]:
        """Name, its more frequent spelling, a row that has the name, how many it stands for."""
        for spellings in self._rows.values():
            if len(spellings) > 1:
                best = max(sorted(spellings), key=self._counts.__getitem__)
                for title, rows in spellings.items():
                    if title != best:
                        unnamed = self._counts[title] - len(rows)
                        for row in rows:
                            yield title, best, row, 1 + (unnamed if row == rows[-1] else 0)
