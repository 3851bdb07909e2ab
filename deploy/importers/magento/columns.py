"""Packed cells of a Magento export, and what the columns that every export has are about."""

from __future__ import annotations

import re
from html import unescape

SKU, SET, TYPE, CATEGORIES = "sku", "attribute_set_code", "product_type", "categories"
ADDITIONAL, VARIATIONS, STORE_VIEW = (
    "additional_attributes",
    "configurable_variations",
    "store_view_code",
)
PACKED = frozenset({SET, CATEGORIES, ADDITIONAL, VARIATIONS, STORE_VIEW})
"""Columns whose cells are no value of an attribute with the name of the column."""

_NEXT_ATTRIBUTE = re.compile(r",(?=[A-Za-z0-9_]+=)")
_NUMBERS = re.compile(
    r"(.*_)?(price|weight|qty|position|website_id)|allow_backorders|.*_qty|qty_.*"
    r"|notify_on_stock_below"
)
_BOOLEANS = re.compile(
    r"(use_config|is|manage|enable|has|required)_.*|product_online|gift_message_available"
    r"|map_enabled|qty_increments_enabled"
)
_IMAGES = re.compile(r"(base|small|thumbnail|swatch)_image")
IMAGE_LIST = "additional_images"

INPUTS = {
    "text": "text",
    "textarea": "text",
    "texteditor": "text",
    "price": "number",
    "weight": "number",
    "boolean": "boolean",
    "date": "datetime",
    "datetime": "datetime",
    "select": "option",
    "multiselect": "option",
    "media_image": "media",
}
"""`frontend_input` -> Sigma's type."""


def type_of_column(name: str) -> str:
    """Sigma's type of what an undeclared column contains, by its name."""
    if _BOOLEANS.fullmatch(name):
        return "boolean"
    if _NUMBERS.fullmatch(name):
        return "number"
    return "media" if name == IMAGE_LIST or _IMAGES.fullmatch(name) else "text"


def pairs_of(cell: str) -> dict[str, str]:
    """`a=b,c=d|e` as a mapping; a value may contain commas."""
    pairs = (part.partition("=") for part in _NEXT_ATTRIBUTE.split(cell))
    return {name.strip(): value for name, sign, value in pairs if sign and value}


def variations_of(cell: str) -> list[dict[str, str]]:
    """`sku=..,size=..|sku=..,size=..`: each variation as a mapping."""
    return [pairs_of(part) for part in cell.split("|") if part]


def paths_of(cell: str) -> list[tuple[str, ...]]:
    """`A/B/C,A/D`: the names from the root down, each path once."""
    paths = (
        tuple(name.strip() for name in path.split("/") if name.strip()) for path in cell.split(",")
    )
    return list(dict.fromkeys(path for path in paths if path))


def label_of(text: str) -> str:
    """An option as people read it: Magento writes entities such as `&reg;` into it."""
    return unescape(text).strip()
