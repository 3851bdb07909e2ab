"""What records_service keeps of roles: events say that one has changed, then it asks for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from records_service.app import create_app
from records_service.config import Config
from records_service.permissions import store
from records_service.permissions.roles import Roles
from records_service.permissions.rules import Role
from records_service.reactions import REACTIONS
from shared.events import Event, EventType
from tests.kit import identities
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.service import RunningService, Services

WORKSPACE = "ws-test"
EDITOR = "role-editor"


class Auth:
    """auth_service as these tests need it: the roles it has now, and how often it was asked."""

    def __init__(self) -> None:
        self.roles = {EDITOR: 1}
        self.asked: Counter[str] = Counter()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/internal/roles/{id}", self._role)
        return app

    async def _role(self, request: web.Request) -> web.Response:
        role_id = request.match_info["id"]
        self.asked[role_id] += 1
        await asyncio.sleep(0.05)
        if role_id not in self.roles:
            body = {"error": "NOT_FOUND", "message": f"Role '{role_id}' not found"}
            return web.json_response(body, status=404)
        return web.json_response(document(role_id, self.roles[role_id]))


def document(role_id: str, version: int) -> dict[str, Any]:
    words = {"schemaId": "*", "attributePermissions": {"*": "write"}}
    return {"id": role_id, "version": version, "schemaPermissions": [words]}


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
async def service(services: Services, auth: Auth) -> RunningService:
    url = await services.serve(auth.app())
    service = await services.start(create_app, Config, auth_url=url)
    workspace = RecordsWorkspace(service, service, WORKSPACE)
    await workspace.schema("x", [])
    await workspace.record("schema-x", id="ent-x")
    return service


async def hear(service: RunningService, event_type: str, version: int) -> None:
    """As the consumer does, with what auth_service tells."""
    event = Event(
        type=event_type,
        source="/auth_service",
        workspace_id=WORKSPACE,
        subject=EDITOR,
        data={"roleId": EDITOR, "version": version},
    )
    handler = REACTIONS.get(event_type)
    if handler is not None:
        async with service.database.transaction() as conn:
            await handler(conn, event)


async def read(service: RunningService, version: int) -> int:
    user = identities.user(WORKSPACE, EDITOR, role_version=version)
    return (await service.as_(user).get("/records/ent-x")).status


async def kept(service: RunningService) -> int | None:
    async with service.database.acquire() as conn:
        found = await store.find(conn, WORKSPACE, EDITOR)
    return None if found is None else found["version"]


async def test_a_role_is_asked_for_once_and_again_when_it_has_changed(
    service: RunningService, auth: Auth
):
    await hear(service, EventType.ROLE_CREATED, 1)
    assert await kept(service) is None
    assert await asyncio.gather(*(read(service, 1) for _ in range(20))) == [200] * 20
    assert (auth.asked[EDITOR], await kept(service)) == (1, 1)
    auth.roles[EDITOR] = 2
    await hear(service, EventType.ROLE_UPDATED, 2)
    assert await kept(service) is None
    assert await asyncio.gather(*(read(service, 2) for _ in range(20))) == [200] * 20
    assert (auth.asked[EDITOR], await kept(service)) == (2, 2)


async def test_a_copy_that_is_not_older_than_the_news_stays(service: RunningService, auth: Auth):
    auth.roles[EDITOR] = 3
    assert await read(service, 3) == 200
    for version in (2, 3, 2):
        await hear(service, EventType.ROLE_UPDATED, version)
        assert await kept(service) == 3
    await hear(service, EventType.ROLE_DELETED, 4)
    assert await kept(service) is None
    # Whoever holds an identity that is older than the deletion reads until the gateway hears of it.
    del auth.roles[EDITOR]
    assert await read(service, 3) == 200
    assert await read(service, 5) == 403


async def test_another_process_takes_the_copy(
    service: RunningService, services: Services, auth: Auth
):
    assert await read(service, 1) == 200
    beside = await services.start(
        create_app,
        Config,
        database_url=service.config.database_url,
        auth_url=str(service.config.auth_url),
    )
    assert await read(beside, 1) == 200
    assert auth.asked[EDITOR] == 1


def test_the_roles_in_memory_have_a_bound_in_permissions():
    known = Roles(permissions_max=100)

    def role(version: int, count: int) -> Role:
        words = {f"a{n}": "read" for n in range(count)}
        entry = {"schemaId": "schema-x", "attributePermissions": words}
        return Role.parse({"id": "r", "version": version, "schemaPermissions": [entry]})

    def one(name: str) -> Any:
        return identities.user(WORKSPACE, name)

    known.remember(one("a"), role(1, 60))
    known.remember(one("a"), role(2, 60))
    known.remember(one("b"), role(1, 40))
    found = known.get(one("a"))
    assert found is not None
    assert found.version == 2
    known.remember(one("c"), role(1, 40))
    assert [known.get(one(name)) is not None for name in "abc"] == [True, False, True]
