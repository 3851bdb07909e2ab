"""Turns the text of one cell into the value that Sigma stores for it.

A cell that cannot be turned raises `Unfit` with the reason; nothing is guessed and nothing is
rounded.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal, InvalidOperation
from urllib.parse import quote, urljoin, urlsplit

_PRICE = re.compile(r"\s*(\S+)\s+([A-Za-z]{3})\s*")
_METRIC = re.compile(r"\s*(\S+)\s+(\w+)\s*")
# What a double holds exactly: more digits would come back as others.
_WHOLE_NUMBER_MAX = 2**53


class Unfit(Exception):
    """The cell does not hold what its attribute's type asks for."""


def number(text: str) -> int | float:
    """The number, if JSON and back gives the same one."""
    try:
        exact = Decimal(text.strip())
    except InvalidOperation:
        raise Unfit(f"'{short(text)}' is not a number") from None
    if not exact.is_finite():
        raise Unfit(f"'{short(text)}' is not a number")
    if exact == exact.to_integral_value() and abs(exact) <= _WHOLE_NUMBER_MAX:
        return int(exact)
    near = float(exact)
    if Decimal(repr(near)) != exact:
        raise Unfit(f"'{short(text)}' has more digits than a number can have")
    return near


def boolean(text: str) -> bool:
    """`1` and `0`, and the words for them."""
    match text.strip().lower():
        case "1" | "true" | "yes":
            return True
        case "0" | "false" | "no":
            return False
    raise Unfit(f"'{short(text)}' is neither 1 nor 0")


def day(text: str) -> str:
    """A calendar day as ISO 8601 writes it. No time is invented, and no time zone."""
    try:
        return date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        raise Unfit(f"'{short(text)}' is not a date such as 2012-04-20") from None


def prices(text: str) -> dict[str, int | float]:
    """`499 EUR, 549.50 USD` in one cell: currency -> amount."""
    found: dict[str, int | float] = {}
    for part in text.split(","):
        matched = _PRICE.fullmatch(part)
        if matched is None:
            raise Unfit(f"'{short(text)}' is not a list of amounts with their currencies")
        currency = matched[2].upper()
        if currency in found:
            raise Unfit(f"'{short(text)}' has two amounts in {currency}")
        found[currency] = number(matched[1])
    return found


def amount_and_unit(text: str) -> tuple[str, str]:
    """`10 KILOGRAM` in one cell; a bare amount has the unit `""`."""
    matched = _METRIC.fullmatch(text)
    return (matched[1], matched[2]) if matched else (text, "")


def address(base: str, path: str) -> str:
    """Where a file can be fetched; a cell that is an address already stays as it is."""
    if urlsplit(path).scheme in ("http", "https"):
        return path
    return urljoin(base.rstrip("/") + "/", quote(path.lstrip("/")))


def short(text: str) -> str:
    """As a message shows a cell: never more than a line."""
    line = text.replace("\n", "\\n").replace("\r", "\\r")
    return line if len(line) <= 60 else line[:60] + "…"  # noqa: PLR2004  about a line with its reason
