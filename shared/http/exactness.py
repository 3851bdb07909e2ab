"""Finds numbers of a JSON body that would not come back as they were sent.

Nearly no body has one, and a reader of JSON does not say so. So the raw text is scanned for what
such a number must have, sixteen digits or an exponent of three, which costs a microsecond for a
body of usual size. Codes and UUIDs in texts have that too: only a body that has it where a number
may begin is read a second time, number by number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydantic import AliasChoices, BaseModel

from shared.errors import ValidationError, truncated
from shared.http.messages import field_at, pointer_to
from shared.http.numbers import NOT_KEPT, is_kept

_DIGITS_AND_POINT_AS_ZERO: Final = bytes.maketrans(b"0123456789.E", b"00000000000e")
_MANY_DIGITS: Final = b"0" * 16
_EXPONENTS: Final = (b"0e000", b"0e-000", b"0e+000")
_WHERE_A_NUMBER_BEGINS: Final = re.compile(
    rb"(?:\A|[\s:,\[])-?(?:[0-9.]{16}|[0-9.]+[eE][-+]?[0-9]{3})"
)
_NEGATIVE_ZEROS: Final = (b"-0.", b"-0e", b"-0E")
_PLACES_LOOKED_AT_MAX: Final = 20_000
_SEARCHED_BYTES_MAX: Final = 1 << 16

_Steps = tuple[str | int, ...]


class _NotKept(float):
    """A number as it was written, where its double is another number."""

    literal: str


def may_have_negative_zeros(raw: bytes) -> bool:
    """Whether a JSON text has what a negative zero begins with, perhaps inside a text."""
    return any(zero in raw for zero in _NEGATIVE_ZEROS)


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


def check_numbers(raw: bytes, read: BaseModel) -> None:
    """Raise `ValidationError` for the first number that `read` took and that would not come back.

    `raw` is the JSON text that the model was read from.
    """
    if _may_hold_one(raw):
        _look_again(raw, read)


def _may_hold_one(raw: bytes) -> bool:
    alike = raw.translate(_DIGITS_AND_POINT_AS_ZERO)
    if _MANY_DIGITS in alike or (
        b"0e" in alike and any(exponent in alike for exponent in _EXPONENTS)
    ):
        # The search keeps the interpreter to itself: a millisecond at most.
        return len(raw) > _SEARCHED_BYTES_MAX or _WHERE_A_NUMBER_BEGINS.search(raw) is not None
    return False


def _look_again(raw: bytes, read: BaseModel) -> None:
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
