"""Assembles the gateway: authentication, permissions, limits, forwarding."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from aiohttp import web

from gateway.config import GatewayConfig
from gateway.description import description_routes
from gateway.gateway import AUTH, GATEWAY_KEY, Gateway
from gateway.routes import Service
from shared.errors import MethodNotAllowed
from shared.http import (
    ANY_METHOD,
    Context,
    Limits,
    Routes,
    json_response,
    new_service,
)
from shared.http.address_check import ServiceAddress, check_addresses
from shared.http.client import upstream
from shared.http.shapes import Shape
from shared.identity import GATEWAY
from shared.launch import Role
from shared.messaging.connection import rabbitmq
from shared.messaging.subscribing import subscribe
from shared.messaging.topology import GATEWAY_BINDING


class Health(Shape):
    """The API is up."""

    status: Literal["ok"]
    """Always `ok`."""


health = Routes(
    tag="Health",
    about="Whether the API is up.",
)


@health.get("/healthz", open=True, answers=Health, summary="Check that the API is up")
async def get_health(_request: web.Request) -> web.StreamResponse:
    """Answers without credentials and without calling another service: the gateway is running."""
    return json_response({"status": "ok"})


async def _only_read(request: web.Request) -> web.StreamResponse:
    preflight = request.app[GATEWAY_KEY].response_headers.preflight(request)
    if preflight is not None:
        return preflight
    raise MethodNotAllowed("Only GET and HEAD are allowed here", headers={"Allow": "GET, HEAD"})


def _nothing_else(table: Routes) -> Routes:
    """405 for every other method at these addresses, which would be forwarded otherwise."""
    rest = Routes(tag=table.tag)
    for route in table.table:
        rest.table.append(replace(route, method=ANY_METHOD, handler=_only_read))
    return rest


def create_app(config: GatewayConfig, role: Role = "all") -> web.Application:
    """Assemble the application. Its contexts are opened from first to last, before any request."""
    del role  # The gateway has one.
    gateway = Gateway(config)
    answered_here = [health, description_routes()] if config.docs_enabled else [health]
    contexts: list[Context] = [
        upstream(AUTH, config.auth_url, Service.AUTH),
        gateway.opened,
        rabbitmq(config, GATEWAY),
        check_addresses(
            ServiceAddress("SIGMA_AUTH_URL", config.auth_url, Service.AUTH),
            ServiceAddress("SIGMA_RECORDS_URL", config.records_url, Service.RECORDS),
            ServiceAddress("SIGMA_WORKFLOW_URL", config.workflow_url, Service.WORKFLOW),
        ),
        subscribe(
            GATEWAY_BINDING,
            gateway.identities.on_event,
            on_up=gateway.identities.connected,
            on_down=gateway.identities.disconnected,
        ),
    ]
    everything_else = Routes(tag="")
    everything_else.catch_all(
        body_bound=gateway.body_bound, body_bytes_max=gateway.routes.body_bytes_max
    )(gateway.handle)
    tables = [*answered_here, *map(_nothing_else, answered_here), everything_else]
    # Behind a proxy all connections come from one address, and the proxy shares them fairly.
    limits = Limits(
        connections_max=config.connections_max,
        body_bytes_max=config.body_bytes_max,
        connections_shared=config.trusted_hops == 0,
    )
    app = new_service(
        config, tables, contexts, limits=limits, complete=gateway.response_headers.complete
    )
    app[GATEWAY_KEY] = gateway
    return app
