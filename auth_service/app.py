"""Assembles the application of auth_service."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from auth_service.api_keys import handlers as api_keys
from auth_service.api_keys.commands import API_KEYS_MAX
from auth_service.clients import RECORDS, WORKFLOWS
from auth_service.config import Config
from auth_service.effective_permissions import handlers as effective_permissions
from auth_service.grants import handlers as grants
from auth_service.identities import handlers as identities
from auth_service.reactions import hold_ids
from auth_service.roles import handlers as roles
from auth_service.roles.commands import ROLES_MAX
from auth_service.sessions import handlers as sessions
from auth_service.sessions.commands import LOGIN_SLOTS, TOKEN_KEYS
from auth_service.sessions.hashing import hashing
from auth_service.source import SOURCE
from shared.database import postgres
from shared.database.listing import PIECES, pieces
from shared.database.retries import retry_safe
from shared.database.schema_version import schema_version
from shared.database.server_metrics import measuring
from shared.database.sizes import Bound
from shared.events import EventType
from shared.http import new_service
from shared.http.access import access_routes
from shared.http.address_check import ServiceAddress, check_addresses
from shared.http.client import upstream
from shared.identity import IdentitySigner
from shared.identity.tokens import TokenKeys
from shared.launch import Role
from shared.messaging import topology
from shared.messaging.connection import rabbitmq
from shared.messaging.consuming import by_type, consume
from shared.messaging.relay import relay
from shared.process.waiting import KeyedSemaphore

NAME: Final = "auth_service"
QUEUE: Final = next(queue for queue in topology.QUEUES if queue.name == topology.AUTH_QUEUE)
_TABLES: Final = (
    sessions.routes,
    roles.routes,
    effective_permissions.routes,
    api_keys.routes,
    identities.routes,
    identities.me_routes,
    grants.routes,
)
ROUTES: Final = (*_TABLES, access_routes(_TABLES))


def create_app(config: Config, role: Role = "all") -> web.Application:
    """Opened top to bottom, closed bottom to top: the relay stops before what it uses."""
    app = new_service(
        config,
        ROUTES,
        [
            postgres(config, application_name=NAME),
            schema_version(NAME),
            retry_safe(config, removes=role != "api"),
            hashing(config.hashing_threads, config.hashing_waiting_max),
            upstream(RECORDS, str(config.records_url), "records_service"),
            upstream(WORKFLOWS, str(config.workflow_url), "workflow_service"),
            rabbitmq(config, NAME),
            check_addresses(
                ServiceAddress("SIGMA_RECORDS_URL", str(config.records_url), "records_service"),
                ServiceAddress("SIGMA_WORKFLOW_URL", str(config.workflow_url), "workflow_service"),
            ),
            *(
                []
                if role == "api"
                else [
                    measuring,
                    relay(
                        SOURCE,
                        watermark=EventType.AUTH_WATERMARK,
                        lease_s=config.relay_lease_seconds,
                    ),
                    # Noted in the inbox when it is done, so that others can see that it is.
                    consume(QUEUE, by_type({}), first=hold_ids),
                ]
            ),
        ],
        name=NAME,
    )
    app[grants.SIGNER] = IdentitySigner.parse(config.identity_signing_key.get_secret_value())
    app[TOKEN_KEYS] = TokenKeys.parse(config.token_keys.get_secret_value())
    app[LOGIN_SLOTS] = KeyedSemaphore(wait_s=config.wait_seconds)
    app[sessions.QUICK_LOGIN_ENABLED] = config.quick_login_enabled
    app[ROLES_MAX] = Bound("roles", "role", config.roles_max, config.roles_bytes_max)
    app[API_KEYS_MAX] = Bound("api_keys", "API key", config.api_keys_max)
    app[PIECES] = pieces()
    return app
