"""Reads the CSV files of an Akeneo catalogue as they are exported, one row at a time.

A value that is absent and an empty cell are the same here, as they are there. Codes are compared
without regard to case, as Akeneo does.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CELL_LENGTH_MAX = 64 * 1024 * 1024
_DELIMITERS = ";,\t|"

PRODUCTS = "products.csv"
_NEEDED = ("attributes.csv", "families.csv", "channels.csv", PRODUCTS)
_READ = (
    *_NEEDED,
    "attribute_groups.csv",
    "attribute_options.csv",
    "association_types.csv",
    "categories.csv",
    "family_variants.csv",
    "group_types.csv",
    "groups.csv",
    "product_models.csv",
    "currencies.csv",
    "locales.csv",
    "measurement-families.json",
)


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


@dataclass(frozen=True, slots=True)
class SourceAttribute:
    """One row of attributes.csv; `settings` are all its other filled cells."""

    code: str
    type: str
    group: str
    localizable: bool
    scopable: bool
    unique: bool
    sort_order: int
    labels: Mapping[str, str]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SourceOption:
    """One option of a select attribute."""

    code: str
    labels: Mapping[str, str]
    sort_order: int


@dataclass(frozen=True, slots=True)
class SourceGroup:
    """A group of attributes."""

    code: str
    labels: Mapping[str, str]
    sort_order: int


@dataclass(frozen=True, slots=True)
class SourceFamily:
    """A family; requirements are by channel."""

    code: str
    labels: Mapping[str, str]
    attributes: tuple[str, ...]
    requirements: Mapping[str, tuple[str, ...]]
    attribute_as_label: str
    attribute_as_image: str


@dataclass(frozen=True, slots=True)
class SourceChannel:
    """A channel with what it publishes."""

    code: str
    labels: Mapping[str, str]
    locales: tuple[str, ...]
    currencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NamedCode:
    """Anything that is a code with labels: an association type, a product group."""

    code: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProductModels:
    """What is counted of product models, which have no place in Sigma yet."""

    count: int = 0
    cells: int = 0
    codes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything but the products, which are read from `folder` row by row.

    Mappings are keyed by the code in lower case (`key_of`).
    """

    folder: Path
    attributes: Mapping[str, SourceAttribute]
    groups: Mapping[str, SourceGroup]
    options: Mapping[str, tuple[SourceOption, ...]]
    """By attribute."""
    families: Mapping[str, SourceFamily]
    channels: tuple[SourceChannel, ...]
    association_types: Mapping[str, NamedCode]
    product_groups: Mapping[str, NamedCode]
    units: Mapping[str, Mapping[str, str]]
    """Measurement family -> unit -> label in `en_US`, where the folder says them."""
    orphan_options: tuple[tuple[Row, str], ...] = ()
    """Options of an attribute that does not exist: their row and that attribute's code."""
    category_count: int = 0
    variant_families: frozenset[str] = frozenset()
    family_variant_count: int = 0
    product_models: ProductModels = ProductModels()
    unread_files: tuple[str, ...] = ()

    @property
    def locales(self) -> tuple[str, ...]:
        """Those that some channel publishes, in the order of the channels."""
        return _once(locale for channel in self.channels for locale in channel.locales)

    @property
    def currencies(self) -> tuple[str, ...]:
        """As `locales`."""
        return _once(currency for channel in self.channels for currency in channel.currencies)


def key_of(code: str) -> str:
    """What two spellings of one code have in common."""
    return code.casefold()


def split_codes(cell: str) -> tuple[str, ...]:
    """The codes of a comma-separated cell, without repetition."""
    return _once(code.strip() for code in cell.split(",") if code.strip())


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


