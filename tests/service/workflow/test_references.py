from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
from aiohttp import web

from shared.events import Event, EventType
from shared.messaging import topology
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import workflow_body
from workflow_service.app import create_app
from workflow_service.config import Config
from workflow_service.reactions import react
from workflow_service.references import reconciliation

WORKSPACE = "ws-test"
IN_USE = error(409, "CONFLICT", "Workflow 'wf-a' is in use and cannot be deleted")
NO_WORKFLOW = error(404, "NOT_FOUND", "Workflow 'wf-a' not found")


class Schemas:
    """records_service as the comparison needs it: which schema is bound to which workflow."""

    def __init__(self) -> None:
        self.bound: set[tuple[str, str, str]] = set()
        self.asked: list[list[tuple[str, str, str]]] = []
        self.before_answering: list[Any] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/internal/workflow-references/check", self._check)
        app.router.add_post("/internal/workflows/{id}/binds", self._binds)
        return app

    async def _binds(self, request: web.Request) -> web.Response:
        workflow_id = request.match_info["id"]
        for happens in self.before_answering:
            await happens()
        return web.json_response({"bound": any(name[2] == workflow_id for name in self.bound)})

    async def _check(self, request: web.Request) -> web.Response:
        references = (await request.json())["references"]
        named = [(r["workspaceId"], r["schemaId"], r["workflowId"]) for r in references]
        self.asked.append(named)
        for happens in self.before_answering:
            await happens()
        stale = [
            reference
            for reference, name in zip(references, named, strict=True)
            if name not in self.bound
        ]
        return web.json_response({"stale": stale})


@pytest.fixture
def schemas() -> Schemas:
    return Schemas()


@pytest.fixture
async def service(services: Services, schemas: Schemas) -> RunningService:
    url = await services.serve(schemas.app())
    started = await services.start(create_app, Config, records_url=url)
    for name in ("a", "b"):
        (await started.as_(identities.admin()).post("/workflows", flow(name))).ok()
    return started


@pytest.fixture
def admin(service: RunningService) -> Caller:
    return service.as_(identities.admin())


def flow(name: str) -> dict[str, Any]:
    return workflow_body(name, ("draft", "live"), [("draft", "live")])


async def refer(caller: Caller, schema_id: str = "schema-x", workflow_id: str = "wf-a") -> Answer:
    path = f"/internal/workflow-references/{schema_id}"
    return await caller.put(path, {"workflowId": workflow_id})


async def hear(
    service: RunningService, kind: str, version: int, workflow_id: str | None = None
) -> None:
    data = {"schemaId": "schema-x", "version": version, "workflowId": workflow_id, "alias": "x"}
    event = Event(kind, "/records_service", WORKSPACE, "schema-x", data, time=datetime.now(UTC))
    async with service.database.transaction() as conn:
        await react(conn, event)


async def references(service: RunningService) -> list[tuple[str, int, int | None]]:
    rows = await service.database.fetch(
        """SELECT workflow_id, pending, confirmed_version
             FROM workflow_references ORDER BY workflow_id, schema_id"""
    )
    return [(row["workflow_id"], row["pending"], row["confirmed_version"]) for row in rows]


async def compare(service: RunningService) -> int:
    """As if everything had been registered long ago."""
    await service.database.execute(
        "UPDATE workflow_references SET checked_at = checked_at - interval '1 day'"
    )
    return await reconciliation.release_stale(service.app, service.config)


async def test_registering_answers_the_definition(admin: Caller):
    public = (await admin.get("/workflows/wf-a")).body
    assert (await refer(admin)).outcome == (200, {**public, "version": 1})


async def test_a_workflow_that_is_not_there_cannot_be_referred_to(
    service: RunningService, admin: Caller
):
    missing = error(404, "NOT_FOUND", "Workflow 'wf-none' not found")
    assert (await refer(admin, workflow_id="wf-none")).outcome == missing
    other = service.as_(identities.admin(workspace="ws-other"))
    assert (await refer(other)).outcome == NO_WORKFLOW
    assert await references(service) == []


async def test_a_service_has_no_workspace_to_register_in(service: RunningService):
    answer = await refer(service.as_service("workflow_service"))
    assert answer.outcome == error(403, "PERMISSION_DENIED", "Permission denied")


