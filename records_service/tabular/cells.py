r"""Cells of spreadsheets: how a value is written into one, and what cannot be told from its text.

- A spreadsheet takes a text that begins with `=`, `+`, `-` or `@`, a tab or a carriage return for
  a formula. Such a text gets one apostrophe in front, and so does one that already has apostrophes
  there; an import takes one off. Numbers are never changed.
- `\N` alone clears a value, so a text `\N` gets an apostrophe, too.
- Several values are separated by a vertical bar. Where that would not be read back as the same
  values, they stand as an array in JSON, as complex values and media with more than a URL do.

Source of the rule: the page about importing and exporting.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

SEPARATOR: Final = "|"
CLEAR: Final = r"\N"
_APOSTROPHE: Final = "'"
_TAKEN_FOR_FORMULA: Final = re.compile(r"'*(?:[=+\-@\t\r]|\\N\Z)")
_GUARDED: Final = re.compile(r"'+(?:[=+\-@\t\r]|\\N\Z)")
_CLEARING: Final = re.compile(r"'*\\N\Z")

Cell = str | int | float | bool
"""What stands in a cell; an empty text where there is no value."""


def cell_of(value: Any) -> Cell:
    """A value as a cell; no value, and an empty text, is an empty one."""
    if value is None:
        return ""
    if isinstance(value, str):
        return guarded(value)
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, list):
        return _several(value)
    return orjson.dumps(value).decode()


def text_of(cell: Cell) -> str:
    """A cell in a file that has only texts; numbers and booleans are written as in JSON."""
    return cell if isinstance(cell, str) else orjson.dumps(cell).decode()


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return _APOSTROPHE + text if _TAKEN_FOR_FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """The text that was guarded."""
    return text[1:] if _GUARDED.match(text) else text


def escaped(text: str) -> str:
    r"""A text for a JSON row, where nothing but `\N` means something else."""
    return _APOSTROPHE + text if _CLEARING.match(text) else text


def unescaped(text: str) -> str:
    r"""The text that was escaped."""
    return text[1:] if text.startswith("'") and _CLEARING.match(text) else text


def _several(values: list[Any]) -> str:
    texts = [
        value if isinstance(value, str) else orjson.dumps(value).decode()
        for value in values
        if not isinstance(value, (dict, list))
    ]
    is_plain = len(texts) == len(values) and all(
        text and SEPARATOR not in text and text == text.strip() for text in texts
    )
    if not is_plain or not texts or texts[0].startswith("["):
        return orjson.dumps(values).decode()
    return guarded(SEPARATOR.join(texts))
