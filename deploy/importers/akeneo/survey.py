"""Reads all products once before the data model is planned, to collect what it depends on.

Which codes and units are used that no file declares, which attributes stand outside their family,
and which locale, channel and currency is filled most.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.importers.akeneo import cells
from deploy.importers.akeneo.columns import Column, Role, identifier_of, understand
from deploy.importers.akeneo.names import CHANNEL, CURRENCY, LOCALE
from deploy.importers.akeneo.reading import (
    PRODUCTS,
    Catalogue,
    Row,
    SourceAttribute,
    UnreadableCatalogue,
    key_of,
    read_header,
    read_rows,
    split_codes,
)
from deploy.importers.akeneo.types import Shape, shape_of


@dataclass(slots=True)
class Survey:
    """What one pass over the products found."""

    columns: tuple[Column, ...]
    identifier: Column
    products: int = 0
    filled_cells: int = 0
    used: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in (LOCALE, CHANNEL, CURRENCY)}
    )
    """How often each locale, channel and currency is filled."""
    undeclared_codes: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    """Attribute -> codes of reference data, which have no file of their own."""
    units: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    """Measurement family -> units that products use."""
    outside_family: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    """Family -> attributes that its products fill though it does not have them."""
    without_family: dict[str, None] = field(default_factory=dict)
    """Attributes of products without a family."""
    products_without_family: int = 0


def survey(catalogue: Catalogue) -> Survey:
    """One pass; `UnreadableCatalogue` where products.csv has no identifier column."""
    columns = understand(read_header(catalogue.folder / PRODUCTS), catalogue)
    identifier = identifier_of(columns)
    if identifier is None:
        raise UnreadableCatalogue(f"{catalogue.folder / PRODUCTS} has no identifier column")
    found = Survey(columns, identifier)
    for row in read_rows(catalogue.folder / PRODUCTS):
        found.products += 1
        found.filled_cells += len(row.cells) + row.surplus
        _look_at(row, columns, catalogue, found)
    return found


def _look_at(row: Row, columns: Sequence[Column], catalogue: Catalogue, found: Survey) -> None:
    family = catalogue.families.get(key_of(row.get("family")))
    known = set() if family is None else {key_of(code) for code in family.attributes}
    if not row.get("family"):
        found.products_without_family += 1
    for column in columns:
        cell = row.get(column.name)
        if not cell or column.attribute is None:
            continue
        _count_scopes(column, found)
        key = key_of(column.attribute.code)
        if not row.get("family"):
            found.without_family[key] = None
        elif family is not None and key not in known:
            found.outside_family[key_of(family.code)][key] = None
        _note_codes(column, column.attribute, cell, found)


def _count_scopes(column: Column, found: Survey) -> None:
    if column.locale:
        found.used[LOCALE][column.locale] += 1
    if column.channel:
        found.used[CHANNEL][column.channel] += 1
    if column.currency:
        found.used[CURRENCY][column.currency] += 1


def _note_codes(column: Column, attribute: SourceAttribute, cell: str, found: Survey) -> None:
    shape = shape_of(attribute)
    if shape in (Shape.FOUND_OPTION, Shape.FOUND_OPTIONS):
        codes = split_codes(cell)
        found.undeclared_codes[key_of(attribute.code)].update(dict.fromkeys(codes))
    elif shape is Shape.MEASURE:
        unit = cell if column.role is Role.UNIT else cells.amount_and_unit(cell)[1]
        if unit:
            measured = key_of(attribute.settings.get("metric_family", ""))
            found.units[measured][unit.strip()] = None
