"""Names in states' lists that no attribute has yet: they hold the id of the one that gets it."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import pytest

from shared.events import Event, EventType
from shared.messaging import topology
from shared.messaging.connection import BUS
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.naming_events import WS, named
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error
from tests.kit.workspace import workflow_body
from tests.service.workflow.other_services import OtherServices
from workflow_service.app import create_app
from workflow_service.config import Config
from workflow_service.reactions import hold_ids
from workflow_service.workflows import commands

ASKED_AT = 7
"""The version of the model at which `other_services` answers."""


@pytest.fixture
def admin(service: RunningService) -> Caller:
    return service.as_(identities.admin())


def flow(**lists: list[str]) -> dict[str, Any]:
    return workflow_body("life", {"draft": lists}, [])


async def tell(service: RunningService, event: Event) -> None:
    await hold_ids(service.database, event)


async def lists(admin: Caller) -> dict[str, list[str]]:
    """What is said in the state's lists, those left out that say nothing."""
    (state,) = (await admin.get("/workflows/wf-life")).ok()["states"]
    return {name: state[name] for name in ("hidden", "required", "readOnly") if state[name]}


async def test_lists_that_name_an_attribute_to_come_hold_its_id_once_it_is_there(service, admin):
    sent = flow(hidden=["cost"], required=["sku", "name"], readOnly=["name", "other"])
    (await admin.post("/workflows", sent)).ok()
    for _ in range(2):
        await tell(service, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8))
        await tell(service, named(EventType.ATTRIBUTE_CREATED, "attr-n", "name", 9))
    assert await lists(admin) == {
        "hidden": ["attr-c"],
        "required": ["attr-sku", "attr-n"],
        "readOnly": ["attr-n", "other"],
    }
    answer = await admin.get("/workflows/wf-life")
    assert answer.headers["ETag"] == '"3"'
    told = await service.staged()
    assert [(event.type, event.version) for event in told] == [
        ("workflow.created", 1),
        ("workflow.updated", 2),
        ("workflow.updated", 3),
    ]
    assert told[-1].data["definition"] == {**answer.body, "version": 3}
    assert await service.database.fetchval("SELECT array_agg(name) FROM unknown_names") == ["other"]


async def test_a_workflow_that_holds_an_id_instead_of_a_name_is_counted_anew(service, admin):
    (await admin.post("/workflows", flow(hidden=["cost"]))).ok()
    await tell(service, named(EventType.ATTRIBUTE_CREATED, "attr-with-a-long-id", "cost", 8))
    assert await lists(admin) == {"hidden": ["attr-with-a-long-id"]}
    counted = await service.database.fetchval("SELECT bytes FROM sizes WHERE workspace_id = $1", WS)
    assert counted == await service.database.fetchval(
        "SELECT length(id) + length(alias) + length(body::text) FROM workflows"
    )


async def test_the_queue_brings_it(services: Services, other_services: OtherServices):
    url = await services.serve(other_services.app())
    amqp_url = await services.broker()
    service = await services.start(
        create_app, Config, "all", auth_url=url, records_url=url, amqp_url=amqp_url
    )
    admin = service.as_(identities.admin())
    (await admin.post("/workflows", flow(required=["cost"]))).ok()
    # What is published before there is a queue goes to nobody.
    await eventually(lambda: service.app[BUS].is_up)
    connection = await aio_pika.connect(amqp_url)
    exchange = await (await connection.channel()).get_exchange(topology.EVENTS)
    event = named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8)
    for _ in range(3):
        await exchange.publish(aio_pika.Message(event.to_json()), event.type)

    async def has_come() -> bool:
        return await lists(admin) == {"required": ["attr-c"]}

    await eventually(has_come)
    await eventually(lambda: _heard(service))
    assert (await admin.get("/workflows/wf-life")).headers["ETag"] == '"2"'
    await connection.close()


async def _heard(service: RunningService) -> bool:
    heard = await service.database.fetchval("SELECT heard FROM news WHERE workspace_id = $1", WS)
    return bool(heard == 3)


