"""Times that clients send."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator, TypeAdapter
from pydantic_core import PydanticKnownError

_NUMBER: Final = re.compile(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?")


def _not_a_number(sent: Any) -> Any:
    """A number could be a time in seconds or in milliseconds: nobody says which."""
    if isinstance(sent, str) and _NUMBER.fullmatch(sent.strip()):
        raise PydanticKnownError("datetime_parsing", {"error": "a number"})
    return sent


def _read(sent: Any) -> Any:
    """Bodies are read strictly: a text is no time there. Whatever else comes is refused so."""
    return _INSTANT.validate_python(sent) if isinstance(sent, str) else sent


Instant = Annotated[AwareDatetime, BeforeValidator(_not_a_number)]
"""A time in a query string: ISO 8601 with an offset from UTC."""
Moment = Annotated[datetime, BeforeValidator(_read)]
"""The same in a body."""
_INSTANT: Final = TypeAdapter[datetime](Instant)