async def test_a_workflow_that_is_referred_to_cannot_be_deleted(
    service: RunningService, admin: Caller, schemas: Schemas
):
    await refer(admin)
    schemas.bound = {(WORKSPACE, "schema-x", "wf-a")}
    assert (await admin.delete("/workflows/wf-a")).outcome == IN_USE
    assert (await admin.get("/workflows/wf-a")).status == 200
    assert [event.type for event in await service.staged()] == 2 * ["workflow.created"]


async def test_a_reference_in_another_workspace_protects_nothing_here(
    service: RunningService, admin: Caller, schemas: Schemas
):
    schemas.bound = {(WORKSPACE, "schema-x", "wf-a")}
    other = service.as_(identities.admin(workspace="ws-other"))
    await other.post("/workflows", flow("a"))
    await refer(other)
    assert (await admin.delete("/workflows/wf-a")).status == 204
    assert (await other.delete("/workflows/wf-a")).outcome == IN_USE


async def test_a_deletion_and_a_reference_at_the_same_time_never_both_succeed(
    service: RunningService, admin: Caller, schemas: Schemas
):
    schemas.bound = {(WORKSPACE, f"schema-{n}", f"wf-race-{n}") for n in range(50)}
    for nth in range(50):
        name = f"race-{nth}"
        await admin.post("/workflows", flow(name))
        # Both orders of arrival: the two requests travel on connections of their own.
        asked = [refer(admin, f"schema-{nth}", f"wf-{name}"), admin.delete(f"/workflows/wf-{name}")]
        if nth % 2:
            referred, deleted = await asyncio.gather(*asked)
        else:
            deleted, referred = await asyncio.gather(*reversed(asked))
        assert (referred.status, deleted.status) in {(200, 409), (404, 204)}
        rows = await service.database.fetchval(
            "SELECT count(*) FROM workflow_references WHERE workflow_id = $1", f"wf-{name}"
        )
        assert rows == (1 if referred.status == 200 else 0)


async def test_a_deletion_waits_for_a_reference_that_is_not_committed_yet(
    service: RunningService, admin: Caller, schemas: Schemas
):
    schemas.bound = {(WORKSPACE, "schema-x", "wf-a")}
    async with service.database.transaction() as conn:
        await conn.execute(
            """INSERT INTO workflow_references
                      (workspace_id, workflow_id, schema_id, pending, checked_at)
               VALUES ($1, 'wf-a', 'schema-x', 1, now())""",
            WORKSPACE,
        )
        deletion = asyncio.create_task(admin.delete("/workflows/wf-a"))
        await eventually(lambda: _waits_for_a_lock(service))
        assert not deletion.done()
    assert (await deletion).outcome == IN_USE


async def test_a_reference_waits_for_a_deletion_that_is_not_committed_yet(
    service: RunningService, admin: Caller
):
    async with service.database.transaction() as conn:
        await conn.execute("DELETE FROM workflows WHERE id = 'wf-a'")
        registration = asyncio.create_task(refer(admin))
        await eventually(lambda: _waits_for_a_lock(service))
        assert not registration.done()
    assert (await registration).outcome == NO_WORKFLOW


