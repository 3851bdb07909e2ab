r"""Makes values of cells, by the type of their attribute.

A cell of a spreadsheet is a text. An empty cell says nothing, `\N` alone clears a value, and an
apostrophe that guards a text is taken off (`tabular.cells`). A row in JSON has values of JSON
types; where one of them is a text, it is read like a cell.

    text      byte for byte, also `0017`, `1E5`, ` 7 ` and `true`
    number    as in JSON, with a dot: `2,4`, `1 234`, `1_000` are refused, never another number
    boolean   true, false, 1, 0, in any case
    datetime  ISO 8601
    option    id, alias or label, in any language; one that several options have is refused
    relation  id of a record
    media     a URL, or an object in JSON
    complex   JSON

Source of the rule: the page about importing and exporting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import orjson

from records_service.attributes.model import Attribute, AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.option_lists.lookup import Options, id_in, labelled_in
from records_service.option_lists.model import OptionList
from records_service.tabular.cells import CLEAR, SEPARATOR, unescaped, unguarded
from shared.errors import ApiError, truncated
from shared.http.requests import parse_body
from shared.http.shapes import Shape

T = TypeVar("T")

INTEGER_MAX: Final = 2**63 - 1
INTEGER_MIN: Final = -(2**63)
DIGITS_MAX: Final = 1_000
OPTIONS_NAMED_MAX: Final = 10
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


class _InCell(Shape):
    """What stands in a cell as JSON."""

    value: Any = None


class UnusableCell(Exception):
    """A cell is no value of its attribute; the text says why."""


@dataclass(frozen=True, slots=True)
class Clear:
    """The value is removed."""


CLEARED: Final = Clear()
NOTHING: Final = None
"""What an empty cell says."""

Convert = Callable[[str], Any]


class Conversion:
    """Converts the cells of one attribute; made once for each column of a file."""

    def __init__(self, attribute: Attribute, blueprint: Blueprint, options: Options) -> None:
        self._alias = truncated(attribute.alias)
        self._type = attribute.type
        self._multiple = attribute.multiple
        option_list = blueprint.option_lists.get(attribute.option_list_id or "")
        self._looks_up = option_list is not None and option_list.is_large
        self._one = _one_of(attribute.type, self._alias, option_list, options)

    def cell(self, text: str) -> Any:
        """The value of a cell, `CLEARED` or `NOTHING`; raises `UnusableCell`."""
        if text == "":
            return NOTHING
        if text == CLEAR:
            return CLEARED
        self._check_characters(text)
        return self._text(unguarded(text))

    def json(self, value: Any) -> Any:
        """The value of a member of a JSON row, `CLEARED` or `NOTHING`; raises `UnusableCell`."""
        if value is None or value == "":
            return NOTHING
        if isinstance(value, str):
            self._check_characters(value)
            return CLEARED if value == CLEAR else self._text(unescaped(value))
        if isinstance(value, list) and self._multiple:
            return self._each(value, self._item)
        return self._item(value)

    def _check_characters(self, text: str) -> None:
        if "\x00" in text:
            raise UnusableCell(f"Value for '{truncated(self._alias)}' contains a NUL character")

    def _item(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._one(value)
        is_text = self._type in (AttributeType.TEXT, AttributeType.OPTION, AttributeType.RELATION)
        if is_text and isinstance(value, (int, float)):
            # A code that looks like a number, as spreadsheets and other programs write it.
            return self._one(orjson.dumps(value).decode())
        if self._type is AttributeType.BOOLEAN and value in (0, 1):
            return bool(value)
        return value

    def _text(self, text: str) -> Any:
        if not self._multiple:
            return self._one(text)
        if text.startswith("["):
            several = _json_or_none(text, self._alias)
            if isinstance(several, list):
                return self._each(several, self._item)
        if SEPARATOR not in text:
            return [self._one(text)]
        try:
            # A name that holds a bar is meant before it is split.
            if self._type is AttributeType.OPTION:
                return [self._one(text)]
        except UnusableCell:
            pass
        parts = text.split(SEPARATOR)
        if self._type is not AttributeType.TEXT:
            parts = [part.strip() for part in parts]
        return self._each(parts, self._one)

    def _each(self, items: Sequence[T], convert: Callable[[T], Any]) -> list[Any]:
        if self._looks_up:
            # All are noted, also behind the first that is not known yet.
            for item in items:
                with suppress(UnusableCell):
                    convert(item)
        return [convert(item) for item in items]


def _one_of(
    kind: AttributeType, alias: str, option_list: OptionList | None, options: Options
) -> Convert:
    makers: Mapping[AttributeType, Callable[[], Convert]] = {
        AttributeType.TEXT: lambda: str,
        AttributeType.NUMBER: lambda: lambda text: number_of(text, alias),
        AttributeType.BOOLEAN: lambda: lambda text: _boolean(text, alias),
        AttributeType.DATETIME: lambda: str.strip,
        AttributeType.MEDIA: lambda: lambda text: _media(text, alias),
        AttributeType.OPTION: lambda: _option_of(alias, option_list, options),
        AttributeType.RELATION: lambda: str.strip,
        AttributeType.COMPLEX: lambda: lambda text: _complex(text, alias),
    }
    return makers[kind]()


def number_of(text: str, alias: str) -> int | float:
    """The number that a text says, exactly; raises `UnusableCell`."""
    plain = text.strip()
    if len(plain) > DIGITS_MAX or _NUMBER.fullmatch(plain) is None:
        raise UnusableCell(
            f"Value for '{truncated(alias)}' must be a number such as 1234.5, got"
            f" '{truncated(text)}'"
        )
    if _INTEGER.fullmatch(plain):
        whole = int(plain)
        if INTEGER_MIN <= whole <= INTEGER_MAX:
            return whole
        raise UnusableCell(
            f"Value for '{truncated(alias)}' must be a number of at most 64 bits, got"
            f" '{truncated(text)}'"
        )
    number = float(plain) + 0.0  # Not -0.0, which PostgreSQL does not have.
    try:
        exact = Decimal(plain) == Decimal(repr(number))
    except InvalidOperation:
        exact = False
    if not exact:
        raise UnusableCell(
            f"Value for '{truncated(alias)}' has more digits, or is larger, than a number can"
            f" have, got '{truncated(text)}'"
        )
    return number


def _boolean(text: str, alias: str) -> bool:
    found = _BOOLEANS.get(text.strip().lower())
    if found is None:
        raise UnusableCell(
            f"Value for '{truncated(alias)}' must be true, false, 1 or 0, got '{truncated(text)}'"
        )
    return found


def _media(text: str, alias: str) -> Any:
    plain = text.strip()
    if plain.startswith("{"):
        found = _json_or_none(plain, alias)
        if isinstance(found, dict):
            return found
    return plain


def _complex(text: str, alias: str) -> Any:
    found = _json_or_none(text, alias)
    if not isinstance(found, (dict, list)):
        raise UnusableCell(
            f"Value for '{truncated(alias)}' must be an object or an array in JSON, got"
            f" '{truncated(text)}'"
        )
    return found


def _option_of(alias: str, option_list: OptionList | None, options: Options) -> Convert:
    name = truncated(option_list.id) if option_list else ""

    def convert(text: str) -> str:
        for said in (text, text.strip()):
            if option_list is None:
                break
            found = id_in(option_list, said, options)
            if found is not None:
                return found
            labelled = labelled_in(option_list, said, options)
            if len(labelled) == 1:
                return labelled[0]
            if labelled:
                raise UnusableCell(
                    f"Value '{truncated(text)}' for '{truncated(alias)}' is the label of several"
                    f" options: {_listed(labelled)}"
                )
        raise UnusableCell(
            f"Value '{truncated(text)}' for '{truncated(alias)}' is not in option list"
            f" '{truncated(name)}'"
        )

    return convert


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{truncated(name)}'" for name in names[:OPTIONS_NAMED_MAX])
    return shown if len(names) <= OPTIONS_NAMED_MAX else f"{shown} and others"


def _json_or_none(text: str, alias: str) -> Any:
    """The value that a text is in JSON, None if it is no JSON; raises `UnusableCell`.

    What the body of a request may not hold, such as an integer beyond 64 bits, is refused as there.
    """
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    try:
        return parse_body(b'{"value":%b}' % text.encode(), _InCell).value
    except ApiError as error:
        raise UnusableCell(f"Value for '{truncated(alias)}': {error.message}") from None
