"""A receiver of webhooks: a real server that notes what comes, and answers as a test wants."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed

    @property
    def about(self) -> tuple[str, str, int]:
        """Event, record or variant, and version."""
        data = self.json["data"]
        return self.json["event"], data.get("variantId") or data["entityId"], data["version"]

    def is_signed_with(self, secret: str) -> bool:
        """By both signatures, as a careful receiver checks them."""
        plain = hmac.digest(secret.encode(), self.body, "sha256").hex()
        return self.headers.get("X-Sigma-Signature") == plain and self.has_standard(secret)

    def has_standard(self, secret: str) -> bool:
        """Whether one of the signatures of Standard Webhooks is by this secret."""
        key = secret.encode()
        if secret.startswith("whsec_"):
            key = base64.b64decode(secret.removeprefix("whsec_"))
        delivery, at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = f"{delivery}.{at}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        return expected in self.headers.get("webhook-signature", "").split()


Answer = Callable[[Received], "int | float"]
Hold = Callable[[Received], "asyncio.Event | None"]


class Receiver:
    """`answers` says the status for a request; a fraction is how long to wait before 200.

    What `holds` returns is waited for before.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: Answer = lambda _: 200
        self.holds: Hold = lambda _: None
        self.url = ""
        self._stopped = asyncio.Event()

    def at(self, path: str) -> list[Received]:
        """What came to this path."""
        return [one for one in self.received if one.path == path]

    async def answer(self, request: web.Request) -> web.Response:
        got = Received(request.path, await request.read(), dict(request.headers))
        self.received.append(got)
        held = self.holds(got)
        if held is not None:
            await held.wait()
        status = self.answers(got)
        if isinstance(status, float):
            await asyncio.sleep(status)
            status = 200
        return web.Response(status=status, text="noted")


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{rest:.*}", receiver.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{site.port}"
    try:
        yield receiver
    finally:
        await runner.cleanup()
