"""Holds a request's body and its answer, so that its effect can be decided on in between.

A handler reads and answers as always. The body is read before it begins, so that no slow sender
keeps a transaction open, and given to it again. What it sends is held until the transaction has
ended: nobody is told of an effect that did not come about.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from aiohttp import StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from shared.errors import ApiError, PayloadTooLarge, ServiceUnavailable
from shared.http.requests import unpacked
from shared.http.routes import Handler
from shared.process.offload import LARGE_BYTES, in_thread
from shared.process.waiting import KeyedSemaphore

LARGE_BODY_BYTES: Final = 1 << 20
LARGE_BODIES_MAX: Final = 2
"""How many large bodies a process holds at a time; others wait, as for a connection."""
ANSWER_BYTES_MAX: Final = 32 << 20

_OF_ONE_SENDING: Final = frozenset(
    name.lower()
    for name in (
        hdrs.CONNECTION,
        hdrs.CONTENT_LENGTH,
        hdrs.DATE,
        hdrs.SERVER,
        hdrs.TRANSFER_ENCODING,
        "X-Request-Id",
    )
)


class HeldAnswer(web.Response):
    """An answer that the handler sent in parts; it is sent as it is."""


async def read_whole(
    request: web.Request, bytes_max: int, large_bodies: KeyedSemaphore
) -> Sequence[bytes]:
    """The body, in parts; a too large `Content-Length` was refused before.

    Raises `PayloadTooLarge`, or `ServiceUnavailable` if too many large bodies are held already.
    """
    parts: list[bytes] = []
    size = await _read_until(request, parts, 0, min(bytes_max, LARGE_BODY_BYTES), bytes_max)
    if not request.content.at_eof():
        async with large_bodies.of(None):
            await _read_until(request, parts, size, bytes_max, bytes_max)
    return parts


async def _read_until(
    request: web.Request, parts: list[bytes], size: int, until: int, bytes_max: int
) -> int:
    content = request.content
    while size <= until and not content.at_eof():
        part = await content.readany()
        size += len(part)
        if size > bytes_max:
            raise PayloadTooLarge(f"Request body exceeds {bytes_max} bytes")
        parts.append(part)
    return size


def give_again(request: web.Request, parts: Sequence[bytes]) -> None:
    """Let the handler read this body, as if it had just come."""
    if not request.body_exists:
        return
    size = sum(map(len, parts))
    # With a limit above its size, the reader never pauses the connection.
    reader = StreamReader(request.protocol, size + 1, loop=asyncio.get_running_loop())
    for part in parts:
        reader.feed_data(part)
    reader.feed_eof()
    # aiohttp has no public way to do it, and remembers the reader that was read.
    request._payload = reader  # noqa: SLF001
    request._cache.pop("content", None)  # noqa: SLF001


async def digest_of(request: web.Request, parts: Sequence[bytes], bytes_max: int) -> bytes:
    """SHA-256 of the body as it is after decoding; of `multipart` without its boundary.

    A retry may be compressed again, and has a new boundary.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    boundary = None
    if request.content_type.startswith("multipart/"):
        boundary = _boundary_of(request)
    if encoding is None and sum(map(len, parts)) <= LARGE_BYTES:
        return _digest(parts, None, bytes_max, boundary)
    return await in_thread(_digest, parts, encoding, bytes_max, boundary)


def _boundary_of(request: web.Request) -> bytes | None:
    _, _, parameters = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "boundary":
            return value.strip().strip('"').encode("utf-8", "surrogateescape") or None
    return None


def _digest(
    parts: Sequence[bytes], encoding: str | None, bytes_max: int, boundary: bytes | None
) -> bytes:
    if encoding is not None or boundary is not None:
        body = b"".join(parts)
        if encoding is not None:
            # Of one that cannot be unpacked, the handler says what is wrong with it.
            with suppress(ApiError):
                body = unpacked(body, encoding, bytes_max)
        if boundary is not None:
            body = body.replace(b"--" + boundary, b"--")
        parts = [body]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


async def answer_of(request: web.Request, handler: Handler) -> web.Response:
    """What the handler answers, with nothing of it sent; raises what the handler raises.

    Raises `PayloadTooLarge` for an answer that is too large to be held.
    """
    sent = request._payload_writer  # noqa: SLF001
    held = _Held()
    request._payload_writer = held  # noqa: SLF001 - aiohttp has no public way to do it
    try:
        response = await handler(request)
        if not response.prepared and type(response) is not web.Response:
            await response.prepare(request)
            await response.write_eof()
    finally:
        request._payload_writer = sent  # noqa: SLF001
    if not response.prepared:
        assert isinstance(response, web.Response)
        return response
    if not held.ended and (request.transport is None or request.transport.is_closing()):
        # The handler broke its answer off.
        raise ServiceUnavailable
    headers = CIMultiDict(kept_headers(response))
    return HeldAnswer(status=response.status, headers=headers, body=bytes(held.body))


def kept_headers(response: web.StreamResponse) -> list[tuple[str, str]]:
    """The headers that belong to an answer whenever it is sent."""
    return [
        (name, value)
        for name, value in response.headers.items()
        if name.lower() not in _OF_ONE_SENDING
    ]


class _Held(AbstractStreamWriter):
    """Takes the place of the connection that an answer is written to."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.ended = False

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.body += chunk
        self.output_size = len(self.body)
        if len(self.body) > ANSWER_BYTES_MAX:
            raise PayloadTooLarge(
                f"The answer exceeds {ANSWER_BYTES_MAX} bytes, which is the most for a request with"
                " Idempotency-Key or Prefer: dry-run"
            )

    async def write_eof(self, chunk: bytes = b"") -> None:
        if chunk:
            await self.write(chunk)
        self.ended = True

    async def drain(self) -> None:
        return

    def enable_compression(
        self,
        encoding: str = "deflate",  # noqa: ARG002 - aiohttp's
        strategy: int | None = None,  # noqa: ARG002
    ) -> None:
        return

    def enable_chunking(self) -> None:
        return

    async def write_headers(
        self,
        status_line: str,  # noqa: ARG002
        headers: CIMultiDict[str],  # noqa: ARG002
    ) -> None:
        return
