"""Fingerprints of what a target was sent: what is equal has the same, and none tells its value.

They are keyed with a key of the channel, so that nobody who reads one can find out by trying which
value it is of.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

Fingerprints = Mapping[str, str]
"""Target field -> fingerprint of its value."""


LEVELS_MAX: Final = 100
DIGITS_MAX: Final = 15
"""Of a text that is compared as a number; more have no exact one."""
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class UnusableTree(ValueError):
    """A value that no attribute can have: too deep, or with NUL. The message says which."""


def fingerprint(key: bytes, value: Any) -> str:
    """The fingerprint of one value; 5 and 5.0 are the same. Raises `UnusableTree`."""
    text = orjson.dumps(_plain(value, LEVELS_MAX), option=orjson.OPT_SORT_KEYS)
    return base64.b64encode(blake2b(text, key=key, digest_size=12).digest()).decode()


def told_apart(key: bytes, values: Sequence[Any]) -> str:
    """The fingerprint of values of several variants, whatever a target makes of their spelling.

    `12.50` is 12.5, an empty text is nothing, and case does not count. Raises `UnusableTree`.
    """
    return fingerprint(key, ["variants", *(_loose(_plain(each, LEVELS_MAX)) for each in values)])


def _loose(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip().casefold()
        return float(text) if len(text) <= DIGITS_MAX and _NUMBER.fullmatch(text) else text or None
    return [_loose(each) for each in value] if isinstance(value, list) else value


def checksum(key: bytes, fingerprints: Fingerprints) -> str:
    """One fingerprint for all fields of an object."""
    text = orjson.dumps(dict(fingerprints), option=orjson.OPT_SORT_KEYS)
    return blake2b(text, key=key, digest_size=32).hexdigest()


def _plain(value: Any, levels: int) -> Any:
    if levels < 0:
        raise UnusableTree(f"expected at most {LEVELS_MAX} levels of arrays and objects")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, str) and "\x00" in value:
        raise UnusableTree("contains a NUL character")
    if isinstance(value, list):
        return [_plain(each, levels - 1) for each in value]
    if isinstance(value, dict):
        return {_plain(name, levels): _plain(each, levels - 1) for name, each in value.items()}
    return value
