"""Names in roles that nothing has yet: when something gets such a name, roles hold its id."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import pytest

from auth_service.app import create_app
from auth_service.config import Config
from auth_service.reactions import hold_ids
from auth_service.roles import commands
from auth_service.workspaces import commands as workspaces
from shared.errors import ServiceUnavailable
from shared.events import Event, EventType
from shared.messaging import topology
from shared.messaging.connection import BUS
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.naming_events import named
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error
from tests.service.auth.other_services import (
    TOKEN_KEYS,
    WS,
    Records,
    Workflows,
    full_role,
)

ASKED_AT = 7
"""The version of the model at which `records` answers."""


@pytest.fixture
def admin(auth: RunningService) -> Caller:
    return auth.as_(identities.admin())


async def tell(auth: RunningService, event: Event) -> None:
    await hold_ids(auth.database, event)


async def words(admin: Caller, role_id: str = "role-editor") -> dict[str, dict[str, str]]:
    """Schema -> attribute -> word, as clients see it."""
    role = (await admin.get(f"/roles/{role_id}")).ok()
    return {e["schemaId"]: e["attributePermissions"] for e in role["schemaPermissions"]}


async def unknown(auth: RunningService) -> set[str]:
    rows = await auth.database.fetch("SELECT name FROM unknown_names")
    return {row["name"] for row in rows}


def on_all(**told: str) -> dict[str, Any]:
    return full_role(schemaPermissions=[{"schemaId": "*", "attributePermissions": told}])


async def test_a_role_that_names_an_attribute_to_come_holds_its_id_once_it_is_there(auth, admin):
    sent = {"any": "read", "cost": "hidden", "margin": "write"}
    entries = [{"schemaId": "*", "attributePermissions": sent}]
    (await admin.post("/roles", full_role(schemaPermissions=entries))).ok()
    await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8))
    await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-m", "margin", 9))
    assert await words(admin) == {"*": {"any": "read", "attr-c": "hidden", "attr-m": "write"}}
    assert await unknown(auth) == {"any"}
    answer = await admin.get("/roles/role-editor")
    assert answer.headers["ETag"] == '"3"'
    told = await auth.staged()
    assert [(event.type, event.version) for event in told] == [
        ("auth.role.created", 1),
        ("auth.role.updated", 2),
        ("auth.role.updated", 3),
    ]


async def test_a_rename_takes_away_and_never_gives(auth, admin):
    (await admin.post("/roles", on_all(cost="hidden", margin="write", **{"*": "read"}))).ok()
    await tell(auth, named(EventType.ATTRIBUTE_UPDATED, "attr-c", "cost", 8, former=("c",)))
    await tell(auth, named(EventType.ATTRIBUTE_UPDATED, "attr-m", "margin", 9, former=("m",)))
    assert await words(admin) == {"*": {"*": "read", "attr-c": "hidden", "attr-m": "read"}}


async def test_an_attribute_made_again_under_an_old_id_is_none_that_was_to_come(auth, admin):
    """The history of its values is there still."""
    (await admin.post("/roles", on_all(margin="write", **{"*": "hidden"}))).ok()
    await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-m", "margin", 8, former=("m",)))
    assert await words(admin) == {"*": {"*": "hidden", "attr-m": "hidden"}}


async def test_an_id_that_was_named_before_it_was_there_stays_as_it_is(auth, admin):
    (await admin.post("/roles", on_all(**{"attr-c": "write"}))).ok()
    assert await unknown(auth) == {"attr-c"}
    await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8))
    assert await words(admin) == {"*": {"attr-c": "write"}}
    assert await unknown(auth) == set()
    # So another attribute with that alias means nothing to the role.
    await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-x", "attr-c", 9, others=("attr-c",)))
    assert await words(admin) == {"*": {"attr-c": "write"}}
    assert len(await auth.staged()) == 1


async def test_a_role_that_names_a_schema_to_come_holds_its_id(auth, admin):
    schemas = [{"schemaId": "shoes", "attributePermissions": {"*": "write"}}]
    (await admin.post("/roles", full_role(schemaPermissions=schemas))).ok()
    event = named(EventType.SCHEMA_CREATED, "schema-s", "shoes", 8, others=("schema-old",))
    await tell(auth, event)
    assert await words(admin) == {"shoes": {"*": "write"}}
    await tell(auth, named(EventType.SCHEMA_CREATED, "schema-t", "shoes", 9))
    assert await words(admin) == {"schema-t": {"*": "write"}}


async def test_old_news_means_nothing_to_a_role_that_was_asked_about_later(auth, admin, records):
    (await admin.post("/roles", on_all(cost="write"))).ok()
    for version in (ASKED_AT - 1, ASKED_AT):
        await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", version))
    assert await words(admin) == {"*": {"cost": "write"}}
    # Of two attributes that had the name the first told of is meant, and the other means nothing.
    await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-d", "cost", 10, others=("attr-c",)))
    await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8))
    assert await words(admin) == {"*": {"attr-d": "write", "attr-c": "hidden"}}
    assert [event.version for event in await auth.staged()] == [1, 2]


async def test_news_of_one_workspace_means_nothing_to_another(auth):
    other = auth.as_(identities.admin("ws-other"))
    (await other.post("/roles", on_all(cost="write"))).ok()
    await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8))
    assert await words(other) == {"*": {"cost": "write"}}


@pytest.mark.parametrize("verb", ["post", "put"])
async def test_what_gets_a_name_between_the_question_and_the_save_is_asked_about_again(
    auth, admin, records, verb
):
    """The event was handled when the role was not stored yet, so nobody would rewrite it later."""
    path = "/roles"
    if verb == "put":
        (await admin.post(path, full_role())).ok()
        path += "/role-editor"

    async def make_it() -> None:
        records.after_looking.clear()
        records.attributes["attr-c"] = "cost"
        records.model_version = 8
        await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8))

    records.after_looking.append(make_it)
    (await getattr(admin, verb)(path, on_all(cost="hidden", **{"*": "read"}))).ok()
    assert await words(admin) == {"*": {"attr-c": "hidden", "*": "read"}}
    assert await unknown(auth) == set()


async def test_a_save_that_is_being_committed_is_waited_for(
    auth, admin, monkeypatch: pytest.MonkeyPatch
):
    """The event comes when the save has looked for news, and before its commit."""
    await tell(auth, named(EventType.ATTRIBUTE_CREATED, "attr-other", "other", 2))
    hearing: list[asyncio.Task[None]] = []
    stage = commands.outbox.stage

    async def staging(conn: Any, event: Event) -> None:
        if not hearing:
            news = named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8)
            hearing.append(asyncio.create_task(tell(auth, news)))
            # Until it waits for the save, or is over without having waited.
            await eventually(lambda: hearing[0].done() or auth.waits_for_a_lock())
        await stage(conn, event)

    monkeypatch.setattr(commands.outbox, "stage", staging)
    (await admin.post("/roles", on_all(cost="hidden"))).ok()
    await hearing[0]
    assert await words(admin) == {"*": {"attr-c": "hidden"}}


async def test_a_change_of_the_role_that_is_under_way_is_waited_for(
    auth, admin, monkeypatch: pytest.MonkeyPatch
):
    """It names the attribute no more."""
    (await admin.post("/roles", on_all(cost="hidden"))).ok()
    hearing: list[asyncio.Task[None]] = []
    update = commands.store.update

    async def updating(conn: Any, role: Any) -> None:
        if not hearing:
            news = named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8)
            hearing.append(asyncio.create_task(tell(auth, news)))
            await eventually(lambda: hearing[0].done() or auth.waits_for_a_lock())
        await update(conn, role)

    monkeypatch.setattr(commands.store, "update", updating)
    (await admin.put("/roles/role-editor", on_all(x="read"))).ok()
    await hearing[0]
    assert await words(admin) == {"*": {"attr-x": "read"}}
    assert [event.version for event in await auth.staged()] == [1, 2]


async def test_what_fails_at_one_role_goes_on_there(auth, admin, monkeypatch: pytest.MonkeyPatch):
    for role_id in ("role-1", "role-2", "role-3"):
        (await admin.post("/roles", {**on_all(cost="write"), "id": role_id})).ok()
    update = commands.store.update

    async def failing(conn: Any, role: Any) -> None:
        if role.id == "role-2":
            raise ServiceUnavailable
        await update(conn, role)

    event = named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8)
    with monkeypatch.context() as patched:
        patched.setattr(commands.store, "update", failing)
        with pytest.raises(ServiceUnavailable):
            await tell(auth, event)
    assert await words(admin, "role-1") == {"*": {"attr-c": "write"}}
    assert await words(admin, "role-2") == {"*": {"cost": "write"}}
    await tell(auth, event)
    for role_id in ("role-1", "role-2", "role-3"):
        assert await words(admin, role_id) == {"*": {"attr-c": "write"}}
        assert (await admin.get(f"/roles/{role_id}")).headers["ETag"] == '"2"'


async def test_while_names_go_on_changing_the_save_is_refused(auth, admin, records):
    async def rename() -> None:
        await tell(auth, named(EventType.ATTRIBUTE_UPDATED, "attr-x", "x2", 8))

    records.after_looking.append(rename)
    answer = await admin.post("/roles", on_all(cost="hidden"))
    assert answer.outcome == error(
        503, "SERVICE_UNAVAILABLE", "Role 'role-editor' or your own role is being changed by others"
    )
    # A role without such a name is not concerned.
    assert (await admin.post("/roles", on_all(x="hidden"))).status == 201


async def test_a_message_that_comes_twice_to_two_processes_has_one_effect(
    services: Services, records: Records, workflows: Workflows
):
    settings = {
        "token_keys": TOKEN_KEYS,
        "amqp_url": await services.broker(),
        "records_url": await services.serve(records.app()),
        "workflow_url": await services.serve(workflows.app()),
    }
    one = await services.start(create_app, Config, "all", **settings)
    two = await services.start(
        create_app, Config, "all", database_url=one.config.database_url, **settings
    )
    await workspaces.create(one.database, WS, "Test", 500)
    admin = two.as_(identities.admin())
    for number in range(8):
        (await admin.post("/roles", {**on_all(cost="write"), "id": f"role-{number}"})).ok()
    # What is published before there is a queue goes to nobody.
    await eventually(lambda: one.app[BUS].is_up)
    connection = await aio_pika.connect(settings["amqp_url"])
    exchange = await (await connection.channel()).get_exchange(topology.EVENTS)
    first = named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8)
    second = named(
        EventType.ATTRIBUTE_UPDATED, "attr-d", "cost", 10, former=("d",), others=("attr-c",)
    )
    for event in (first, second, first, second) * 3:
        await exchange.publish(aio_pika.Message(event.to_json()), event.type)

    async def all_are_heard() -> bool:
        heard = await one.database.fetchval("SELECT heard FROM news WHERE workspace_id = $1", WS)
        return bool(heard == 12) and await unknown(one) == set()

    await eventually(all_are_heard)
    for number in range(8):
        answer = await admin.get(f"/roles/role-{number}")
        assert answer.headers["ETag"] == '"2"'
        # Whichever came first.
        told = answer.body["schemaPermissions"][0]["attributePermissions"]
        assert told in (
            {"attr-c": "write"},
            {"attr-d": "hidden", "attr-c": "hidden"},
        )
    await connection.close()
