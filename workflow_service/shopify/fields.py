"""What a mapping can set at a product of Shopify, and how our values become theirs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from shared.errors import truncated
from shared.http.json_types import js_type


class Unfit(Exception):
    """A record cannot be a product of Shopify as it is; the message names no value."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a field takes: `convert` raises `ValueError` for everything else."""

    expects: str
    convert: Callable[[Any], Any]

    def read(self, value: Any, path: str) -> Any:
        """The value as Shopify takes it. Raises `Unfit`."""
        try:
            return self.convert(value)
        except ValueError:
            got = "another string" if isinstance(value, str) else js_type(value)
            raise Unfit(f"'{truncated(path)}' expects {self.expects}, got {got}") from None


def _text(value: Any) -> str:
    """An emptied text is an empty one."""
    if value is None:
        return ""
    _check_plain(value)
    return str(value)


def _check_plain(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise ValueError  # noqa: TRY004 - as the conversions of Python do


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [part for part in (tag.strip() for tag in value.split(",")) if part]
    if isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        return list(value)
    raise ValueError


def _money(value: Any) -> str | None:
    if value is None:
        return None
    _check_plain(value)
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError from None
    if not amount.is_finite():
        raise ValueError
    return f"{amount:f}"


def _flag(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise ValueError


def _one_of(*values: str) -> Field:
    def convert(value: Any) -> str:
        if not isinstance(value, str) or value.upper() not in values:
            raise ValueError
        return value.upper()

    return Field(f"one of {', '.join(values)}", convert)


TEXT: Final = Field("text", _text)
_MONEY: Final = Field("an amount", _money)
_ID: Final = Field("an id", lambda value: _text(value) or None)

PRODUCT: Final[Mapping[str, Field]] = {
    "title": TEXT,
    "descriptionHtml": TEXT,
    "vendor": TEXT,
    "productType": TEXT,
    "handle": TEXT,
    "templateSuffix": TEXT,
    "status": _one_of("ACTIVE", "ARCHIVED", "DRAFT", "UNLISTED"),
    "tags": Field("texts", _texts),
    "category": _ID,
    "seo.title": TEXT,
    "seo.description": TEXT,
}
VARIANT: Final[Mapping[str, Field]] = {
    "price": _MONEY,
    "compareAtPrice": _MONEY,
    "sku": TEXT,
    "barcode": TEXT,
    "taxable": Field("true or false", _flag),
    "inventoryPolicy": _one_of("CONTINUE", "DENY"),
}
OPTION_NAME_LENGTH_MAX: Final = 255
_VARIANT_FIELD: Final = re.compile(r"variants\[0\]\.(?P<field>.+)", re.DOTALL)
_OPTION: Final = re.compile(rf"options\.[^.\[\]]{{1,{OPTION_NAME_LENGTH_MAX}}}")
_LISTED: Final = ", ".join([*PRODUCT, *(f"variants[0].{name}" for name in VARIANT)])


def check_target(path: str) -> str | None:
    """Why a mapping cannot have this target field; None if it can."""
    of_variant = _VARIANT_FIELD.fullmatch(path)
    if of_variant:
        field = of_variant["field"]
        known = field in VARIANT or _OPTION.fullmatch(field) is not None
    else:
        known = path in PRODUCT
    if known:
        return None
    return f"expects one of {_LISTED} or variants[0].options.<option name>"


def converted(
    fields: Mapping[str, Any], known: Mapping[str, Field], prefix: str = ""
) -> dict[str, Any]:
    """Those of the fields that are known, as Shopify takes them. Raises `Unfit`."""
    result: dict[str, Any] = {}
    for path, value in _leaves(fields, known):
        *parents, name = path.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = known[path].read(value, prefix + path)
    return result


def _leaves(fields: Mapping[str, Any], known: Iterable[str]) -> Iterable[tuple[str, Any]]:
    for path in known:
        place: Any = fields
        *parents, name = path.split(".")
        for parent in parents:
            place = place.get(parent) if isinstance(place, Mapping) else None
        if isinstance(place, Mapping) and name in place:
            yield path, place[name]