async def _waits_for_a_lock(service: RunningService) -> bool:
    waiting = await service.database.fetchval(
        """SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    )
    return bool(waiting)


async def test_an_event_confirms_the_reference_and_the_next_one_releases_it(
    service: RunningService, admin: Caller
):
    await refer(admin)
    await hear(service, EventType.SCHEMA_CREATED, 1, "wf-a")
    assert await references(service) == [("wf-a", 0, 1)]
    await refer(admin, workflow_id="wf-b")
    assert await references(service) == [("wf-a", 0, 1), ("wf-b", 1, None)]
    await hear(service, EventType.SCHEMA_UPDATED, 2, "wf-b")
    assert await references(service) == [("wf-b", 0, 2)]
    await hear(service, EventType.SCHEMA_UPDATED, 3, None)
    assert await references(service) == []


async def test_a_deleted_schema_refers_to_nothing(service: RunningService, admin: Caller):
    await refer(admin)
    await hear(service, EventType.SCHEMA_CREATED, 1, "wf-a")
    await hear(service, EventType.SCHEMA_DELETED, 2, "wf-a")
    assert await references(service) == []
    assert (await admin.delete("/workflows/wf-a")).status == 204


async def test_old_news_changes_nothing(service: RunningService, admin: Caller):
    await refer(admin, workflow_id="wf-b")
    await hear(service, EventType.SCHEMA_UPDATED, 5, "wf-b")
    await hear(service, EventType.SCHEMA_UPDATED, 4, "wf-a")
    assert await references(service) == [("wf-b", 0, 5)]
    await hear(service, EventType.SCHEMA_DELETED, 3)
    assert await references(service) == [("wf-b", 0, 5)]


async def test_news_of_a_deleted_schema_comes_too_late(service: RunningService):
    await hear(service, EventType.SCHEMA_DELETED, 3)
    await hear(service, EventType.SCHEMA_UPDATED, 2, "wf-a")
    assert await references(service) == []


async def test_a_schema_made_anew_under_an_old_id_goes_on_counting(
    service: RunningService, admin: Caller
):
    await hear(service, EventType.SCHEMA_DELETED, 9)
    await refer(admin)
    await hear(service, EventType.SCHEMA_CREATED, 1, "wf-a")
    assert await references(service) == []
    await refer(admin)
    await hear(service, EventType.SCHEMA_CREATED, 12, "wf-a")
    assert await references(service) == [("wf-a", 0, 12)]
    await hear(service, EventType.SCHEMA_UPDATED, 13, None)
    assert await references(service) == []


async def test_news_of_one_save_does_not_settle_another_that_is_under_way(
    service: RunningService, admin: Caller, schemas: Schemas
):
    schemas.bound = {(WORKSPACE, "schema-x", "wf-a")}
    await refer(admin)  # The save of version 1 ...
    await refer(admin, workflow_id="wf-b")  # ... of version 2 ...
    await refer(admin)  # ... and of version 3, which is not committed yet.
    await hear(service, EventType.SCHEMA_CREATED, 1, "wf-a")
    await hear(service, EventType.SCHEMA_UPDATED, 2, "wf-b")
    assert await references(service) == [("wf-a", 1, None), ("wf-b", 0, 2)]
    assert (await admin.delete("/workflows/wf-a")).outcome == IN_USE
    await hear(service, EventType.SCHEMA_UPDATED, 3, "wf-a")
    assert await references(service) == [("wf-a", 0, 3)]


async def test_news_of_a_workflow_that_is_gone_is_no_failure(service: RunningService):
    await hear(service, EventType.SCHEMA_CREATED, 1, "wf-gone")
    assert await references(service) == []


async def test_a_schema_that_is_gone_already_does_not_hold_up_a_deletion(
    service: RunningService, admin: Caller, schemas: Schemas
):
    """The schema was deleted, its event is still on the way."""
    await refer(admin)
    await hear(service, EventType.SCHEMA_CREATED, 1, "wf-a")
    schemas.bound = {(WORKSPACE, "schema-x", "wf-a")}
    assert (await admin.delete("/workflows/wf-a")).outcome == IN_USE
    schemas.bound = set()
    assert (await admin.delete("/workflows/wf-a")).status == 204
    assert await references(service) == []


async def test_a_save_that_failed_does_not_hold_up_a_deletion(
    service: RunningService, admin: Caller
):
    """records_service has let every save that had begun end, and no schema is bound."""
    await refer(admin)
    assert (await admin.delete("/workflows/wf-a")).status == 204
    assert await references(service) == []


async def test_only_somebody_who_may_change_schemas_registers(service: RunningService):
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    assert (await refer(service.as_(identities.user()))).outcome == denied


async def test_what_is_registered_while_a_deletion_asks_is_not_released(
    service: RunningService, admin: Caller, schemas: Schemas
):
    await refer(admin)
    await hear(service, EventType.SCHEMA_CREATED, 1, "wf-a")
    schemas.before_answering = [lambda: refer(admin)]
    assert (await admin.delete("/workflows/wf-a")).outcome == IN_USE
    assert await references(service) == [("wf-a", 1, 1)]


async def test_with_records_service_away_a_reference_counts(services: Services):
    service = await services.start(create_app, Config)
    admin = service.as_(identities.admin())
    await admin.post("/workflows", flow("a"))
    await refer(admin)
    await hear(service, EventType.SCHEMA_CREATED, 1, "wf-a")
    assert (await admin.delete("/workflows/wf-a")).outcome == IN_USE


async def test_the_comparison_drops_what_binds_nothing_and_keeps_the_rest(
    service: RunningService, admin: Caller, schemas: Schemas
):
    await refer(admin, "schema-failed")
    await refer(admin, "schema-saved")
    schemas.bound = {(WORKSPACE, "schema-saved", "wf-a")}
    assert await compare(service) == 1
    assert await references(service) == [("wf-a", 0, 0)]
    assert sorted(schemas.asked[0]) == [
        (WORKSPACE, "schema-failed", "wf-a"),
        (WORKSPACE, "schema-saved", "wf-a"),
    ]


async def test_the_comparison_leaves_young_references_alone(
    service: RunningService, admin: Caller, schemas: Schemas
):
    await refer(admin)
    assert await reconciliation.release_stale(service.app, service.config) == 0
    assert schemas.asked == []
    assert await references(service) == [("wf-a", 1, None)]


async def test_confirmed_references_are_compared_less_often(
    service: RunningService, admin: Caller, schemas: Schemas
):
    await refer(admin)
    await hear(service, EventType.SCHEMA_CREATED, 1, "wf-a")
    await service.database.execute(
        "UPDATE workflow_references SET checked_at = checked_at - interval '5 minutes'"
    )
    await reconciliation.release_stale(service.app, service.config)
    assert schemas.asked == []
    # An event was lost, for whatever reason: it does not keep the workflow for ever.
    assert await compare(service) == 1


async def test_the_comparison_does_not_drop_what_is_registered_meanwhile(
    service: RunningService, admin: Caller, schemas: Schemas
):
    await refer(admin)
    schemas.before_answering = [lambda: refer(admin)]
    assert await compare(service) == 0
    assert await references(service) == [("wf-a", 2, None)]


async def test_a_comparison_that_holds_does_not_end_the_wait_for_a_later_save(
    service: RunningService, admin: Caller, schemas: Schemas
):
    await refer(admin)
    schemas.bound = {(WORKSPACE, "schema-x", "wf-a")}
    schemas.before_answering = [lambda: refer(admin)]
    assert await compare(service) == 0
    assert await references(service) == [("wf-a", 2, None)]


async def test_two_workers_compare_each_reference_once(
    service: RunningService, admin: Caller, schemas: Schemas, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciliation, "BATCH_SIZE", 3)
    for nth in range(10):
        await refer(admin, f"schema-{nth}")
    await service.database.execute(
        "UPDATE workflow_references SET checked_at = checked_at - interval '1 day'"
    )
    dropped = await asyncio.gather(
        *(reconciliation.release_stale(service.app, service.config) for _ in range(2))
    )
    assert sum(dropped) == 10
    asked = [name for batch in schemas.asked for name in batch]
    assert len(asked) == len(set(asked)) == 10
    assert max(len(batch) for batch in schemas.asked) <= 3


async def test_a_worker_hears_schemas_over_the_broker_and_compares_by_itself(
    services: Services, schemas: Schemas
):
    amqp_url = await services.broker()
    service = await services.start(
        create_app,
        Config,
        role="all",
        amqp_url=amqp_url,
        records_url=await services.serve(schemas.app()),
        reference_compare_seconds=0.05,
        reference_pending_seconds=0.01,
    )
    admin = service.as_(identities.admin())
    await admin.post("/workflows", flow("a"))
    await refer(admin, "schema-failed")
    await eventually(lambda: _is(references(service), []))
    # What happened to the workflow itself has left the outbox: the broker has every queue by now.
    await eventually(lambda: _is(service.staged(), []))
    schemas.bound = {(WORKSPACE, "schema-x", "wf-a")}
    event = Event(
        EventType.SCHEMA_CREATED,
        "/records_service",
        WORKSPACE,
        "schema-x",
        {"schemaId": "schema-x", "version": 7, "workflowId": "wf-a", "alias": "x"},
    )
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS, ensure=False)
        for _ in range(2):
            message = aio_pika.Message(event.to_json(), message_id=event.id)
            await exchange.publish(message, routing_key=event.type, mandatory=True)
    await eventually(lambda: _is(references(service), [("wf-a", 0, 7)]))


async def _is(found: Any, expected: Any) -> bool:
    return bool(await found == expected)