async def test_old_news_means_nothing_to_a_workflow_that_was_asked_about_later(service, admin):
    (await admin.post("/workflows", flow(hidden=["cost"]))).ok()
    for version in (ASKED_AT - 1, ASKED_AT):
        await tell(service, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", version))
    assert await lists(admin) == {"hidden": ["cost"]}
    other = service.as_(identities.admin("ws-other"))
    (await other.post("/workflows", flow(hidden=["cost"]))).ok()
    await tell(service, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", ASKED_AT + 1))
    assert await lists(admin) == {"hidden": ["attr-c"]}
    assert await lists(other) == {"hidden": ["cost"]}


async def test_an_id_that_was_named_before_it_was_there_stays_as_it_is(service, admin):
    (await admin.post("/workflows", flow(required=["attr-c"]))).ok()
    await tell(service, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8))
    await tell(
        service, named(EventType.ATTRIBUTE_CREATED, "attr-x", "attr-c", 9, others=("attr-c",))
    )
    assert await lists(admin) == {"required": ["attr-c"]}
    assert len(await service.staged()) == 1


@pytest.mark.parametrize("verb", ["post", "put"])
async def test_what_gets_a_name_between_the_question_and_the_save_is_asked_about_again(
    service: RunningService, admin: Caller, other_services: OtherServices, verb: str
):
    """The event was handled when the workflow was not stored yet."""
    path = "/workflows"
    if verb == "put":
        (await admin.post(path, flow())).ok()
        path += "/wf-life"

    async def make_it() -> None:
        other_services.after_looking.clear()
        other_services.attributes["cost"] = "attr-c"
        other_services.model_version = 8
        await tell(service, named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8))

    other_services.after_looking.append(make_it)
    (await getattr(admin, verb)(path, flow(hidden=["cost"]))).ok()
    assert await lists(admin) == {"hidden": ["attr-c"]}


async def test_while_names_go_on_changing_the_save_is_refused(
    service: RunningService, admin: Caller, other_services: OtherServices
):
    async def rename() -> None:
        await tell(service, named(EventType.ATTRIBUTE_UPDATED, "attr-sku", "s", 8))

    other_services.after_looking.append(rename)
    assert (await admin.post("/workflows", flow(hidden=["cost"]))).outcome == error(
        503,
        "SERVICE_UNAVAILABLE",
        "The attributes that this workflow names are being changed by others",
    )
    assert (await admin.post("/workflows", flow(hidden=["sku"]))).status == 201


async def test_a_save_that_is_being_committed_is_waited_for(
    service, admin, monkeypatch: pytest.MonkeyPatch
):
    """The event comes when the save has looked for news, and before its commit."""
    await tell(service, named(EventType.ATTRIBUTE_CREATED, "attr-other", "other", 2))
    hearing: list[asyncio.Task[None]] = []
    stage = commands.outbox.stage

    async def staging(conn: Any, event: Event) -> None:
        if not hearing:
            news = named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8)
            hearing.append(asyncio.create_task(tell(service, news)))
            await eventually(lambda: hearing[0].done() or service.waits_for_a_lock())
        await stage(conn, event)

    monkeypatch.setattr(commands.outbox, "stage", staging)
    (await admin.post("/workflows", flow(hidden=["cost"]))).ok()
    await hearing[0]
    assert await lists(admin) == {"hidden": ["attr-c"]}


async def test_a_change_of_the_workflow_that_is_under_way_is_waited_for(
    service, admin, monkeypatch: pytest.MonkeyPatch
):
    """It names the attribute no more."""
    (await admin.post("/workflows", flow(hidden=["cost"]))).ok()
    hearing: list[asyncio.Task[None]] = []
    update = commands.store.update

    async def updating(conn: Any, workspace_id: str, workflow: Any) -> Any:
        if not hearing:
            news = named(EventType.ATTRIBUTE_CREATED, "attr-c", "cost", 8)
            hearing.append(asyncio.create_task(tell(service, news)))
            await eventually(lambda: hearing[0].done() or service.waits_for_a_lock())
        return await update(conn, workspace_id, workflow)

    monkeypatch.setattr(commands.store, "update", updating)
    (await admin.put("/workflows/wf-life", flow(hidden=["sku"]))).ok()
    await hearing[0]
    assert await lists(admin) == {"hidden": ["attr-sku"]}
    assert [event.version for event in await service.staged()] == [1, 2]
