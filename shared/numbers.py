"""Would this number come back as it was sent?

Every service keeps a number as JSON does nearly everywhere (RFC 8259, section 6): whole ones in 64
bits, all others as a double. A double keeps 15 significant digits always, and up to 17 of some
numbers. `2.30` comes back as `2.3`, which is the same number; one that would be another is refused.
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
"""What is wrong with such a number; its field stands before it, the number after it."""


def is_kept(literal: str) -> bool:
    """Whether a JSON number with a point or an exponent is the same number as its double."""
    if len(literal) > NUMBER_LENGTH_MAX:
        return False
    try:
        return Decimal(literal) == Decimal(repr(float(literal)))
    except InvalidOperation:
        # An exponent of very many digits: it is zero, or it is no double.
        return not any(digit in "123456789" for digit in literal.lower().partition("e")[0])


def _as_double(value: Any) -> Any:
    """The value, unless it is a whole number that no double is."""
    if isinstance(value, int) and abs(value) > EXACT_INTEGER_MAX and int(float(value)) != value:
        raise PydanticCustomError("number_not_kept", "is not kept")
    return value


Number = Annotated[float, BeforeValidator(_as_double), Field(allow_inf_nan=False)]
"""A number of the model, such as a bound or a place in an order."""
