"""Parses the header of products.csv: the attribute, locale, channel and currency of each column.

    name   description-en_US-print   weight   weight-unit   price-EUR   X_SELL-products

An attribute that varies names its locale and then its channel; the currency of a price or the word
`unit` comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from deploy.importers.akeneo.reading import IDENTIFIER, Catalogue, SourceAttribute
from deploy.importers.csv_rows import key_of

METRIC = "pim_catalog_metric"
PRICE = "pim_catalog_price_collection"

PROPERTIES = ("categories", "enabled", "family", "parent", "groups", "uuid")
MODEL_PROPERTIES = ("categories", "code", "family_variant", "parent")
"""Of product models."""
_ASSOCIATED = ("products", "groups", "product_models", "product_uuids", "products-quantity")
_UNIT = "unit"


class Role(StrEnum):
    """What the cells of a column say."""

    PROPERTY = "property"
    VALUE = "value"
    UNIT = "unit"
    ASSOCIATION = "association"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `about` is the property, the association type, or why it is not understood."""

    name: str
    role: Role
    about: str = ""
    attribute: SourceAttribute | None = None
    locale: str = ""
    channel: str = ""
    currency: str = ""
    associated: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Equal for the two columns of one metric value."""
        code = self.attribute.code if self.attribute else ""
        return code, self.locale, self.channel


def understand(
    header: Sequence[str], catalogue: Catalogue, properties: Sequence[str] = PROPERTIES
) -> tuple[Column, ...]:
    """One `Column` for each name, in order; what is not understood says why."""
    return tuple(
        Column(name, Role.PROPERTY, about=name) if name in properties else _column(name, catalogue)
        for name in header
    )


def identifier_of(columns: Sequence[Column]) -> Column | None:
    """The column that names each product: the first identifier."""
    return next(
        (c for c in columns if c.attribute is not None and c.attribute.type == IDENTIFIER), None
    )


def _column(name: str, catalogue: Catalogue) -> Column:
    code, _, rest = name.partition("-")
    association = catalogue.association_types.get(key_of(code))
    if association is not None and rest in _ASSOCIATED:
        return Column(name, Role.ASSOCIATION, about=association.code, associated=rest)
    attribute = catalogue.attributes.get(key_of(code))
    if attribute is None:
        return _unknown(name, f"the catalogue has no attribute '{code}'")
    return _value_column(name, attribute, rest.split("-") if rest else [], catalogue)


def _value_column(
    name: str, attribute: SourceAttribute, parts: list[str], catalogue: Catalogue
) -> Column:
    role, locale, channel, currency = Role.VALUE, "", "", ""
    if attribute.localizable:
        locale = parts.pop(0) if parts else ""
        if locale not in catalogue.locales:
            return _unknown(name, f"no channel publishes locale '{locale}'")
    if attribute.scopable:
        channel = parts.pop(0) if parts else ""
        if channel not in {known.code for known in catalogue.channels}:
            return _unknown(name, f"the catalogue has no channel '{channel}'")
    if parts and attribute.type == PRICE:
        currency = parts.pop(0)
        if currency not in catalogue.currencies:
            return _unknown(name, f"no channel uses currency '{currency}'")
    elif parts == [_UNIT] and attribute.type == METRIC:
        parts.pop()
        role = Role.UNIT
    if parts:
        return _unknown(name, f"attribute '{attribute.code}' does not vary by '{'-'.join(parts)}'")
    return Column(
        name, role, attribute=attribute, locale=locale, channel=channel, currency=currency
    )


def _unknown(name: str, why: str) -> Column:
    return Column(name, Role.UNKNOWN, about=why)
