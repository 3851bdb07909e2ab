"""Reads what a client sent: a JSON body or a query string, as a model or as a clear refusal.

Bodies are read strictly (`"1"` is no number, `true` is none either); a query string knows only
text, so there `limit=50` is a number, in digits and nothing else. What could not be stored, or not
be written again as it was sent, is refused (`shared.http.exactness`).

A field that a model does not name is ignored in a body, unless the model is `Closed`. A parameter
that it does not name is refused: a list without its misspelt filter is another list
(docs/adr/0091).

What a body costs is bounded before it is parsed: its bytes by its route, and the number of values
in it for all routes alike. A large one is parsed in another thread.
"""

from __future__ import annotations

import re
import zlib
from codecs import BOM_UTF8
from functools import lru_cache
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import orjson
import pydantic
import pydantic_core
from aiohttp import hdrs, web
from pydantic import BaseModel, Field

from shared.errors import (
    PayloadTooLarge,
    UnsupportedMediaType,
    ValidationError,
    Violation,
)
from shared.http.context import CALL
from shared.http.exactness import (
    check_kept,
    may_have_long_integers,
    may_have_negative_zeros,
    with_plain_zeros,
)
from shared.http.messages import field_at, refusal, shown, unknown_fields, wants_json
from shared.http.shapes import Shape, names_of
from shared.process.offload import LARGE_BYTES, OFFLOAD

ModelT = TypeVar("ModelT", bound=BaseModel)

LIST_LIMIT_MAX: Final = 500
LIST_LIMIT_DEFAULT: Final = 50
OFFSET_MAX: Final = 2**53 - 1
_DEPTH_LOOKED_AT: Final = 100
VALUES_MAX: Final = 100_000
"""How many values a body may have: members of objects and items of arrays, at any depth."""
_TEXTS_PER_VALUE: Final = 2
_DEPTH_MAX: Final = 190
_DEPTH_WRITTEN_MAX: Final = 254
_GZIP_WINDOW_BITS: Final = 31
_GZIP_MEMBERS_MAX: Final = 16
_DIGITS: Final = re.compile(r"-?[0-9]+", re.ASCII)


class Page(Shape):
    """Which part of a list is asked for."""

    offset: Annotated[int, Field(ge=0, le=OFFSET_MAX)] = 0
    """The number of items to skip."""
    limit: Annotated[int, Field(ge=1, le=LIST_LIMIT_MAX)] = LIST_LIMIT_DEFAULT
    """The maximum number of items to return."""

    @property
    def limit_is_asked(self) -> bool:
        """Whether the client named a limit; a default one may be answered by a shorter page."""
        return "limit" in self.model_fields_set


async def read_body(request: web.Request, model: type[ModelT]) -> ModelT:
    """The JSON body as a model.

    Raises `UnsupportedMediaType` unless it is JSON in UTF-8, plain or in gzip, `PayloadTooLarge`,
    or `ValidationError` with what is wrong with it, `ServiceUnavailable` for a large one among
    very many.
    """
    if request.body_exists:
        check_media_type(request)
    call = request[CALL]
    raw = await _raw(request, call.body_bytes_max)
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is None and len(raw) <= LARGE_BYTES:
        return _parsed(raw, model)
    call.has_large_body = True
    share = None if call.identity is None else call.identity.workspace_id
    return await request.app[OFFLOAD].run(
        share, _unpacked_model, raw, encoding, call.body_bytes_max, model
    )


async def read_bytes(request: web.Request, *media_types: str) -> bytes:
    """The body as it is before it is parsed, out of its gzip, without a byte order mark.

    For a body that is parsed part by part. Raises as `read_body` does; JSON is always accepted,
    `media_types` are the others, in lower case.
    """
    if request.body_exists:
        check_media_type(request, *media_types)
    call = request[CALL]
    raw = await _raw(request, call.body_bytes_max)
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    call.has_large_body = True
    if encoding is not None:
        share = None if call.identity is None else call.identity.workspace_id
        raw = await request.app[OFFLOAD].run(share, unpacked, raw, encoding, call.body_bytes_max)
    return raw.removeprefix(BOM_UTF8)


