"""What auth_service tells the gateways: every change after its commit, then a watermark."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import aio_pika
import pytest
from aiohttp import web

from auth_service.app import create_app
from auth_service.config import Config
from auth_service.users import commands as users
from auth_service.workspaces import commands as workspaces
from shared.events import Event, EventType
from shared.messaging import topology
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services

WS = f"ws-{secrets.token_hex(6)}"
TOKEN_KEYS = "test=" + "QUFB" * 11 + "QQ=="


@pytest.fixture
async def auth(services: Services) -> RunningService:
    async def named(_request: web.Request) -> web.Response:
        return web.json_response({"workflowIds": []})

    workflows = web.Application()
    workflows.router.add_post("/internal/roles/{id}/named", named)
    return await services.start(
        create_app,
        Config,
        "all",
        token_keys=TOKEN_KEYS,
        amqp_url=await services.broker(),
        workflow_url=await services.serve(workflows),
    )


@pytest.fixture
async def heard(auth: RunningService) -> AsyncIterator[list[Event]]:
    """Everything that a gateway would hear about this test's workspace, and every watermark."""
    news: list[Event] = []
    connection = await aio_pika.connect(auth.config.amqp_url.get_secret_value())
    channel = await connection.channel()
    await channel.declare_exchange(topology.EVENTS, "topic", durable=True)
    queue = await channel.declare_queue(exclusive=True, auto_delete=True)
    await queue.bind(topology.EVENTS, topology.GATEWAY_BINDING)

    async def hear(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        event = Event.from_json(message.body)
        if event.workspace_id == WS or event.type == EventType.AUTH_WATERMARK:
            news.append(event)

    await queue.consume(hear, no_ack=True)
    yield news
    await connection.close()


async def test_every_change_is_told_once_in_order_and_a_watermark_follows(auth, heard):
    admin = auth.as_(identities.admin(WS))
    await workspaces.create(auth.database, WS, "Test", 500)
    (await admin.post("/roles", {"id": "role-x", "name": "X"})).ok()
    (await admin.put("/roles/role-x", {"name": "Y"})).ok()
    (await admin.delete("/roles/role-x")).ok()
    body = {"id": "apikey-x", "name": "X", "permissions": ["read"]}
    (await admin.post("/api-keys", body)).ok()
    (await admin.post("/api-keys/apikey-x/deactivate")).ok()
    (await admin.delete("/api-keys/apikey-x")).ok()
    await users.create(
        auth.database,
        workspace_id=WS,
        user_id="user-eva",
        email=f"eva@{WS}",
        name="Eva",
        role_id="role-admin",
        password_hash="no hash",
        quick_login=False,
    )
    await users.disable(auth.database, WS, "user-eva")
    await workspaces.set_record_limit(auth.database, WS, 7)

    def of(subject: str) -> list[tuple[str, int]]:
        return [(event.type, event.version) for event in heard if event.subject == subject]

    def all_arrived() -> bool:
        return [len(of(subject)) for subject in (WS, "role-x", "apikey-x", "user-eva")] == [
            *(2, 3, 3, 2)
        ]

    await eventually(all_arrived)
    assert of(WS) == [("auth.workspace.created", 1), ("auth.workspace.updated", 2)]
    assert of("role-x") == [
        ("auth.role.created", 1),
        ("auth.role.updated", 2),
        ("auth.role.deleted", 3),
    ]
    assert of("apikey-x") == [
        ("auth.key.created", 1),
        ("auth.key.deactivated", 2),
        ("auth.key.deleted", 3),
    ]
    assert of("user-eva") == [("auth.user.created", 1), ("auth.user.disabled", 2)]
    assert len({event.id for event in heard}) == len(heard)
    before = len(heard)
    await eventually(
        lambda: any(event.type == EventType.AUTH_WATERMARK for event in heard[before:])
    )
    assert await auth.staged() == []
