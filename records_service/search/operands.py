"""What a criterion compares with: checked by the type of the attribute."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from records_service.attributes.model import AttributeType
from records_service.option_lists.lookup import LABELLED_MAX, Options, id_in, labelled_in
from records_service.option_lists.model import OptionList
from records_service.search_texts.folding import folded
from shared.errors import truncated
from shared.http.json_types import js_type

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_DATE: Final = re.compile(r"\d{4}(-\d\d-\d\d|\d{4})($|[T ])", re.ASCII)
_MAGNITUDE_MAX: Final = 400
"""Decimal places before or after the point; no stored number has more."""
_MATCHING: Final = frozenset({"contains", "startsWith", "endsWith"})
_EQUAL: Final = frozenset({"in", "filled"})
_RANGE: Final = frozenset({"gt", "gte", "lt", "lte"})

OPERATIONS: Final[Mapping[AttributeType, frozenset[str]]] = {
    AttributeType.TEXT: _EQUAL | _MATCHING,
    AttributeType.NUMBER: _EQUAL | _RANGE,
    AttributeType.BOOLEAN: _EQUAL,
    AttributeType.DATETIME: _EQUAL | _RANGE,
    AttributeType.MEDIA: _EQUAL | _MATCHING,
    AttributeType.OPTION: _EQUAL | _MATCHING,
    AttributeType.RELATION: _EQUAL,
    AttributeType.COMPLEX: frozenset({"filled"}),
}
"""What can be asked of each type."""


class BadOperand(Exception):
    """The operand does not fit; the text says what was expected and what came."""


def operand_of(
    kind: AttributeType,
    operation: str,
    value: Any,
    option_list: OptionList | None,
    *,
    options: Options,
    folding: int,
) -> Any:
    """The operand as it is compared: text, `Decimal`, bool, `datetime`, or a list of option ids.

    For `contains`, `startsWith` and `endsWith` a text is folded; of a large list, that text is what
    labels are compared with. `options` are those of large lists that the search names, `folding`
    is the version of the rules by which texts are folded. Raises `BadOperand`.
    """
    if operation in _MATCHING:
        sought = folded(_text(value), folding)
        if not sought:
            raise BadOperand("must have a letter, a digit or another character that is compared")
        if kind is not AttributeType.OPTION or (option_list is not None and option_list.is_large):
            return sought
        return _labelled(operation, sought, option_list, folding)
    if kind is AttributeType.OPTION:
        return _options(value, option_list, options)
    return _READERS[kind](value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadOperand(f"must be a string, got {js_type(value)}")
    return value


def _number(value: Any) -> Decimal:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = Decimal(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = Decimal(repr(value))
    else:
        got = f"'{truncated(value)}'" if isinstance(value, str) else js_type(value)
        raise BadOperand(f"must be a number, or a string with one, got {got}")
    if number and (
        abs(number.adjusted()) > _MAGNITUDE_MAX or len(number.as_tuple().digits) > _MAGNITUDE_MAX
    ):
        raise BadOperand(f"must be a number of at most {_MAGNITUDE_MAX} digits")
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    got = f"'{truncated(value)}'" if isinstance(value, str) else js_type(value)
    raise BadOperand(f"must be true or false, got {got}")


def instant(value: Any) -> datetime:
    """A point in time; a time without a zone is UTC. Raises `BadOperand`."""
    text = _text(value)
    if _DATE.match(text) is not None:
        try:
            found = datetime.fromisoformat(text)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise BadOperand(f"must be an ISO 8601 date and time, got '{truncated(text)}'")


def is_same_number(operand: Any, number: float) -> bool:
    """Whether a stored value that is this number in the index can equal the operand."""
    if isinstance(operand, datetime):
        return True
    return bool(Decimal(repr(number)) == operand)


def _options(value: Any, option_list: OptionList | None, options: Options) -> list[str]:
    """The ids of the options with this id or alias or, failing that, with this label."""
    name = _text(value)
    if option_list is not None:
        found = id_in(option_list, name, options)
        if found is not None:
            return [found]
        labelled = labelled_in(option_list, name, options)
        if len(labelled) > LABELLED_MAX:
            raise BadOperand(f"is the label of more than {LABELLED_MAX} options")
        if labelled or options.awaits(option_list.id, name):
            return list(labelled)
        raise BadOperand(
            f"must be the id, the alias or the label of an option of"
            f" '{truncated(option_list.id)}', got '{truncated(name)}'"
        )
    raise BadOperand(f"is not an option: '{truncated(name)}'")


def _labelled(
    operation: str, sought: str, option_list: OptionList | None, folding: int
) -> list[str]:
    """The ids of the options whose folded label matches."""
    matches: Mapping[str, Callable[[str], bool]] = {
        "contains": lambda label: sought in label,
        "startsWith": lambda label: label.startswith(sought),
        "endsWith": lambda label: label.endswith(sought),
    }
    values = option_list.values if option_list else ()
    return [each.id for each in values if matches[operation](folded(each.label, folding))]


_READERS: Final[Mapping[AttributeType, Callable[[Any], Any]]] = {
    AttributeType.TEXT: _text,
    AttributeType.NUMBER: _number,
    AttributeType.BOOLEAN: _boolean,
    AttributeType.DATETIME: instant,
    AttributeType.MEDIA: _text,
    AttributeType.RELATION: _text,
}
