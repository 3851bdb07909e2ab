"""Bounds what servers of destinations answer to clients that read every answer whole.

Anybody may name a server, and a server may answer without end.
"""

from __future__ import annotations

from typing import Final

from aiohttp import ClientPayloadError, ClientResponse

ANSWER_BYTES_MAX: Final = 1 << 20
"""A thousand unfinished uploads, listed by S3, take half of it."""


class BoundedResponse(ClientResponse):
    """An answer that fails to be read if it is larger than any that is meant, or compressed.

    No answer is compressed unless it is asked for, and a small one may be made of gigabytes.
    """

    async def read(self) -> bytes:
        """The body. Raises `ClientPayloadError`, with the connection closed."""
        if self._body is None:
            if self.headers.get("Content-Encoding", "identity").lower() != "identity":
                self.close()
                raise ClientPayloadError("compressed")
            body = bytearray()
            async for part in self.content.iter_any():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    self.close()
                    raise ClientPayloadError("too large")
            self._body = bytes(body)
        return await super().read()
