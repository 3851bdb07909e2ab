"""Sends the file as the body of one POST.

The receiver knows the end of the body by the protocol: a connection that ends before it brought no
file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import hdrs
from yarl import URL

from workflow_service.destinations.model import DeliveryFailed, File
from workflow_service.destinations.shapes import WebhookConfig
from workflow_service.outbound.addresses import OutboundFailed
from workflow_service.outbound.client import Outbound

IDLE_TIMEOUT_S: Final = 60
"""How long the receiver may take for the next piece, and for its answer at the end."""
TRY_TIMEOUT_S: Final = 10
ANSWER_BYTES_MAX: Final = 4_096
_KEPT_BACK: Final = 1
"""Pieces that wait to be sent."""
_REFUSALS: Final = frozenset({401, 403})
_SUCCESS: Final = range(200, 300)


@asynccontextmanager
async def opened(
    config: WebhookConfig, file: File, outbound: Outbound
) -> AsyncIterator[WebhookUpload]:
    """A request with this file."""
    upload = WebhookUpload(config, file, outbound)
    try:
        yield upload
    finally:
        await upload.abort()


async def try_out(
    config: WebhookConfig,
    file: File,  # noqa: ARG001 - nothing is sent
    outbound: Outbound,
) -> None:
    """Ask for the head of the URL: whatever it answers, but for a refusal, somebody is there."""
    try:
        async with outbound.request(
            hdrs.METH_HEAD, config.url, headers=config.headers, timeout_s=TRY_TIMEOUT_S
        ) as answer:
            if answer.status in _REFUSALS:
                raise DeliveryFailed(f"Access denied: the receiver answered {answer.status}")
    except OutboundFailed as error:
        raise DeliveryFailed(str(error)) from None


class WebhookUpload:
    """A request whose body ends when it is committed."""

    def __init__(self, config: WebhookConfig, file: File, outbound: Outbound) -> None:
        self._url = URL(config.url)
        self._headers = {
            **config.headers,
            hdrs.CONTENT_TYPE: file.media_type,
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{file.name}"',
            "Idempotency-Key": file.run_id,
        }
        self._outbound = outbound
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_KEPT_BACK)
        self._sending: asyncio.Task[int] | None = None
        self._is_whole = False

    async def write(self, data: bytes) -> None:
        """Send a piece, as fast as the receiver takes it."""
        if data:
            await self._put(data)

    async def commit(self) -> str:
        """End the body and read the answer."""
        sending = await self._put(b"")
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                status = await sending
        except TimeoutError:
            raise DeliveryFailed(
                f"The receiver did not answer within {IDLE_TIMEOUT_S} seconds"
            ) from None
        except OutboundFailed as error:
            raise DeliveryFailed(str(error)) from None
        self._check(status)
        # A query may hold a token.
        return str(self._url.with_query(None).with_fragment(None))

    async def abort(self) -> None:
        """Close the connection before the body has ended."""
        if self._sending is not None and not self._sending.done():
            self._sending.cancel()
            await asyncio.wait([self._sending])

    async def _put(self, piece: bytes) -> asyncio.Task[int]:
        """Hand a piece to the request; raises what ended it meanwhile."""
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        putting = asyncio.create_task(self._pieces.put(piece))
        try:
            done, _ = await asyncio.wait(
                [self._sending, putting],
                timeout=IDLE_TIMEOUT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            putting.cancel()
        if self._sending in done and not self._is_whole:
            try:
                self._check(self._sending.result())
            except OutboundFailed as error:
                raise DeliveryFailed(str(error)) from None
        if not done:
            raise DeliveryFailed(
                f"The receiver took nothing more of the file for {IDLE_TIMEOUT_S} seconds"
            )
        return self._sending

    async def _send(self) -> int:
        """The status that the receiver answers."""
        async with self._outbound.request(
            hdrs.METH_POST,
            str(self._url),
            headers=self._headers,
            data=self._body(),
            timeout_s=None,
            answer_bytes_max=ANSWER_BYTES_MAX,
        ) as answer:
            return answer.status

    async def _body(self) -> AsyncIterator[bytes]:
        while piece := await self._pieces.get():
            yield piece
        self._is_whole = True

    def _check(self, status: int) -> None:
        """Raise unless the receiver has taken the whole file."""
        if status in _REFUSALS:
            raise DeliveryFailed(f"Access denied: the receiver answered {status}")
        if status not in _SUCCESS:
            raise DeliveryFailed(f"The receiver answered {status}")
        if not self._is_whole:
            raise DeliveryFailed(f"The receiver answered {status} before it had the whole file")
