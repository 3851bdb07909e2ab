"""Reads a single cell: cleans its text, and says what it is without knowing its column."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson

from deploy.importers import cells

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_PLACEHOLDERS = frozenset(
    (
        *("n/a", "#n/a", "n.a.", "null", "nil", "nan", "undefined", "unknown", "tbd", "tba", "?"),
        *("-", "--", "---", "\u2013", "\u2014", ".", "...", "#ref!", "#value!", "not available"),
        *("not specified", "keine angabe"),
    )
)
_BROKEN = re.compile("�|[ÃÂ][\u0080-\u00bf]|â€.|&(?:amp|quot|lt|gt|nbsp|#\\d+);")
_KEPT_CONTROLS = "\n\t\r"
# Joiners and marks of direction are invisible, too, but belong to the writing of some languages.
_INVISIBLE = "\u200b\u2060\ufeff\u00ad"


class Form(StrEnum):
    """What a value is by itself."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    NUMBERS = "list of numbers"
    TEXTS = "list of texts"
    OBJECT = "object"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell after cleaning."""

    form: Form
    value: Any = None
    text: str = ""
    """As people would write it: a number of a CSV file keeps its leading zeros."""
    raw: str = ""
    """As it is written, where cleaning changed it."""
    placeholder: str = ""
    """What stood there in place of nothing."""
    is_broken: bool = False
    """Whether letters look as if they were read in a wrong encoding."""
    is_typed: bool = True
    """Whether its form is said by the file; everything in a CSV file is text."""


_NOTHING = Cell(Form.NOTHING)


def read_cell(raw: Any, *, is_typed: bool, decimal_comma: bool = False) -> Cell:
    """The cell; `is_typed` is False for files in which everything is text."""
    if isinstance(raw, str):
        return _read_text(raw, is_typed=is_typed, decimal_comma=decimal_comma)
    if raw is None or raw in ([], {}):
        return _NOTHING
    if isinstance(raw, bool):
        return Cell(Form.BOOLEAN, raw, "true" if raw else "false")
    if isinstance(raw, (int, float)):
        return Cell(Form.NUMBER, raw, plain(raw))
    if isinstance(raw, list):
        return _read_list(raw)
    return Cell(Form.OBJECT, raw, orjson.dumps(raw).decode())


def plain(number: float) -> str:
    """A number as people write it: `7200`, `2.5`."""
    whole = isinstance(number, int) or number.is_integer()
    return str(int(number)) if whole else repr(number)


def cleaned(text: str) -> str:
    """Without invisible characters and superfluous spaces; the lines of a long text stay."""
    if text.isascii() and text.isprintable() and text == text.strip() and "  " not in text:
        return text
    visible = "".join(
        one
        for one in unicodedata.normalize("NFC", text)
        if one in _KEPT_CONTROLS or (one not in _INVISIBLE and unicodedata.category(one) != "Cc")
    )
    lines = (" ".join(line.split()) for line in visible.splitlines())
    return "\n".join(lines).strip()


@lru_cache(maxsize=1 << 16)
def key_of_text(text: str) -> str:
    """What two spellings have in common that differ only in case and spaces."""
    return " ".join(text.casefold().split())


def _read_text(raw: str, *, is_typed: bool, decimal_comma: bool) -> Cell:
    text = cleaned(raw)
    if not text:
        return _NOTHING
    if text.casefold() in _PLACEHOLDERS:
        return Cell(Form.NOTHING, placeholder=text)
    kept = raw if text != raw else ""
    form, value = Form.TEXT, None
    if not is_typed:
        form, value = _guessed(text, decimal_comma=decimal_comma)
    if value is None:
        value = text
    is_broken = _BROKEN.search(text) is not None
    return Cell(form, value, text, kept, is_broken=is_broken, is_typed=is_typed)


def _guessed(text: str, *, decimal_comma: bool) -> tuple[Form, Any]:
    """What a text of a CSV file stands for; the value is None for a text."""
    if text.casefold() in ("true", "false"):
        return Form.BOOLEAN, text.casefold() == "true"
    if not text[-1].isdigit():
        return Form.TEXT, None
    if decimal_comma and text.count(",") == 1:
        text = text.replace(".", "").replace(",", ".")
    parts = [part.strip() for part in text.split(",")]
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return Form.TEXT, None
    try:
        numbers = [cells.number(part) for part in parts]
    except cells.Unfit:
        return Form.TEXT, None
    return (Form.NUMBERS, numbers) if len(numbers) > 1 else (Form.NUMBER, numbers[0])


def _read_list(raw: Sequence[Any]) -> Cell:
    items = [read_cell(one, is_typed=True) for one in raw]
    filled = [one for one in items if one.form is not Form.NOTHING]
    if not filled:
        return _NOTHING
    text = ", ".join(one.text for one in filled)
    forms = {one.form for one in filled}
    is_changed = len(filled) < len(items) or any(one.raw for one in filled)
    kept = orjson.dumps(raw).decode() if is_changed else ""
    is_broken = any(one.is_broken for one in filled)
    if forms == {Form.NUMBER}:
        return Cell(Form.NUMBERS, [one.value for one in filled], text, kept)
    if forms <= {Form.TEXT, Form.NUMBER, Form.BOOLEAN}:
        return Cell(Form.TEXTS, [one.text for one in filled], text, kept, is_broken=is_broken)
    return Cell(Form.OBJECT, list(raw), orjson.dumps(raw).decode())


def same_number(number: float) -> str:
    """Equal for 5 and 5.0, whatever file they come from."""
    return str(Decimal(repr(number)).normalize())
