"""Reads the body of `POST /imports`: a form with a file, or a file alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson
import pydantic
from aiohttp import BodyPartReader, hdrs, web

from records_service.imports.job_model import ImportQuery
from records_service.imports.receiving import NOTHING_RECEIVED, Received
from shared.errors import PayloadTooLarge, UnsupportedMediaType, ValidationError, truncated
from shared.http.messages import refusal, shown, unknown_fields
from shared.http.shapes import names_of

NDJSON: Final = "application/x-ndjson"
FIELDS_MAX: Final = 20
FIELD_BYTES_MAX: Final = 128 << 10
PIECE_BYTES: Final = 256 << 10

Receive = Callable[[AsyncIterator[bytes]], Awaitable[Received]]
"""Takes the pieces of a file."""


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent: the name of the file, how it is to be read, and what was received.

    `digest` is that of the parts, without the boundary between them: it is the same when the same
    is sent again.
    """

    file_name: str | None
    query: ImportQuery
    received: Received
    digest: bytes


def only_compared(bytes_max: int) -> Receive:
    """Takes a file and keeps nothing of it; raises `PayloadTooLarge`."""

    async def receive(pieces: AsyncIterator[bytes]) -> Received:
        size = 0
        async for piece in pieces:
            size += len(piece)
            if size > bytes_max:
                raise PayloadTooLarge(f"The file exceeds {bytes_max} bytes")
        return NOTHING_RECEIVED

    return receive


async def read_form(request: web.Request, receive: Receive) -> Form:
    """The body, whose file goes to `receive` as it comes.

    Raises `UnsupportedMediaType`, `PayloadTooLarge`, or `ValidationError` for anything else.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING):
        raise UnsupportedMediaType("A file is sent without Content-Encoding")
    ValidationError.check(
        unknown_fields(
            (each for each in request.query if each not in _FIELDS), names_of(ImportQuery)
        )
    )
    sent: dict[str, Any] = dict(request.query)
    if request.content_type in (NDJSON, "application/jsonl"):
        query = _query(sent)
        file = _Hashed(request.content.iter_any())
        received = await receive(file.pieces())
        return Form("body.ndjson", query, received, file.digest())
    if request.content_type != "multipart/form-data":
        got = request.headers.get(hdrs.CONTENT_TYPE)
        raise UnsupportedMediaType(
            f"Expected Content-Type 'multipart/form-data' or '{truncated(NDJSON)}', got"
            f" {shown(got) if got else 'none'}"
        )
    try:
        return await _form(request, receive, sent)
    except (ValueError, AssertionError):
        raise ValidationError.at("", "Malformed form: it is no multipart/form-data") from None


async def _form(request: web.Request, receive: Receive, sent: dict[str, Any]) -> Form:
    name: str | None = None
    found: Received | None = None
    form = await request.multipart()
    digest = sha256()
    fields = 0
    while (part := await form.next()) is not None:
        fields += 1
        if not isinstance(part, BodyPartReader) or fields > FIELDS_MAX:
            raise ValidationError(f"A form has at most {FIELDS_MAX} simple fields")
        digest.update(orjson.dumps([part.name, part.filename]))
        if part.name == "file":
            if found is not None:
                raise ValidationError.at("/file", "Field 'file' may be given only once")
            name = part.filename
            file = _Hashed(_pieces(part))
            found = await receive(file.pieces())
            digest.update(file.digest())
        elif part.name in _FIELDS:
            sent[part.name] = await _text(part)
            digest.update(orjson.dumps(sent[part.name]))
        else:
            raise ValidationError.at("", f"Unknown field '{truncated(part.name)}' in the form")
    if found is None:
        raise ValidationError.at("/file", "Field 'file' is required")
    return Form(name, _query(sent), found, digest.digest())


class _Hashed:
    """Pieces of a file, and the digest of all of them."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._digest = sha256()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces."""
        async for piece in self._pieces:
            self._digest.update(piece)
            yield piece

    def digest(self) -> bytes:
        """SHA-256 of those that have been taken."""
        return self._digest.digest()


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(PIECE_BYTES):
        yield bytes(piece)


async def _text(part: BodyPartReader) -> str:
    data = bytearray()
    while piece := await part.read_chunk():
        data += piece
        if len(data) > FIELD_BYTES_MAX:
            raise PayloadTooLarge(f"A field of the form exceeds {FIELD_BYTES_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValidationError.at(
            f"/{part.name}", f"Field '{truncated(part.name)}' is not UTF-8"
        ) from None


def _query(sent: dict[str, Any]) -> ImportQuery:
    try:
        return ImportQuery.model_validate(sent)
    except pydantic.ValidationError as error:
        raise refusal(error, sent) from None


_FIELDS: Final = frozenset(info.alias or name for name, info in ImportQuery.model_fields.items())
