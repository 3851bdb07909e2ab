"""Reads an export once before its model is planned: what is declared, and what products use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deploy.importers.csv_rows import Row, UnreadableCatalogue, key_of, read_header, read_rows
from deploy.importers.magento.columns import (
    ADDITIONAL,
    CATEGORIES,
    PACKED,
    SET,
    SKU,
    TYPE,
    VARIATIONS,
    label_of,
    pairs_of,
    paths_of,
    variations_of,
)

_DECLARES = {"attribute_code", "frontend_input"}
_SEVERAL = "multiselect"


@dataclass(slots=True)
class Declared:
    """An attribute of attributes.csv; several files may declare parts of it."""

    code: str
    label: str
    input: str
    is_unique: bool
    options: dict[str, str] = field(default_factory=dict)
    """Label in lower case -> label."""


@dataclass(slots=True)
class Survey:
    """What one pass over the files found."""

    folder: Path
    exports: tuple[Path, ...]
    declared: dict[str, Declared] = field(default_factory=dict)
    """By code."""
    columns: dict[str, None] = field(default_factory=dict)
    """Columns that some product fills, but for the packed ones."""
    sets: dict[str, dict[str, None]] = field(default_factory=dict)
    """Attribute set -> codes of all attributes that its products fill."""
    with_variants: set[str] = field(default_factory=set)
    """Attribute sets that have configurable products."""
    parents: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """Variant's SKU in lower case -> its parent's, and the attributes by which it varies."""
    paths: dict[tuple[str, ...], None] = field(default_factory=dict)
    """All category paths, each after the path above it."""
    used_options: dict[str, dict[str, str]] = field(default_factory=dict)
    """Attribute -> options in use that no file declares, label in lower case -> label."""
    rows: int = 0
    filled_cells: int = 0


def exports_in(folder: Path) -> Iterator[Path]:
    """The CSV files below a folder that are exports of products."""
    for path in sorted(folder.rglob("*.csv")):
        try:
            if {SKU, SET, TYPE} <= set(read_header(path)):
                yield path
        except UnreadableCatalogue:
            continue


def survey(folder: Path) -> Survey:
    """All of it; `UnreadableCatalogue` where there is no export of products."""
    if not folder.is_dir():
        raise UnreadableCatalogue(f"{folder} is not a folder")
    found = Survey(folder, tuple(exports_in(folder)))
    if not found.exports:
        raise UnreadableCatalogue(f"{folder} has no CSV file with columns {SKU}, {SET}, {TYPE}")
    for path in sorted(folder.rglob("*.csv")):
        if path not in found.exports and set(read_header(path)) >= _DECLARES:
            for row in read_rows(path):
                _declare(row, found)
    skus, wanted = set(), {}
    for path in found.exports:
        for row in read_rows(path):
            _count(row, found)
            skus.add(key_of(row.get(SKU)))
            for variation in variations_of(row.get(VARIATIONS)):
                axes = frozenset(variation) - {SKU}
                wanted[key_of(variation.get(SKU, ""))] = (key_of(row.get(SKU)), axes)
    # A product has one place: of two parents, the last keeps it.
    found.parents = {sku: parent for sku, parent in wanted.items() if sku in skus}
    return found


def _declare(row: Row, found: Survey) -> None:
    code = row.get("attribute_code")
    label = row.get("frontend_label").splitlines()[0] if row.get("frontend_label") else code
    one = found.declared.setdefault(
        code, Declared(code, label, row.get("frontend_input"), row.get("is_unique") == "1")
    )
    for text in row.get("option").splitlines():
        option = label_of(text)
        if option:
            one.options.setdefault(key_of(option), option)


def _count(row: Row, found: Survey) -> None:
    found.rows += 1
    found.filled_cells += len(row.cells) + row.surplus
    name = row.get(SET)
    in_set = found.sets.setdefault(name, {})
    if row.get(VARIATIONS):
        found.with_variants.add(name)
    for column in row.cells:
        if column not in PACKED:
            found.columns[column] = in_set[column] = None
    for code, value in pairs_of(row.get(ADDITIONAL)).items():
        in_set[code] = None
        _note_options(code, value, found)
    for path in paths_of(row.get(CATEGORIES)):
        for length in range(1, len(path) + 1):
            found.paths[path[:length]] = None


def _note_options(code: str, value: str, found: Survey) -> None:
    declared = found.declared.get(code)
    if declared is None or declared.input not in ("select", _SEVERAL):
        return
    for text in value.split("|") if declared.input == _SEVERAL else [value]:
        option = label_of(text)
        if option and key_of(option) not in declared.options:
            found.used_options.setdefault(code, {}).setdefault(key_of(option), option)
