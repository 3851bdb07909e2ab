"""Assembles the application of workflow_service."""

from __future__ import annotations

import asyncio

from aiohttp import web

from shared.database import ConnectionSlots, postgres
from shared.database.listing import PIECES, pieces
from shared.database.retries import retry_safe
from shared.database.schema_version import schema_version
from shared.database.server_metrics import measuring
from shared.database.sizes import Bound
from shared.http import new_service
from shared.http.access import access_routes
from shared.http.address_check import ServiceAddress, check_addresses
from shared.http.client import upstream
from shared.identity import IdentitySigner
from shared.launch import Role
from shared.messaging import topology
from shared.messaging.connection import rabbitmq
from shared.messaging.consuming import consume
from shared.messaging.relay import relay
from workflow_service.applications import handlers as applications
from workflow_service.change_sets import handlers as change_sets
from workflow_service.channels import handlers as channels
from workflow_service.clients import (
    APPLICATION_SLOTS,
    AUTH,
    RECORDS,
    REMOTE_CALL_SLOTS,
    SIGNER,
)
from workflow_service.config import Config
from workflow_service.connectors.model import CHANNEL_TYPES
from workflow_service.connectors.types import channel_types
from workflow_service.deliveries import handlers as deliveries
from workflow_service.dispatch.dispatcher import dispatching
from workflow_service.dispatch.keeping import keeping
from workflow_service.export_jobs import handlers as export_jobs
from workflow_service.export_jobs.commands import CONNECTION_TESTS
from workflow_service.export_runs import handlers as runs_of_exports
from workflow_service.export_runs.running import export_runs
from workflow_service.outbound.addresses import Allowed
from workflow_service.outbound.client import outbound
from workflow_service.previews import handlers as previews
from workflow_service.reactions import hold_ids, react
from workflow_service.reconciliation import reconciliation
from workflow_service.reviews import handlers as reviews
from workflow_service.role_claims import handlers as role_claims
from workflow_service.secrets.resealing import resealing
from workflow_service.secrets.vault import VAULT, Vault
from workflow_service.shopify.channel_type import shopify
from workflow_service.sync import handlers as sync
from workflow_service.sync.running import GIVING_WAY, WAKE, synchronising
from workflow_service.transitions import handlers as transitions
from workflow_service.transitions.definition_cache import DEFINITIONS, Definitions
from workflow_service.webhooks import handlers as webhooks
from workflow_service.workflows import handlers as workflows
from workflow_service.workflows.commands import SOURCE, WORKFLOWS_MAX

NAME = "workflow_service"
_TABLES = (
    workflows.routes,
    previews.routes,
    transitions.routes,
    role_claims.routes,
    change_sets.routes,
    reviews.routes,
    applications.routes,
    webhooks.routes,
    deliveries.routes,
    channels.routes,
    sync.routes,
    export_jobs.routes,
    runs_of_exports.routes,
)
ROUTES = (*_TABLES, access_routes(_TABLES))
QUEUE = next(queue for queue in topology.QUEUES if queue.name == topology.WORKFLOW_QUEUE)


def create_app(config: Config, role: Role = "all") -> web.Application:
    """Opened top to bottom, closed bottom to top: whoever works stops before what it uses."""
    working = [
        measuring,
        relay(SOURCE, lease_s=config.relay_lease_seconds),
        consume(QUEUE, react, first=hold_ids),
        reconciliation(config),
        resealing,
        dispatching(lease_s=config.relay_lease_seconds),
        keeping,
        synchronising,
        export_runs,
    ]
    app = new_service(
        config,
        ROUTES,
        [
            postgres(config, application_name=NAME),
            schema_version(NAME),
            retry_safe(config, removes=role != "api"),
            rabbitmq(config, NAME),
            upstream(AUTH, str(config.auth_url), "auth_service"),
            upstream(RECORDS, str(config.records_url), "records_service"),
            check_addresses(
                ServiceAddress("SIGMA_AUTH_URL", str(config.auth_url), "auth_service"),
                ServiceAddress("SIGMA_RECORDS_URL", str(config.records_url), "records_service"),
            ),
            outbound(Allowed.parse(config.outbound_allow or "")),
            *([] if role == "api" else working),
        ],
        name=NAME,
    )
    app[REMOTE_CALL_SLOTS] = ConnectionSlots(
        max(1, config.database_connections_max // 4), wait_s=config.wait_seconds
    )
    app[APPLICATION_SLOTS] = ConnectionSlots(
        max(1, config.database_connections_max // 8), wait_s=config.wait_seconds
    )
    app[CONNECTION_TESTS] = ConnectionSlots(2, wait_s=config.wait_seconds)
    app[SIGNER] = IdentitySigner.parse(config.identity_signing_key.get_secret_value())
    app[VAULT] = Vault.parse(config.secret_keys.get_secret_value())
    app[WORKFLOWS_MAX] = Bound(
        "workflows", "workflow", config.workflows_max, config.workflows_bytes_max
    )
    shopify_url = str(config.shopify_url) if config.shopify_url else None
    app[CHANNEL_TYPES] = channel_types(shopify(shopify_url))
    app[WAKE] = asyncio.Event()
    app[GIVING_WAY] = set()
    app[DEFINITIONS] = Definitions()
    app[PIECES] = pieces()
    return app
