"""Maps each row of a Magento export to a record or variant, and accounts for every cell.

A configurable product is a record, and the products that its `configurable_variations` name are its
variants. The export writes these before their parent, so files are read twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from deploy.importers import cells
from deploy.importers.csv_rows import Row, key_of, read_rows
from deploy.importers.inheriting import Values, own_values
from deploy.importers.magento.columns import (
    ADDITIONAL,
    CATEGORIES,
    SET,
    SKU,
    STORE_VIEW,
    label_of,
    pairs_of,
    paths_of,
)
from deploy.importers.magento.modelling import Modelling
from deploy.importers.magento.survey import Survey
from deploy.importers.names import Names
from deploy.importers.plan import Entry, Kind, Parent, Problem, RecordPlan, RefusedRow


@dataclass(frozen=True, slots=True)
class Products:
    """The products of an export; each call of `records` reads the files again."""

    found: Survey
    modelling: Modelling
    names: Names
    media_base_url: str | None

    def records(self) -> Iterator[RecordPlan | RefusedRow]:
        """The products that stand by themselves, then their variants."""
        resolved: dict[str, tuple[str, Values]] = {}
        yield from self._alone(resolved)
        yield from self._variants(resolved)

    def _alone(self, resolved: dict[str, tuple[str, Values]]) -> Iterator[RecordPlan | RefusedRow]:
        """Notes in `resolved` the schema and values of each, by SKU in lower case."""
        for file, row in self._rows():
            key = key_of(row.get(SKU))
            if key in self.found.parents:
                continue
            refusal = _refusal(row)
            if refusal is None and key in resolved:
                refusal = "repeats a product"
            if refusal is not None:
                yield _refused(row, file, refusal, Kind.RECORDS)
                continue
            plan = self._read(row, file).plan(None, None)
            resolved[key] = plan.schema_id, plan.values
            yield plan

    def _variants(
        self, resolved: dict[str, tuple[str, Values]]
    ) -> Iterator[RecordPlan | RefusedRow]:
        seen: set[str] = set()
        for file, row in self._rows():
            key = key_of(row.get(SKU))
            if key not in self.found.parents:
                continue
            refusal = _refusal(row)
            if refusal is None and key in seen:
                refusal = "repeats a product"
            parent, axes = self.found.parents[key]
            refusal = refusal or self._refusal_of_parent(row, parent, resolved)
            if refusal is not None:
                yield _refused(row, file, refusal, Kind.VARIANTS)
                continue
            seen.add(key)
            aliases = {self.names.alias(code) for code in axes}
            read = self._read(row, file)
            own = own_values(read.values, resolved[parent][1], aliases.__contains__)
            yield read.plan(Parent(self.names.record(parent)), own)

    def _refusal_of_parent(
        self, row: Row, parent: str, resolved: dict[str, tuple[str, Values]]
    ) -> str | None:
        if parent not in resolved:
            return f"is a variation of '{parent}', which was refused"
        if resolved[parent][0] != self.names.schema(row.get(SET)):
            return f"has attribute set '{row.get(SET)}', which is not that of '{parent}'"
        return None

    def _rows(self) -> Iterator[tuple[str, Row]]:
        for path in self.found.exports:
            for row in read_rows(path):
                yield str(path.relative_to(self.found.folder)), row

    def _read(self, row: Row, file: str) -> _ProductRow:
        read = _ProductRow(self, row, file)
        read.go()
        return read


def _refusal(row: Row) -> str | None:
    if row.surplus:
        return "has more cells than the header has columns"
    if not row.get(SKU):
        return "has no SKU"
    if not row.get(SET):
        return "has no attribute set"
    if row.get(STORE_VIEW):
        return f"is of store view '{row.get(STORE_VIEW)}': only values of all views are imported"
    return None


def _refused(row: Row, file: str, why: str, kind: Kind) -> RefusedRow:
    problem = Problem(kind, row.get(SKU) or "?", why, file=file, line=row.line)
    return RefusedRow(problem, len(row.cells) + row.surplus)


@dataclass(slots=True)
class _ProductRow:
    """One row while its cells are gone through."""

    products: Products
    row: Row
    file: str
    values: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    left: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    told_otherwise: int = 0
    categories: tuple[str, ...] = ()
    category_columns: tuple[str, ...] = ()

    def go(self) -> None:
        """Through all cells."""
        for column, cell in self.row.cells.items():
            match column:
                case "attribute_set_code" | "configurable_variations":
                    self.told_otherwise += 1
                case "categories":
                    self._take_categories(cell)
                case "additional_attributes":
                    self._take_additional(cell)
                case _:
                    self._take(column, cell, (column,))

    def plan(self, parent: Parent | None, own: Values | None) -> RecordPlan:
        """What it becomes; `own` are the values of a variant that it does not inherit."""
        names, sku = self.products.names, self.row.get(SKU)
        values = self.values if own is None else own
        return RecordPlan(
            id=names.record(sku) if parent is None else names.variant(sku),
            source=sku,
            line=self.row.line,
            schema_id=names.schema(self.row.get(SET)),
            values=values,
            told_otherwise=self.told_otherwise + _columns_of(self.values) - _columns_of(values),
            left=self.left,
            problems=tuple(self.problems),
            external_key=names.external_key(sku) if parent is None else None,
            parent=parent,
            categories=self.categories,
            category_columns=self.category_columns,
            file=self.file,
        )

    def _take_categories(self, cell: str) -> None:
        ids = [self.products.modelling.category(path) for path in paths_of(cell)]
        self.categories = tuple(one for one in ids if one)
        if self.categories:
            self.category_columns = (CATEGORIES,)
        else:
            # Everything is in the root, which is the catalog.
            self.told_otherwise += 1

    def _take_additional(self, cell: str) -> None:
        """One cell with many values: it is where the first of them is."""
        columns: tuple[str, ...] = (ADDITIONAL,)
        before = len(self.problems)
        for code, value in pairs_of(cell).items():
            if self._take(code, value, columns):
                columns = ()
        refused = self.problems[before:]
        if columns and refused:
            del self.problems[before + 1 :]
            del refused[0]
        elif columns:
            self.told_otherwise += 1
        else:
            del self.problems[before:]
        # The cell is counted already, so the others that are refused of it count no cell.
        self.problems += [replace(problem, columns=()) for problem in refused]

    def _take(self, code: str, cell: str, columns: tuple[str, ...]) -> bool:
        """Whether it is a value now."""
        alias = self.products.names.alias(code)
        try:
            value = self._value(code, cell)
        except cells.Unfit as why:
            self.problems.append(
                Problem(
                    Kind.VARIANTS
                    if key_of(self.row.get(SKU)) in self.products.found.parents
                    else Kind.RECORDS,
                    self.row.get(SKU),
                    str(why),
                    file=self.file,
                    line=self.row.line,
                    columns=columns or (ADDITIONAL,),
                    attribute=alias,
                    value=cells.short(cell),
                )
            )
            return False
        if value is None:
            return False
        self.values[alias] = (Entry({}, value, columns),)
        return True

    def _value(self, code: str, cell: str) -> Any:
        modelling, names = self.products.modelling, self.products.names
        match modelling.type_of(code):
            case "boolean":
                return cells.boolean(cell)
            case "number":
                return cells.number(cell)
            case "datetime":
                return cells.day(cell)
            case "media":
                return self._media(code, cell)
            case "option":
                is_multiple = modelling.is_multiple(code)
                texts = cell.split("|") if is_multiple else [cell]
                known = modelling.options[code]
                labels = [known[key_of(label_of(text))] for text in texts if label_of(text)]
                ids = list(dict.fromkeys(names.option(code, label) for label in labels))
                return ids if is_multiple else ids[0]
            case _:
                return cell

    def _media(self, code: str, cell: str) -> Any:
        base = self.products.media_base_url
        is_list = self.products.modelling.is_multiple(code)
        paths = [path.strip() for path in cell.split(",")] if is_list else [cell]
        if base is None and not all(one.startswith(("http://", "https://")) for one in paths):
            what = "references to files (no --media-base-url says where they are)"
            filled, things = self.left.get(what, (0, 0))
            self.left[what] = (filled + 1, things + len(paths))
            return None
        urls = [cells.address(base or "", path) for path in paths if path]
        return list(dict.fromkeys(urls)) if is_list else urls[0]


def _columns_of(values: Values) -> int:
    return sum(len(entry.columns) for entries in values.values() for entry in entries)
