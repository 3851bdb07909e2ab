"""A server that speaks Shopify's GraphQL Admin API over HTTP, and throttles as Shopify does.

Requests are parsed and validated by the GraphQL reference implementation, against a schema with the
documented types: a query that Shopify would not understand is not understood here either.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from aiohttp import BodyPartReader, web
from graphql import (
    DocumentNode,
    GraphQLError,
    OperationDefinitionNode,
    execute_sync,
    parse,
    validate,
)
from graphql.execution.values import get_variable_values

from deploy.local.private_server import free_port
from tests.kit.shopify.costs import Bucket, Costs
from tests.kit.shopify.operations import Operations
from tests.kit.shopify.products import Catalogue
from tests.kit.shopify.resolvers import SCHEMA, Root

VERSION = "2026-07"
TOKEN = "shpat_0123456789abcdef"
COST_MAX = 1_000
UPLOAD_BYTES_MAX = 100_000_000


@dataclass
class Interference:
    """What the next request to the API gets instead of its answer, or after its effect."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    after_effect: bool = False
    hang_up: bool = False
    operation: str | None = None
    """Only a request with an operation of this name."""


@lru_cache
def read(query: str) -> tuple[DocumentNode, list[GraphQLError]]:
    """A document, and what is wrong with it by the schema."""
    document = parse(query)
    return document, validate(SCHEMA, document)


class ShopifyServer:
    """One shop; `url` is for SIGMA_SHOPIFY_URL."""

    def __init__(self, url: str, name: str = "Coastal Shop") -> None:
        self.url = url
        self.token = TOKEN
        self.catalogue = Catalogue()
        self.operations = Operations(url)
        self.operations.root = self.root = Root(self.catalogue, self.operations, url, name)
        self.bucket = Bucket(asyncio.get_running_loop().time)
        self.asked: Counter[str] = Counter()
        """Requests by the name of their operation, as often as they were executed."""
        self.throttled = 0
        self.interferences: deque[Interference] = deque()

    @property
    def titles(self) -> list[str]:
        return [product.values["title"] for product in self.catalogue.products.values()]

    def application(self) -> web.Application:
        app = web.Application(client_max_size=UPLOAD_BYTES_MAX)
        app.router.add_post(f"/admin/api/{VERSION}/graphql.json", self._graphql)
        app.router.add_post("/uploads", self._upload)
        app.router.add_get("/results/{number}.jsonl", self._results)
        return app

    async def _graphql(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-Shopify-Access-Token") != self.token:
            message = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            return web.json_response({"errors": message}, status=401)
        if request.content_type != "application/json":
            return web.json_response(
                {"errors": {"query": "Required parameter missing"}}, status=400
            )
        sent = await request.json()
        try:
            document, problems = read(sent["query"])
        except GraphQLError as error:
            return web.json_response({"errors": [error.formatted]})
        operation = next(
            one for one in document.definitions if isinstance(one, OperationDefinitionNode)
        )
        name = operation.name.value if operation.name else ""
        interference = self._interference(name)
        if interference and not interference.after_effect:
            return await self._interfered(request, interference)
        if problems:
            answer = {"errors": [problem.formatted for problem in problems]}
        else:
            answer = self._answer(document, operation, name, sent.get("variables") or {})
        if interference:
            return await self._interfered(request, interference)
        return web.json_response(answer)

    def _answer(
        self, document: Any, operation: OperationDefinitionNode, name: str, sent: dict[str, Any]
    ) -> dict[str, Any]:
        variables = get_variable_values(SCHEMA, operation.variable_definitions or (), sent)
        if isinstance(variables, list):
            return {"errors": [problem.formatted for problem in variables]}
        costs = Costs(SCHEMA, operation, variables)
        requested = costs.of()
        if requested > COST_MAX:
            return self._refused(
                "MAX_COST_EXCEEDED",
                f"Query cost is {requested}, which exceeds the single query max cost of 1000",
                requested,
            )
        if not self.bucket.take(requested):
            self.throttled += 1
            return self._refused("THROTTLED", "Throttled", requested)
        self.asked[name] += 1
        result = execute_sync(SCHEMA, document, self.root, variable_values=sent)
        actual = costs.of(result.data)
        self.bucket.give_back(requested - actual)
        return {**result.formatted, "extensions": self._cost(requested, actual)}

    def _refused(self, code: str, message: str, requested: int) -> dict[str, Any]:
        return {
            "errors": [{"message": message, "extensions": {"code": code}}],
            "extensions": self._cost(requested, None),
        }

    def _cost(self, requested: int, actual: int | None) -> dict[str, Any]:
        return {
            "cost": {
                "requestedQueryCost": requested,
                "actualQueryCost": actual,
                "throttleStatus": self.bucket.status(),
            }
        }

    def _interference(self, name: str) -> Interference | None:
        if self.interferences and self.interferences[0].operation in {None, name}:
            return self.interferences.popleft()
        return None

    async def _interfered(
        self, request: web.Request, interference: Interference
    ) -> web.StreamResponse:
        await asyncio.sleep(interference.delay_s)
        if interference.hang_up and request.transport:
            request.transport.abort()
        return web.Response(
            status=interference.status, body=interference.body, headers=interference.headers
        )

    async def _upload(self, request: web.Request) -> web.Response:
        """As Google Cloud Storage takes a form: all fields before the file, and no token."""
        if "X-Shopify-Access-Token" in request.headers:
            return web.Response(status=400, text="unexpected token")
        fields: dict[str, str] = {}
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            if part.name == "file":
                content = bytes(await part.read())
                wanted = {"key", "Content-Type", "success_action_status", "policy"}
                if not wanted <= fields.keys() or not self.operations.received(
                    fields["key"], content
                ):
                    return web.Response(status=403, text="<Error>AccessDenied</Error>")
                return web.Response(status=201)
            fields[part.name or ""] = await part.text()
        return web.Response(status=400, text="<Error>no file</Error>")

    async def _results(self, request: web.Request) -> web.Response:
        content = self.operations.results(request.match_info["number"])
        if content is None or "X-Shopify-Access-Token" in request.headers:
            return web.Response(status=404)
        return web.Response(body=content, content_type="application/jsonl")


@asynccontextmanager
async def shopify_server(name: str = "Coastal Shop") -> AsyncIterator[ShopifyServer]:
    """A shop on a free port of this machine, until the block ends."""
    port = free_port()
    server = ShopifyServer(f"http://127.0.0.1:{port}", name)
    runner = web.AppRunner(server.application())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield server
    finally:
        await server.operations.close()
        await runner.cleanup()