async def _raw(request: web.Request, bytes_max: int) -> bytes:
    """The bytes of the body; a too large `Content-Length` was refused before."""
    content, parts, size = request.content, [], 0
    while not content.at_eof():
        part = await content.readany()
        size += len(part)
        if size > bytes_max:
            raise PayloadTooLarge(f"Request body exceeds {bytes_max} bytes")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unpacked_model(
    raw: bytes, encoding: str | None, bytes_max: int, model: type[ModelT]
) -> ModelT:
    return _parsed(raw if encoding is None else unpacked(raw, encoding, bytes_max), model)


def _parsed(raw: bytes, model: type[ModelT]) -> ModelT:
    if not raw or raw == BOM_UTF8:
        raise ValidationError.at("", "A JSON body is required")
    return parse_body(raw, model)


def _reason(raw: bytes, error: orjson.JSONDecodeError) -> str:
    """What is wrong with the text, where the parser does not say it in plain words."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "the body is not UTF-8"
    if "infinity" in error.msg:
        return (
            f"the number at line {error.lineno} column {error.colno} is too large,"
            " expected at most 1.797e308"
        )
    return str(error)


def parse_body(raw: bytes, model: type[ModelT]) -> ModelT:
    """JSON text as a model; `ValidationError`, or `PayloadTooLarge` for very many values.

    A byte order mark before it is skipped, as RFC 8259 allows.
    """
    raw = raw.removeprefix(BOM_UTF8)
    containers = raw.count(b"[") + raw.count(b"{")
    if (
        len(raw) > VALUES_MAX
        and containers + raw.count(b",") > VALUES_MAX
        and _values_in(raw) > VALUES_MAX
    ):
        # A few bytes each, but nobody else is answered while all of them are made.
        raise PayloadTooLarge(f"Request body exceeds {VALUES_MAX} values")
    # orjson refuses what only some parsers take (NaN, 1e999, lone surrogates), and says where.
    try:
        sent = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ValidationError.at("", f"Malformed JSON: {_reason(raw, error)}") from None
    # Only a long integer can be too long for 64 bits, and only many brackets can nest deeply.
    has_long_integer = may_have_long_integers(raw)
    if containers > _DEPTH_LOOKED_AT:
        _check_depth(sent)
    if has_long_integer:
        # orjson makes a double of it, pydantic's reader keeps it.
        sent = pydantic_core.from_json(raw, allow_inf_nan=False)
    has_negative_zeros = may_have_negative_zeros(raw)
    if has_negative_zeros:
        sent = with_plain_zeros(sent)
    try:
        model_read = model.model_validate(sent, strict=True)
    except pydantic.ValidationError as error:
        if not wants_json(error):
            raise refusal(error, sent) from None
        # Strict for JSON still lets a text be a date or a member of an enumeration.
        try:
            text = pydantic_core.to_json(sent) if has_negative_zeros else raw
            model_read = model.model_validate_json(text, strict=True)
        except pydantic.ValidationError as error_in_json:
            raise refusal(error_in_json, sent) from None
    check_kept(raw, model_read, has_long_integer=has_long_integer)
    return model_read


def _values_in(raw: bytes) -> int:
    """How many values JSON text has; one more for each container, which is at least as many.

    Commas and brackets inside of texts are none, and a name that comes again counts again.
    """
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > 2 * _TEXTS_PER_VALUE * VALUES_MAX:
        # Each value has its own text at most and that of its name.
        return VALUES_MAX + 1
    outside = b"".join(plain.split(b'"')[::2])
    return outside.count(b",") + outside.count(b"[") + outside.count(b"{")


def _check_depth(sent: Any) -> None:
    """Raise `ValidationError` for what could not be written again inside of an event or an answer.

    It is the writer that tells how deep it is, because it is fast: wrapped until only so much as
    may be sent is left of what it goes down.
    """
    wrapped = sent
    for _ in range(_DEPTH_WRITTEN_MAX - _DEPTH_MAX):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except TypeError:
        raise ValidationError.at("", "Malformed JSON: nested too deeply") from None


def read_query(request: web.Request, model: type[ModelT]) -> ModelT:
    """The query string as a model.

    Raises `ValidationError` with everything that is wrong with it, also for a parameter that the
    model does not name.
    """
    query = request.query
    found: list[Violation] = []
    sent: dict[str, Any] = {}
    if query:
        lists, parameters = _list_parameters(model), _parameters(model)
        for name in query:
            if name in sent:
                continue
            if name not in parameters:
                found += unknown_fields([name], names_of(model))
                continue
            values = query.getall(name)
            if name in lists:
                sent[name] = values
                continue
            sent[name] = values[0]
            if len(values) > 1:
                found.append(Violation(f"/{name}", f"Field '{name}' may be given only once"))
        whole_numbers = _whole_numbers(model)
        found += [
            Violation(
                f"/{name}", f"{field_at([name])} expects a whole number, got {shown(sent[name])}"
            )
            for name in sent
            if name in whole_numbers and _DIGITS.fullmatch(sent[name]) is None
        ]
    try:
        read = model.model_validate(sent)
    except pydantic.ValidationError as error:
        found += refusal(error, sent).violations
    # Of each parameter only the first problem: pydantic says the same again in other words.
    first: dict[str, Violation] = {}
    for each in found:
        first.setdefault(each.pointer, each)
    ValidationError.check(first.values())
    return read


def check_media_type(request: web.Request, *others: str) -> None:
    """Raise `UnsupportedMediaType` unless the body is JSON or one of `others`, in UTF-8."""
    header = request.headers.get(hdrs.CONTENT_TYPE)
    if header == "application/json":
        return
    expected = " or ".join(map(shown, ("application/json", *others)))
    if header is None:
        raise UnsupportedMediaType(f"Expected Content-Type {expected}, got none")
    content_type = request.content_type
    if content_type not in ("application/json", *others) and not (
        content_type.startswith("application/") and content_type.endswith("+json")
    ):
        raise UnsupportedMediaType(f"Expected Content-Type {expected}, got {shown(header)}")
    charset = request.charset
    if charset is not None and charset.lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"Expected charset 'utf-8', got {shown(charset)}")


def unpacked(raw: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body out of its gzip, which must not be larger than a plain one might be.

    Raises `UnsupportedMediaType` for another encoding, `PayloadTooLarge` or `ValidationError`.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return raw
        case "gzip" | "x-gzip":
            pass
        case _:
            raise UnsupportedMediaType(f"Expected Content-Encoding 'gzip', got {shown(encoding)}")
    plain = bytearray()
    try:
        for _ in range(_GZIP_MEMBERS_MAX):
            member = zlib.decompressobj(_GZIP_WINDOW_BITS)
            plain += member.decompress(raw, bytes_max + 1 - len(plain))
            if len(plain) > bytes_max:
                raise PayloadTooLarge(f"Request body exceeds {bytes_max} bytes")
            if not member.eof:
                raise ValidationError.at("", "Malformed gzip: the body ends too early")
            raw = member.unused_data
            if not raw:
                return bytes(plain)
    except zlib.error:
        raise ValidationError.at("", "Malformed gzip") from None
    # What is left is copied for each member, so very many of them would take for ever.
    raise ValidationError.at("", f"Malformed gzip: more than {_GZIP_MEMBERS_MAX} members")


@lru_cache(maxsize=256)
def _parameters(model: type[BaseModel]) -> frozenset[str]:
    also = model.model_fields if model.model_config.get("populate_by_name") else ()
    return frozenset({*names_of(model), *also})


@lru_cache(maxsize=256)
def _list_parameters(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        name
        for field, info in model.model_fields.items()
        if (get_origin(info.annotation) or info.annotation) in (list, tuple, set, frozenset)
        for name in (field, info.alias)
        if name
    )


@lru_cache(maxsize=256)
def _whole_numbers(model: type[BaseModel]) -> frozenset[str]:
    """The parameters that are whole numbers, for which Python would also take `1_0` or `+5`."""
    return frozenset(
        info.alias or field
        for field, info in model.model_fields.items()
        if info.annotation is int or int in get_args(info.annotation)
    )
