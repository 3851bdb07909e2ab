"""Reads all products once before the data model is planned, to collect what it depends on.

Which codes and units are used that no file declares, which attributes stand outside their family,
and which locale, channel and currency is filled most.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.importers import cells
from deploy.importers.akeneo.columns import (
    MODEL_PROPERTIES,
    Column,
    Role,
    identifier_of,
    understand,
)
from deploy.importers.akeneo.reading import PRODUCTS, Catalogue, SourceAttribute
from deploy.importers.akeneo.types import Shape, shape_of
from deploy.importers.csv_rows import (
    Row,
    UnreadableCatalogue,
    key_of,
    read_header,
    read_rows,
    split_codes,
)
from deploy.importers.names import CHANNEL, CURRENCY, LOCALE

IDENTIFIERS_TOLD_MAX = 5


@dataclass(slots=True)
class Survey:
    """What one pass over the products found."""

    columns: tuple[Column, ...]
    identifier: Column
    model_columns: tuple[Column, ...]
    records: int = 0
    """Products without a parent, and product models at the top."""
    variants: int = 0
    parents: dict[str, str] = field(default_factory=dict)
    """Product in lower case -> code of the product model that it stands below."""
    links_to_models: bool = False
    """Whether anything is associated with a product model."""
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
    header = read_header(catalogue.folder / PRODUCTS)
    # Of a catalogue without products, the file is empty: there is a data model to import.
    columns = understand(header or catalogue.identifiers[:1], catalogue)
    identifier = identifier_of(columns)
    if identifier is None:
        raise UnreadableCatalogue(
            f"{catalogue.folder / PRODUCTS} has no column of an identifier; identifiers are"
            f" {', '.join(catalogue.identifiers[:IDENTIFIERS_TOLD_MAX]) or 'not declared'}"
        )
    found = Survey(
        columns, identifier, understand(catalogue.model_header, catalogue, MODEL_PROPERTIES)
    )
    for model in catalogue.product_models.values():
        varies = catalogue.family_variants.get(key_of(model.family_variant))
        _count(model.row, found)
        _look_at(model.row, varies.family if varies else "", found.model_columns, catalogue, found)
    for row in read_rows(catalogue.folder / PRODUCTS):
        _count(row, found)
        if row.get("parent"):
            found.parents[key_of(row.get(identifier.name))] = row.get("parent")
        family = row.get("family")
        if not family and not row.get("parent"):
            found.products_without_family += 1
        _look_at(row, family, columns, catalogue, found)
    return found


def _count(row: Row, found: Survey) -> None:
    found.filled_cells += len(row.cells) + row.surplus
    if row.get("parent"):
        found.variants += 1
    else:
        found.records += 1


def _look_at(
    row: Row,
    family_code: str,
    columns: Sequence[Column],
    catalogue: Catalogue,
    found: Survey,
) -> None:
    family = catalogue.families.get(key_of(family_code))
    known = set() if family is None else {key_of(code) for code in family.attributes}
    for column in columns:
        cell = row.get(column.name)
        if cell and column.associated == "product_models":
            found.links_to_models = True
        if not cell or column.attribute is None:
            continue
        _count_scopes(column, found)
        key = key_of(column.attribute.code)
        if not family_code and not row.get("parent"):
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
