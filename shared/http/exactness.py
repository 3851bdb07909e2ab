"""Finds what of a JSON body could not be stored, or would not come back as it was sent.

That is a NUL, which PostgreSQL does not store, an integer beyond 64 bits, and a number with more
digits than a double keeps. A field that is ignored may hold any of them (docs/adr/0041).

Nearly no body has one, and a reader of JSON does not say so. So the raw text is scanned for what
such a number must have, sixteen digits or an exponent of three, which costs a microsecond for a
body of usual size. Codes and UUIDs in texts have that too: only a body that has it where a number
may begin is read a second time, number by number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeAlias

import orjson
from pydantic import AliasChoices, BaseModel

from shared.errors import ValidationError, truncated
from shared.http.messages import field_at, pointer_to
from shared.http.numbers import NOT_KEPT, is_kept

_ALIKE: Final = bytes.maketrans(b"0123456789.E+ \t\r\n:[", b"00000000000e-,,,,,,")
"""Digits and points are zeros, and all before a number is a comma."""
_MANY_DIGITS: Final = b"0" * 16
_LONG_EXPONENT: Final = re.compile(rb",-?0+e-?000")
_NEGATIVE_ZERO: Final = re.compile(rb"-0[.eE]")
_DIGITS_AS_ZERO: Final = bytes.maketrans(b"0123456789", b"0" * 10)
_LONG_INTEGER: Final = b"0" * 19
_INTEGER_MIN: Final = -(2**63)
_INTEGER_MAX: Final = 2**64 - 1
_WHERE_A_NUMBER_BEGINS: Final = re.compile(
    rb"(?:\A|[\s:,\[])-?(?:[0-9.]{16}|[0-9.]+[eE][-+]?[0-9]{3})"
)
_PLACES_LOOKED_AT_MAX: Final = 20_000
_SEARCHED_BYTES_MAX: Final = 1 << 16

_Steps = tuple[str | int, ...]
_Place: TypeAlias = "tuple[()] | tuple[_Place, str | int]"
"""The place around a value and one step inside; written out only for the one that is refused."""


class _NotKept(float):
    """A number as it was written, where its double is another number."""

    literal: str


def may_have_long_integers(raw: bytes) -> bool:
    """Whether a JSON text has as many digits as only an integer beyond 64 bits needs."""
    return _LONG_INTEGER in raw.translate(_DIGITS_AS_ZERO)


def may_have_negative_zeros(raw: bytes) -> bool:
    """Whether a JSON text has what a negative zero begins with, perhaps inside a text."""
    return b"-0" in raw and _NEGATIVE_ZERO.search(raw) is not None


def with_plain_zeros(parsed: Any) -> Any:
    """The parsed JSON with 0.0 for each -0.0: PostgreSQL has no negative zero either.

    Objects and arrays are changed in place. The text is not searched: a search that skips quoted
    parts takes quadratic time for a text whose quotes are never closed.
    """
    if isinstance(parsed, float):
        return parsed + 0.0
    waiting = [parsed]
    while waiting:
        container = waiting.pop()
        members: Iterable[tuple[Any, Any]]
        if isinstance(container, dict):
            members = container.items()
        elif isinstance(container, list):
            members = enumerate(container)
        else:
            continue
        for place, member in members:
            if isinstance(member, (dict, list)):
                waiting.append(member)
            elif isinstance(member, float) and member == 0:
                # Assigning to a key that is there does not change the size of what is iterated.
                container[place] = 0.0
    return parsed


def check_kept(raw: bytes, read: BaseModel, *, has_long_integer: bool) -> None:
    """Raise `ValidationError` if the model took a NUL or a number that would not come back.

    `raw` is the JSON text that it was read from. Ignored fields can do no harm, so the model is
    checked and not the body (docs/adr/0041), and only if the body contains one of these. Writing
    the model as JSON, which is fast, shows whether it does; a bounded walk then finds the place for
    the message.
    """
    if _may_hold_inexact_number(raw):
        _check_numbers(raw, read)
    if not has_long_integer and not _has_nul(raw):
        return
    try:
        taken = orjson.dumps(read.model_dump(by_alias=True), default=str)
    except TypeError:
        _refuse(read, _is_long_integer, "is an integer of more than 64 bits")
        raise ValidationError.at("", "The body contains an integer of more than 64 bits") from None
    if _has_nul(taken):
        _refuse(read, _holds_nul, "contains a NUL character")
        raise ValidationError.at("", "The body contains a NUL character")


def _may_hold_inexact_number(raw: bytes) -> bool:
    alike = raw.translate(_ALIKE)
    has_many_digits = _MANY_DIGITS in alike
    if not has_many_digits and b"0e000" not in alike and b"0e-000" not in alike:
        return False
    if len(raw) > _SEARCHED_BYTES_MAX:
        return True
    # A search keeps the interpreter to itself: a millisecond at most. The first one is the faster.
    if not has_many_digits and _LONG_EXPONENT.search(b"," + alike) is None:
        return False
    return _WHERE_A_NUMBER_BEGINS.search(raw) is not None


def _check_numbers(raw: bytes, read: BaseModel) -> None:
    found: list[_NotKept] = []

    def number(literal: str) -> float:
        if is_kept(literal):
            return 0.0
        found.append(_NotKept(0.0))
        found[-1].literal = literal
        return found[-1]

    sent = json.loads(raw, parse_float=number, parse_int=bool)
    if not found:
        return
    for steps, not_kept in _taken(sent, read):
        raise ValidationError.at(
            pointer_to(steps), f"{field_at(steps)} {NOT_KEPT}, got {truncated(not_kept.literal)}"
        )


def _taken(sent: Any, read: BaseModel) -> Iterator[tuple[_Steps, _NotKept]]:
    """Those that the model took, in order: what it ignored can do no harm."""
    waiting: list[tuple[_Steps, Any, Any]] = [((), sent, read)]
    for _ in range(_PLACES_LOOKED_AT_MAX):
        if not waiting:
            return
        steps, part, taken = waiting.pop()
        if isinstance(part, _NotKept):
            yield steps, part
        inside: list[tuple[_Steps, Any, Any]] = []
        if isinstance(part, dict):
            names = _public_names(type(taken)) if isinstance(taken, BaseModel) else None
            for name, value in part.items():
                if names is None:
                    inside.append(((*steps, name), value, None))
                elif name in names:
                    inside.append(((*steps, name), value, getattr(taken, names[name])))
        elif isinstance(part, list):
            several = taken if isinstance(taken, list) and len(taken) == len(part) else [None]
            inside = [
                ((*steps, place), value, several[place % len(several)])
                for place, value in enumerate(part[:_PLACES_LOOKED_AT_MAX])
            ]
        waiting.extend(reversed(inside))
    raise ValidationError.at("", f"The body contains a number that {NOT_KEPT}")


def _public_names(model: type[BaseModel]) -> dict[str, str]:
    """Every name that a client may give a field, and what the model calls it."""
    names: dict[str, str] = {}
    for field, info in model.model_fields.items():
        alias = info.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        names |= {name: field for name in (field, *choices) if isinstance(name, str)}
    return names


def _has_nul(text: bytes) -> bool:
    """Whether JSON text holds a NUL: an escaped backslash before `u0000` makes letters of it."""
    return b"\\u0000" in text and b"\\u0000" in text.replace(b"\\\\", b"")


def _holds_nul(value: Any) -> bool:
    return isinstance(value, str) and "\x00" in value


def _is_long_integer(value: Any) -> bool:
    return isinstance(value, int) and not _INTEGER_MIN <= value <= _INTEGER_MAX


def _refuse(read: BaseModel, is_refused: Callable[[Any], bool], why: str) -> None:
    """Raise for the first value or name, in the order of the model, that is refused."""
    waiting: list[tuple[_Place, Any]] = [((), read)]
    for _ in range(_PLACES_LOOKED_AT_MAX):
        if not waiting:
            return
        place, value = waiting.pop()
        if is_refused(value):
            raise ValidationError.at(pointer_to(_path(place)), f"{field_at(_path(place))} {why}")
        if isinstance(value, dict) and any(map(is_refused, value)):
            path = _path(place)
            raise ValidationError.at(pointer_to(path), f"{field_at(path)} {why} in a name")
        waiting.extend(((place, name), part) for name, part in reversed(_parts(value)))


def _path(place: _Place) -> tuple[str | int, ...]:
    """The steps to a place, which is the place around it and one step more."""
    steps: list[str | int] = []
    while place:
        place, step = place
        steps.append(step)
    return tuple(reversed(steps))


def _parts(value: Any) -> list[tuple[str | int, Any]]:
    """What a value is made of, by the names that the client knows; of very much, the first."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        named = ((fields[name].alias or name, part) for name, part in value if name in fields)
        return [*named, *(value.model_extra or {}).items()]
    if isinstance(value, dict):
        return list(islice(value.items(), _PLACES_LOOKED_AT_MAX))
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(islice(enumerate(value), _PLACES_LOOKED_AT_MAX))
    return []
