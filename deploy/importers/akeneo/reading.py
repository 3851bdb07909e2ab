"""Reads the CSV files of an Akeneo catalogue as they are exported, one row at a time.

A value that is absent and an empty cell are the same here, as they are there. Codes are compared
without regard to case, as Akeneo does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.importers.akeneo.product_models import (
    MODELS,
    FamilyVariant,
    ProductModel,
    family_variants_of,
    product_models_of,
)
from deploy.importers.csv_rows import Row, UnreadableCatalogue, key_of, once, read_header, read_rows

IDENTIFIER = "pim_catalog_identifier"
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
class SourceCategory:
    """A category, or the root of a tree when it has no parent."""

    code: str
    parent: str
    labels: Mapping[str, str]
    line: int


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
    categories: Mapping[str, SourceCategory] = field(default_factory=dict)
    family_variants: Mapping[str, FamilyVariant] = field(default_factory=dict)
    product_models: Mapping[str, ProductModel] = field(default_factory=dict)
    model_header: tuple[str, ...] = ()
    unread_files: tuple[str, ...] = ()

    @property
    def variant_families(self) -> frozenset[str]:
        """Families whose products may have variants."""
        return frozenset(key_of(one.family) for one in self.family_variants.values())

    @property
    def identifiers(self) -> tuple[str, ...]:
        """The attributes that name products."""
        return tuple(one.code for one in self.attributes.values() if one.type == IDENTIFIER)

    @property
    def locales(self) -> tuple[str, ...]:
        """Those that some channel publishes, in the order of the channels."""
        return once(locale for channel in self.channels for locale in channel.locales)

    @property
    def currencies(self) -> tuple[str, ...]:
        """As `locales`."""
        return once(currency for channel in self.channels for currency in channel.currencies)


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
        categories={
            key_of(row.get("code")): SourceCategory(
                row.get("code"), row.get("parent"), row.labels(), row.line
            )
            for row in rows("categories.csv")
        },
        family_variants=family_variants_of(rows("family_variants.csv")),
        product_models=product_models_of(rows(MODELS)),
        model_header=read_header(folder / MODELS) if (folder / MODELS).is_file() else (),
        unread_files=tuple(
            sorted(path.name for path in folder.iterdir() if path.name not in _READ)
        ),
    )
    if not any(a.type == "pim_catalog_identifier" for a in attributes.values()):
        raise UnreadableCatalogue(f"{folder / 'attributes.csv'} has no identifier attribute")
    if not catalogue.locales:
        raise UnreadableCatalogue(f"{folder / 'channels.csv'} names no locale")
    return catalogue


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
