"""Opaque cursors: where in the order of one list a page ended, for that list alone.

A cursor is base64url of a digest and a JSON array. The array has how many items came before, and
the position: what the last row has in the columns of the order. The digest is over the array and
the query that the cursor belongs to (workspace, path, filters, order), so a cursor of another query
and a damaged one are told. It is no secret: whoever computes one gets another page of a list that
is open to them anyway, so what is read from it is checked like any other input.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import orjson

from shared.http.requests import OFFSET_MAX

Kind: TypeAlias = type[datetime] | type[str] | type[int] | type[float] | type[bool] | type[Decimal]
"""The type of a column of an order, as asyncpg reads it."""

CURSOR_MAX: Final = 6_000
"""Characters. A request line has at most 8,190."""
_DIGEST_BYTES: Final = 12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BIGINT_MAX: Final = 2**63 - 1


class NotACursor(Exception):
    """The text is no cursor of this query."""


def encode(query: bytes, before: int, position: Sequence[Any]) -> str:
    """The cursor after the row at this position; `before` items come before the next page."""
    payload = orjson.dumps([before, *map(_plain, position)])
    return base64.urlsafe_b64encode(_digest(query, payload) + payload).rstrip(b"=").decode()


def decode(query: bytes, cursor: str, kinds: Sequence[Kind]) -> tuple[int, tuple[Any, ...]]:
    """How many items come before, and the position of the last of them.

    None stands for a column without a value. Raises `NotACursor`.
    """
    if len(cursor) > CURSOR_MAX:
        raise NotACursor
    try:
        # Strict, so that no two texts are one cursor.
        raw = base64.b64decode(
            cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        )
        payload = raw[_DIGEST_BYTES:]
        if raw[:_DIGEST_BYTES] != _digest(query, payload):
            raise NotACursor
        before, *position = orjson.loads(payload)
        if type(before) is not int or not 0 <= before <= OFFSET_MAX:
            raise NotACursor
        return before, tuple(
            _read(value, kind) for value, kind in zip(position, kinds, strict=True)
        )
    except (ValueError, TypeError, OverflowError, binascii.Error, InvalidOperation):
        raise NotACursor from None


def _digest(query: bytes, payload: bytes) -> bytes:
    return blake2b(payload, digest_size=_DIGEST_BYTES, key=blake2b(query).digest()).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    return str(value) if isinstance(value, Decimal) else value


def _read(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind is datetime and type(value) is int:
        return _EPOCH + value * _MICROSECOND
    if kind is Decimal and type(value) is str:
        number = Decimal(value)
        if number.is_finite():
            return number
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif type(value) is kind and (
        not (type(value) is str and "\x00" in value)
        and not (type(value) is int and abs(value) > _BIGINT_MAX)
    ):
        return value
    raise NotACursor
