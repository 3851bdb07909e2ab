"""A shop with a REST interface, as a `custom` channel speaks to it, on a real port."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Interfere = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class RestTarget:
    """The products that a shop has, and what it was asked.

    `interfere` is asked before each request, and may answer instead. `keeps_keys` says whether a
    create with a known `Idempotency-Key` is answered again instead of carried out again.
    """

    def __init__(self, *, keeps_keys: bool = True, page_size: int = 50) -> None:
        self.products: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.counts: Counter[str] = Counter()
        self.interfere: Interfere | None = None
        self.after: Interfere | None = None
        self.url = ""
        self._keys: dict[str, str] = {}
        self._keeps_keys = keeps_keys
        self._page_size = page_size

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[RestTarget]:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/products", self._collection)
        app.router.add_route("*", "/products/{id}", self._product)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/products"
        try:
            yield self
        finally:
            await runner.cleanup()

    def add(self, **product: Any) -> str:
        """A product that somebody else made; its id."""
        product_id = str(1_000 + len(self.products))
        self.products[product_id] = {"id": product_id, **product}
        return product_id

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        return await self._handled(
            request, self._create if request.method == "POST" else self._list
        )

    async def _product(self, request: web.Request) -> web.StreamResponse:
        return await self._handled(request, self._update)

    async def _handled(
        self, request: web.Request, handle: Callable[[web.Request, Any], web.StreamResponse]
    ) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.counts[request.method] += 1
        self.headers.append(dict(request.headers))
        if self.interfere is not None and (answer := await self.interfere(request)) is not None:
            return answer
        self.asked.append((request.method, request.path_qs, body))
        made = handle(request, body)
        if self.after is not None and (answer := await self.after(request)) is not None:
            return answer
        return made

    def _list(self, request: web.Request, _: Any) -> web.StreamResponse:
        page = int(request.query.get("page", "1"))
        start = (page - 1) * self._page_size
        return web.json_response(list(self.products.values())[start : start + self._page_size])

    def _create(self, request: web.Request, body: Any) -> web.StreamResponse:
        key = request.headers.get("Idempotency-Key")
        if self._keeps_keys and key in self._keys:
            return web.json_response(self.products[self._keys[key]], status=201)
        product_id = self.add(**body)
        if key is not None:
            self._keys[key] = product_id
        return web.json_response(self.products[product_id], status=201)

    def _update(self, request: web.Request, body: Any) -> web.StreamResponse:
        product = self.products.get(request.match_info["id"])
        if product is None:
            return web.json_response({"error": "no such product"}, status=404)
        product |= body
        return web.json_response(product)


async def cut_off(request: web.Request) -> web.StreamResponse | None:
    """The connection ends without an answer."""
    assert request.transport is not None
    request.transport.abort()
    await asyncio.sleep(0)
    return web.Response()
