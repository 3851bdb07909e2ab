"""Finds the rows in the body of a bulk write, and reads them; knows no database.

A body of 64 MB is not parsed as a whole: that would take ten times as much memory, and one bad row
would spoil all. The ends of its rows are found first, each row is parsed when its turn comes. No
step of the search is long, so that other threads get the interpreter in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, NoReturn

import orjson

from records_service.bulk.model import ROWS_MAX, BulkRow, Draft, Row
from shared.errors import ApiError, PayloadTooLarge, ValidationError
from shared.http.limits import USUAL_BODY
from shared.http.messages import unknown_fields
from shared.http.requests import parse_body

Find = Callable[[bytes], Iterator[bytes]]
"""Finds the rows of a body."""

_OPERATIONS: Final = "operations"
_STEP: Final = 1 << 20
_MARK: Final = re.compile(rb'["\[\]{}]')
_END_OF_SCALAR: Final = re.compile(rb"[,\]}\s]")
_NO_SPACE: Final = re.compile(rb"[^ \t\r\n]")
_QUOTE, _BACKSLASH = b'"', 0x5C


def lines(body: bytes) -> Iterator[bytes]:
    """The rows of a body of one JSON text a line; lines without any text are skipped.

    Raises `PayloadTooLarge` for too many.
    """
    if body.count(b"\n") + (not body.endswith(b"\n")) > ROWS_MAX:
        raise _too_many()
    return _lines(body)


def _lines(body: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(body):
        end = body.find(b"\n", start)
        if end < 0:
            end = len(body)
        line = body[start:end].strip()
        if line:
            yield line
        start = end + 1


def operations(body: bytes) -> Iterator[bytes]:
    """The rows of a body `{"operations": [...]}`, which has no other fields.

    Raises `ValidationError` where that is not what it is, `PayloadTooLarge` for too many rows.
    """
    spans = _operations(body)
    if spans is None:
        raise ValidationError.at("/operations", "Field 'operations' is required")
    return (body[start:end] for start, end in spans)


def _operations(body: bytes) -> list[tuple[int, int]] | None:
    if not body.strip():
        raise ValidationError.at("", "A JSON body is required")
    at = _next(body, 0)
    if body[at : at + 1] != b"{":
        _fail_kind("", "Body", "object", body, at)
    found: list[tuple[int, int]] | None = None
    at = _next(body, at + 1)
    while body[at : at + 1] != b"}":
        end = _end_of_value(body, at)
        name = _text(body[at:end])
        if name != _OPERATIONS:
            raise ValidationError.of(unknown_fields([name], [_OPERATIONS]))
        at = _next(body, end)
        _expect(body, at, b":")
        at = _next(body, at + 1)
        found, at = _elements(body, at)
        at = _next(body, at)
        if body[at : at + 1] == b",":
            at = _next(body, at + 1)
        else:
            _expect(body, at, b"}")
    if body[at + 1 :].strip():
        raise _malformed(body, _next(body, at + 1))
    return found


def _elements(body: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    """Where each element of the array at this place begins and ends, and where the array ends."""
    if body[at : at + 1] != b"[":
        _fail_kind("/operations", "Field 'operations'", "array", body, at)
    spans: list[tuple[int, int]] = []
    at = _next(body, at + 1)
    if body[at : at + 1] == b"]":
        return spans, at + 1
    while True:
        end = _end_of_value(body, at)
        spans.append((at, end))
        if len(spans) > ROWS_MAX:
            raise _too_many()
        at = _next(body, end)
        if body[at : at + 1] == b"]":
            return spans, at + 1
        _expect(body, at, b",")
        at = _next(body, at + 1)


def _end_of_value(body: bytes, at: int) -> int:
    """Where the JSON value that begins here ends; whether it is valid is told when it is parsed."""
    first = body[at : at + 1]
    if first == _QUOTE:
        return _end_of_text(body, at + 1)
    if first not in (b"[", b"{"):
        end = _search(_END_OF_SCALAR, body, at)
        if end == at:
            raise _malformed(body, at)
        return end
    depth = 0
    while True:
        at = _search(_MARK, body, at)
        mark = body[at : at + 1]
        at += 1
        if mark == _QUOTE:
            at = _end_of_text(body, at)
        elif mark in (b"[", b"{"):
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return at


def _end_of_text(body: bytes, at: int) -> int:
    """Behind the quote that closes the text whose opening quote is before this place."""
    while True:
        end = body.find(_QUOTE, at)
        if end < 0:
            raise _malformed(body, len(body))
        slashes = 0
        while body[end - 1 - slashes] == _BACKSLASH and end - slashes > at:
            slashes += 1
        if slashes % 2 == 0:
            return end + 1
        at = end + 1


def _next(body: bytes, at: int) -> int:
    """The next place that is no space."""
    if body[at : at + 1] not in (b" ", b"\t", b"\r", b"\n"):
        if at >= len(body):
            raise _malformed(body, at)
        return at
    return _search(_NO_SPACE, body, at)


def _search(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    while at < len(body):
        found = pattern.search(body, at, at + _STEP)
        if found is not None:
            return found.start()
        at += _STEP
    raise _malformed(body, len(body))


def _expect(body: bytes, at: int, mark: bytes) -> None:
    if body[at : at + 1] != mark:
        raise _malformed(body, at)


def _text(raw: bytes) -> str:
    try:
        name = orjson.loads(raw)
    except orjson.JSONDecodeError:
        name = None
    if not isinstance(name, str):
        raise ValidationError.at("", "Malformed JSON: the name of a field is no text")
    return name


def _fail_kind(pointer: str, field: str, expected: str, body: bytes, at: int) -> NoReturn:
    first = body[at : at + 1]
    kinds = {b"{": "object", b"[": "array", b'"': "string", b"n": "null"}
    kind = kinds.get(first, "boolean" if first in (b"t", b"f") else "number")
    raise ValidationError.at(pointer, f"{field} expects type '{expected}', got '{kind}'")


def _malformed(body: bytes, at: int) -> ValidationError:
    what = "unexpected end" if at >= len(body) else "unexpected character"
    return ValidationError.at("", f"Malformed JSON: {what} at byte {at}")


def _too_many() -> PayloadTooLarge:
    return PayloadTooLarge(f"Request body exceeds {ROWS_MAX} rows")


def parsed(rows: Iterator[tuple[int, bytes]], count: int) -> Sequence[Row]:
    """The next rows, at most so many; what cannot be read is told by its own row."""
    return [Row(index, _parsed(raw)) for index, raw in islice(rows, count)]


def _parsed(raw: bytes) -> Draft | ApiError:
    if len(raw) > USUAL_BODY:
        return PayloadTooLarge(f"Row exceeds {USUAL_BODY} bytes")
    try:
        read = parse_body(raw, BulkRow)
    except PayloadTooLarge as error:
        return PayloadTooLarge(error.message.replace("Request body", "Row"))
    except ApiError as error:
        return error
    return Draft(
        id=read.id,
        schema_id=read.schema_id,
        values=read.values,
        lifecycle_state_id=read.lifecycle_state_id,
        names_state="lifecycle_state_id" in read.model_fields_set,
        external_key=read.external_key,
        names_key="external_key" in read.model_fields_set,
        size=len(raw),
    )