def read_catalogue(folder: Path) -> Catalogue:
    """All files of a folder but the products, or `UnreadableCatalogue`."""
    if not folder.is_dir():
        raise UnreadableCatalogue(f"{folder} is not a folder")
    absent = [name for name in _NEEDED if not (folder / name).is_file()]
    if absent:
        raise UnreadableCatalogue(f"{folder} does not contain {', '.join(absent)}")

    def rows(name: str) -> list[Row]:
        path = folder / name
        return list(read_rows(path)) if path.is_file() else []

    attributes = {key_of(row.get("code")): _attribute(row) for row in rows("attributes.csv")}
    options: dict[str, list[SourceOption]] = {}
    orphans: list[tuple[Row, str]] = []
    for row in rows("attribute_options.csv"):
        owner = row.get("attribute")
        if key_of(owner) not in attributes:
            orphans.append((row, owner))
            continue
        options.setdefault(key_of(owner), []).append(
            SourceOption(row.get("code"), row.labels(), _whole(row, "sort_order"))
        )
    variants = rows("family_variants.csv")
    catalogue = Catalogue(
        folder=folder,
        attributes=attributes,
        groups={
            key_of(row.get("code")): SourceGroup(
                row.get("code"), row.labels(), _whole(row, "sort_order")
            )
            for row in rows("attribute_groups.csv")
        },
        options={owner: tuple(found) for owner, found in options.items()},
        families={key_of(row.get("code")): _family(row) for row in rows("families.csv")},
        channels=tuple(_channel(row) for row in rows("channels.csv")),
        association_types=_named(rows("association_types.csv")),
        product_groups=_named(rows("groups.csv")),
        units=_units(folder / "measurement-families.json"),
        orphan_options=tuple(orphans),
        category_count=len(rows("categories.csv")),
        variant_families=frozenset(key_of(row.get("family")) for row in variants),
        family_variant_count=len(variants),
        product_models=_product_models(folder / "product_models.csv"),
        unread_files=tuple(
            sorted(path.name for path in folder.iterdir() if path.name not in _READ)
        ),
    )
    if not any(a.type == "pim_catalog_identifier" for a in attributes.values()):
        raise UnreadableCatalogue(f"{folder / 'attributes.csv'} has no identifier attribute")
    if not catalogue.locales:
        raise UnreadableCatalogue(f"{folder / 'channels.csv'} names no locale")
    return catalogue


def _read(path: Path) -> Iterator[tuple[tuple[str, ...], Row | None]]:
    """The header with no row first, then the header with each row."""
    csv.field_size_limit(CELL_LENGTH_MAX)
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
        raise UnreadableCatalogue(f"{path} is not UTF-8: {error.reason}") from error
    except csv.Error as error:
        raise UnreadableCatalogue(f"{path} is not valid CSV: {error}") from error
    except OSError as error:
        raise UnreadableCatalogue(f"{path} cannot be read: {error.strerror}") from error


def _attribute(row: Row) -> SourceAttribute:
    fixed_columns = ("code", "type", "group", "localizable", "scopable", "unique", "sort_order")
    return SourceAttribute(
        code=row.get("code"),
        type=row.get("type"),
        group=row.get("group"),
        localizable=row.get("localizable") == "1",
        scopable=row.get("scopable") == "1",
        unique=row.get("unique") == "1",
        sort_order=_whole(row, "sort_order"),
        labels=row.labels(),
        settings={
            name: cell
            for name, cell in row.cells.items()
            if name not in fixed_columns and not name.startswith("label-")
        },
    )


def _family(row: Row) -> SourceFamily:
    return SourceFamily(
        code=row.get("code"),
        labels=row.labels(),
        attributes=row.codes("attributes"),
        requirements={
            name.removeprefix("requirements-"): row.codes(name)
            for name in row.cells
            if name.startswith("requirements-")
        },
        attribute_as_label=row.get("attribute_as_label"),
        attribute_as_image=row.get("attribute_as_image"),
    )


def _channel(row: Row) -> SourceChannel:
    return SourceChannel(
        row.get("code"), row.labels(), row.codes("locales"), row.codes("currencies")
    )


def _named(rows: list[Row]) -> dict[str, NamedCode]:
    return {key_of(row.get("code")): NamedCode(row.get("code"), row.labels()) for row in rows}


def _product_models(path: Path) -> ProductModels:
    if not path.is_file():
        return ProductModels()
    count, cells, codes = 0, 0, set()
    for row in read_rows(path):
        count += 1
        cells += len(row.cells)
        codes.add(row.get("code"))
    return ProductModels(count, cells, frozenset(codes))


def _units(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        families: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return {
            key_of(family["code"]): {
                code: unit.get("labels", {}).get("en_US", code)
                for code, unit in family["units"].items()
            }
            for family in families
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableCatalogue(f"{path} is not a list of measurement families") from error


def _whole(row: Row, column: str) -> int:
    try:
        return int(row.get(column) or 0)
    except ValueError:
        return 0


def _once(codes: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(codes))
