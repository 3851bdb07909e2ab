"""Checks whether a number can be returned exactly as it was sent.

Numbers are stored as JSON is used nearly everywhere (RFC 8259, section 6): integers in 64 bits, all
others as doubles. A double keeps at least 15 significant digits, and up to 17 of some numbers.
`2.30` is returned as `2.3`, which is the same number. A number that would change is refused.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

NUMBER_LENGTH_MAX: Final = 400
EXACT_INTEGER_MAX: Final = 2**53
NOT_KEPT: Final = (
    "has more digits than are kept (15 significant digits, for some numbers up to 17,"
    " and nothing smaller than 1e-307)"
)
"""The message for such a number, between the name of its field and the number."""


def is_kept(literal: str) -> bool:
    """Whether a JSON number with a point or an exponent is the same number as its double."""
    if len(literal) > NUMBER_LENGTH_MAX:
        return False
    try:
        return Decimal(literal) == Decimal(repr(float(literal)))
    except InvalidOperation:
        # An exponent with very many digits: the value is zero, or no double at all.
        return not any(digit in "123456789" for digit in literal.lower().partition("e")[0])


def plain_number(number: float) -> int | float:
    """A number as JSON shows it best: 2 for 2.0, as far as a double tells integers apart."""
    is_whole = abs(number) <= EXACT_INTEGER_MAX and number == int(number)
    return int(number) if is_whole else number


def _as_double(value: Any) -> Any:
    """The value, unless it is an integer that a double cannot represent."""
    if isinstance(value, int) and abs(value) > EXACT_INTEGER_MAX and int(float(value)) != value:
        raise PydanticCustomError("number_not_kept", "is not kept")
    return value


Number = Annotated[float, BeforeValidator(_as_double), Field(allow_inf_nan=False)]
"""A number in the data model, such as a limit or a position."""
