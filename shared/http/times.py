"""Times that clients send."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticKnownError

_NUMBER: Final = re.compile(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?")


def _not_a_number(sent: Any) -> Any:
    """A number could be a time in seconds or in milliseconds: nobody says which."""
    if isinstance(sent, str) and _NUMBER.fullmatch(sent.strip()):
        raise PydanticKnownError("datetime_parsing", {"error": "a number"})
    return sent


Instant = Annotated[AwareDatetime, BeforeValidator(_not_a_number)]
"""A time in a query string: ISO 8601 with an offset from UTC."""
