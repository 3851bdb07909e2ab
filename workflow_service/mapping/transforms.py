"""What a mapping may do to a value on its way to the target."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

import orjson

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
DIGITS_MAX: Final = 300


class UnusableValue(ValueError):
    """A value cannot be transformed; the message says why, without the value."""


def transformed(name: str | None, value: Any) -> Any:
    """The value after the transform of this name; raises `UnusableValue`.

    Of several values each is transformed; nothing stays nothing.
    """
    if name is None or value is None:
        return value
    if isinstance(value, list) and name != "string":
        return [transformed(name, each) for each in value]
    return TRANSFORMS[name](value)


def _of_text(change: Callable[[str], str]) -> Callable[[Any], Any]:
    return lambda value: change(value) if isinstance(value, str) else value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str):
        text = value.strip()
        if len(text) <= DIGITS_MAX and _NUMBER.fullmatch(text):
            number = float(text)
            if text.lstrip("+-").isdecimal() and abs(int(text)) < 1 << 63:
                return int(text)
            if math.isfinite(number):
                return number
    raise UnusableValue("expected a number, or a text that is one with a dot, such as 1234.5")


def _string(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


TRANSFORMS: Final[dict[str, Callable[[Any], Any]]] = {
    "uppercase": _of_text(str.upper),
    "lowercase": _of_text(str.lower),
    "trim": _of_text(str.strip),
    "number": _number,
    "string": _string,
}
