"""Maps Akeneo's attribute types to those of Sigma."""

from __future__ import annotations

from enum import Enum

from deploy.importers.akeneo.reading import SourceAttribute


class Shape(Enum):
    """The ways in which a cell becomes a value."""

    IDENTIFIER = "identifier"
    TEXT = "text"
    NUMBER = "number"
    MEASURE = "measure"
    PRICE = "price"
    BOOLEAN = "boolean"
    DAY = "day"
    OPTION = "option"
    OPTIONS = "options"
    FOUND_OPTION = "found option"
    FOUND_OPTIONS = "found options"
    MEDIA = "media"


_SHAPES = {
    "pim_catalog_identifier": Shape.IDENTIFIER,
    "pim_catalog_text": Shape.TEXT,
    "pim_catalog_textarea": Shape.TEXT,
    "pim_catalog_number": Shape.NUMBER,
    "pim_catalog_metric": Shape.MEASURE,
    "pim_catalog_price_collection": Shape.PRICE,
    "pim_catalog_boolean": Shape.BOOLEAN,
    "pim_catalog_date": Shape.DAY,
    "pim_catalog_simpleselect": Shape.OPTION,
    "pim_catalog_multiselect": Shape.OPTIONS,
    "pim_reference_data_simpleselect": Shape.FOUND_OPTION,
    "pim_reference_data_multiselect": Shape.FOUND_OPTIONS,
    "akeneo_reference_entity": Shape.FOUND_OPTION,
    "akeneo_reference_entity_collection": Shape.FOUND_OPTIONS,
    "pim_catalog_image": Shape.MEDIA,
    "pim_catalog_file": Shape.MEDIA,
}

TYPES = {
    Shape.IDENTIFIER: "text",
    Shape.TEXT: "text",
    Shape.NUMBER: "number",
    Shape.MEASURE: "complex",
    Shape.PRICE: "number",
    Shape.BOOLEAN: "boolean",
    Shape.DAY: "datetime",
    Shape.OPTION: "option",
    Shape.OPTIONS: "option",
    Shape.FOUND_OPTION: "option",
    Shape.FOUND_OPTIONS: "option",
    Shape.MEDIA: "media",
}
"""Sigma's type of each shape."""

ONE_OF_A_LIST = frozenset({Shape.OPTION, Shape.FOUND_OPTION})
SEVERAL_OF_A_LIST = frozenset({Shape.OPTIONS, Shape.FOUND_OPTIONS})
OF_A_LIST = ONE_OF_A_LIST | SEVERAL_OF_A_LIST


def shape_of(attribute: SourceAttribute) -> Shape | None:
    """None for a type that this move does not know."""
    return _SHAPES.get(attribute.type)
