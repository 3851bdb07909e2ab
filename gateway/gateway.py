"""Handles a request: routing, authentication, rate limit, permission, forwarding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import hdrs, web

from gateway.authenticate import Authenticator, ask_auth_service
from gateway.config import GatewayConfig
from gateway.description import HTML, PAGE
from gateway.fairness import FairSlots, anonymous
from gateway.forward import Body, Exchange, forward
from gateway.identities import Caller, Identities
from gateway.limits import RateLimiter
from gateway.operations import Access, Policy
from gateway.peers import peer_of
from gateway.response_headers import ResponseHeaders
from gateway.routes import RouteTable, Service, check_method, split_target
from gateway.upstream.pool import UpstreamPool
from shared.errors import (
    ApiError,
    NotFound,
    ServiceUnavailable,
    UpstreamTimeout,
    ValidationError,
)
from shared.http import (
    call_of,
    names_media_type,
)
from shared.http.client import Upstream, blame
from shared.http.messages import shown
from shared.identity import GATEWAY, Identity, IdentitySigner
from shared.identity.tokens import TokenKeys
from shared.process.metrics import REQUESTS

AUTH = web.AppKey("auth_service", Upstream)

OPEN_REQUESTS_MAX = 64
"""Concurrent requests without a credential; as many more may wait."""


class Gateway:
    """The request handler and all it needs; one per process."""

    def __init__(self, config: GatewayConfig) -> None:
        signer = IdentitySigner.parse(config.identity_signing_key.get_secret_value())
        self.config = config
        self.response_headers = ResponseHeaders(
            origins=config.cors_origins, explained=config.docs_enabled
        )
        self.authenticator = Authenticator(TokenKeys.parse(config.token_keys.get_secret_value()))
        self.routes = RouteTable.shipped(Policy(config.body_bytes_max, config.request_timeout_s))
        REQUESTS.untimed.update(
            prefix.name for prefix in self.routes.prefixes.values() if prefix.follows
        )
        self.limiter = RateLimiter.from_config(config)
        self.identities = Identities(
            ask_auth_service(self._question), signer, wait_s=config.wait_seconds
        )
        self.pools = {
            service: UpstreamPool(
                url,
                connections_max=config.upstream_connections_max,
                wait_s=config.wait_seconds,
            )
            for service, url in (
                (Service.AUTH, config.auth_url),
                (Service.RECORDS, config.records_url),
                (Service.WORKFLOW, config.workflow_url),
            )
        }
        # Those who wait for news hold a connection all the time, so they have connections of their
        # own, each a place that was taken before.
        self.followers = FairSlots(
            config.followers_max,
            1,
            "Too many requests that wait for news",
            config.wait_seconds,
        )
        self.follower_pools = {
            Service.RECORDS: UpstreamPool(
                config.records_url,
                connections_max=config.followers_max,
                wait_s=config.wait_seconds,
                responses_share=1,
            )
        }
        self.open_requests = FairSlots(
            OPEN_REQUESTS_MAX,
            OPEN_REQUESTS_MAX,
            "Too many requests without a credential",
            config.wait_seconds,
        )
        self._self = Caller(Identity("service", GATEWAY, "*"), 0.0, signer)
        self._auth: Upstream | None = None

    async def _question(self, question: dict[str, str | int], request: web.Request | None) -> Any:
        assert self._auth is not None
        return await self._auth.request(
            "POST",
            "/internal/identities",
            json=question,
            call=None if request is None else call_of(request),
            reads=True,
            identity_token=self._self.token(time.monotonic()),
        )

    async def opened(self, app: web.Application) -> AsyncIterator[None]:
        """Context of the application: closes the connections to the services at its end."""
        self._auth = app[AUTH]
        yield
        for pool in (*self.pools.values(), *self.follower_pools.values()):
            await pool.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Handle one request: routing, authentication, rate limit, permission, forwarding."""
        began = asyncio.get_running_loop().time()
        preflight = self.response_headers.preflight(request)
        if preflight is not None:
            return preflight
        path, query = split_target(request.raw_path)
        call = call_of(request)
        call.peer = peer = peer_of(request, self.config.trusted_hops)
        prefix = self.routes.prefix_of(path)
        if prefix is None:
            return await self._answer_unknown(request, path, began, peer)
        call.route = prefix.name
        operation = prefix.operation(request.method, path)
        access, policy = operation.access, operation.policy
        exchange = Exchange(
            request,
            call,
            prefix.service,
            self.pools[prefix.service],
            path + query,
            began + policy.deadline_s,
        )
        if access.open:
            check_method(request.method)
            exchange.caller_key = anonymous(peer)
            return await self._forward(exchange, policy)
        caller = await self._caller(request, exchange.deadline, peer)
        rate = {} if self.limiter is None else await self.limiter.count(caller.identity)
        try:
            check_method(request.method)
            if access.user_only:
                caller.identity.require_user()
            elif access.permission is not None:
                caller.identity.require(access.permission)
            exchange.caller = caller
            exchange.caller_key = caller.caller_key(peer)
            exchange.response_headers = rate
            if policy.follows:
                return await self._follow(exchange, policy, access)
            return await self._forward(exchange, policy)
        except ApiError as error:
            error.headers.update(rate)
            raise

    async def _answer_unknown(
        self, request: web.Request, path: str, began: float, peer: str
    ) -> web.Response:
        """Redirect a browser from `/` to the API page; raise `NotFound` for callers."""
        if self.config.docs_enabled and leads_to_page(request, path):
            return web.Response(status=302, headers={hdrs.LOCATION: PAGE})
        caller = await self._caller(request, began + self.routes.configured.deadline_s, peer)
        rate = {} if self.limiter is None else await self.limiter.count(caller.identity)
        raise NotFound(f"Route {shown(path)} not found", headers=rate)

    async def _forward(self, exchange: Exchange, policy: Policy) -> web.StreamResponse:
        # Not a member of an enumeration, whose value costs the access log 2 microseconds.
        exchange.call.upstream = str(exchange.service)
        body = Body(exchange.request, policy.body_bytes_max)
        exchange.framing, exchange.content = await body.ready()
        if exchange.caller is None:
            # Not before: a slow body that is buffered must not occupy a slot.
            await self.open_requests.take(exchange.caller_key, exchange.deadline)
        try:
            return await forward(exchange)
        except (ServiceUnavailable, UpstreamTimeout) as error:
            blame(error, exchange.service)
            raise
        finally:
            if exchange.caller is None:
                self.open_requests.give_back(exchange.caller_key)

    async def _follow(
        self, exchange: Exchange, policy: Policy, access: Access
    ) -> web.StreamResponse:
        """Forward a request that waits for news, as long as its caller may ask."""
        exchange.pool = self.follower_pools[exchange.service]

        async def still_asking() -> Caller:
            credential = self.authenticator.credential(exchange.request)
            caller = await self.identities.resolve(credential, exchange.request)
            if access.permission is not None:
                caller.identity.require(access.permission)
            return caller

        exchange.still_asking = still_asking
        async with self.followers.slot(exchange.caller_key, exchange.deadline):
            return await self._forward(exchange, policy)

    async def _caller(self, request: web.Request, deadline: float, peer: str) -> Caller:
        credential = self.authenticator.credential(request)
        caller = self.identities.cached(credential)
        if caller is None:
            try:
                async with asyncio.timeout_at(deadline):
                    caller = await self.identities.resolve(credential, request, peer)
            except TimeoutError:
                raise UpstreamTimeout from None
        call_of(request).caller = caller.identity
        return caller

    def body_bound(self, request: web.Request) -> int | None:
        """The largest body that is taken at this address; None for an address that is refused."""
        try:
            path, _ = split_target(request.raw_path)
        except ValidationError:
            return None
        prefix = self.routes.prefix_of(path)
        if prefix is None:
            return None
        return prefix.operation(request.method, path).policy.body_bytes_max


GATEWAY_KEY = web.AppKey("gateway", Gateway)


def leads_to_page(request: web.Request, path: str) -> bool:
    """Whether a browser asks for `/`.

    Checked only for addresses below no prefix: a route of its own would slow down every request.
    """
    return (
        path == "/"
        and request.method in ("GET", "HEAD")
        and names_media_type(request.headers.get(hdrs.ACCEPT), HTML)
    )
