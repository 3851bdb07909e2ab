"""States that a revision of a workflow retired: only those of a revision that died come back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from records_service.app import create_app as create_records_app
from records_service.config import Config as RecordsConfig
from records_service.reactions import upsert_workflow
from shared.errors import ServiceUnavailable
from shared.events import EventType
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, Caller
from tests.kit.workspace import schema_body, workflow_body
from workflow_service.app import create_app
from workflow_service.clients import Clients
from workflow_service.config import Config
from workflow_service.retirements import reconciliation

WORKFLOW = "wf-life"


@dataclass(frozen=True)
class Pair:
    """Both services, which ask each other; no event goes from one to the other by itself."""

    workflows: RunningService
    records: RunningService

    @property
    def modeller(self) -> Caller:
        return self.workflows.as_(identities.admin())

    async def revise(self, *states: str) -> Answer:
        return await self.modeller.put(f"/workflows/{WORKFLOW}", life(*states))

    async def create(self) -> Answer:
        admin = self.records.as_(identities.admin())
        return await admin.post("/records", {"schemaId": "schema-x"})

    async def die_while_revising(self) -> None:
        """What a process leaves that was killed before its commit: draft is about to go."""
        asked = {"states": ["state-draft"], "version": await self.version() + 1}
        admin = self.records.as_(identities.admin())
        (await admin.post(f"/internal/workflows/{WORKFLOW}/retire-states", asked)).ok()

    async def version(self) -> int:
        told = await self.modeller.get(f"/workflows/{WORKFLOW}")
        return int(told.headers["ETag"].strip('"'))

    async def retired(self) -> list[str]:
        states: list[str] = await self.records.database.fetchval(
            "SELECT retired FROM lifecycles WHERE workflow_id = $1", WORKFLOW
        )
        return states

    async def compare(self) -> int:
        """As if everything had been retired long ago."""
        await self.records.database.execute(
            "UPDATE lifecycles SET retired_checked_at = retired_checked_at - interval '1 day'"
        )
        return await reconciliation.reinstate_abandoned(self.workflows.app, self.workflows.config)

    async def hear(self) -> None:
        """The events of all revisions arrive."""
        for event in await self.workflows.staged():
            if event.type == EventType.WORKFLOW_UPDATED:
                async with self.records.database.transaction() as conn:
                    await upsert_workflow(conn, event)


def life(*states: str) -> dict[str, Any]:
    return workflow_body("life", states, [])


@pytest.fixture
async def pair(services: Services) -> Pair:
    """A workflow that starts in draft, and a schema bound to it."""
    asked = await services.start(create_app, Config)
    records = await services.start(create_records_app, RecordsConfig, workflow_url=asked.url)
    workflows = await services.start(
        create_app, Config, database_url=asked.config.database_url, records_url=records.url
    )
    pair = Pair(workflows, records)
    (await pair.modeller.post("/workflows", life("draft", "done"))).ok()
    admin = records.as_(identities.admin())
    (await admin.post("/schemas", schema_body("x", [], workflowId=WORKFLOW))).ok()
    return pair


async def test_what_a_dead_revision_retired_is_taken_back(pair: Pair):
    await pair.die_while_revising()
    assert (await pair.create()).status == 503
    assert await pair.compare() == 1
    assert (await pair.create()).ok()["lifecycleStateId"] == "state-draft"
    assert await pair.compare() == 0


async def test_what_was_retired_just_now_is_left_alone(pair: Pair):
    await pair.die_while_revising()
    assert await reconciliation.reinstate_abandoned(pair.workflows.app, pair.workflows.config) == 0
    assert await pair.retired() == ["state-draft"]


async def test_a_revision_under_way_keeps_its_states_retired_however_long_it_takes(pair: Pair):
    async with pair.workflows.database.transaction() as conn:
        await conn.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")
        revision = asyncio.create_task(pair.revise("done"))
        await eventually(pair.retired)
        assert await pair.compare() == 0
        assert await pair.retired() == ["state-draft"]
        assert not revision.done()
    assert (await revision).status == 200
    # Committed, with the event on its way: the states go, so they are not readmitted either.
    assert await pair.compare() == 0
    assert (await pair.create()).status == 503
    await pair.hear()
    assert (await pair.create()).ok()["lifecycleStateId"] == "state-done"


async def test_a_revision_after_a_dead_one_decides_alone(pair: Pair):
    await pair.die_while_revising()
    assert (await pair.revise("done")).status == 200
    assert await pair.compare() == 0
    assert (await pair.create()).status == 503
    await pair.hear()
    assert (await pair.create()).ok()["lifecycleStateId"] == "state-done"


async def test_a_worker_that_lost_the_row_readmits_nothing_of_the_next_revision(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    """It was stopped before it told what it found; its session ended, and a revision began."""
    await pair.die_while_revising()
    tell = reconciliation.reinstate_retirement

    async def late(*told: Any) -> bool:
        await pair.die_while_revising()
        return await tell(*told)

    monkeypatch.setattr(reconciliation, "reinstate_retirement", late)
    assert await pair.compare() == 0
    assert await pair.retired() == ["state-draft"]


async def test_a_revision_that_could_not_take_back_its_states_has_it_done_later(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    async def away(*_told: Any) -> None:
        raise ServiceUnavailable

    (await pair.modeller.post("/workflows", life("draft") | {"id": "wf-b", "alias": "b"})).ok()
    monkeypatch.setattr(Clients, "reinstate_states", away)
    taken = life("done") | {"alias": "b"}
    assert (await pair.modeller.put(f"/workflows/{WORKFLOW}", taken)).status == 409
    assert await pair.retired() == ["state-draft"]
    assert await pair.compare() == 1
    assert await pair.retired() == []


async def test_two_workers_take_back_each_retirement_once(pair: Pair):
    await pair.die_while_revising()
    await pair.records.database.execute(
        "UPDATE lifecycles SET retired_checked_at = retired_checked_at - interval '1 day'"
    )
    taken_back = await asyncio.gather(
        *(
            reconciliation.reinstate_abandoned(pair.workflows.app, pair.workflows.config)
            for _ in range(2)
        )
    )
    assert sum(taken_back) == 1


async def test_one_workflow_that_cannot_be_looked_at_holds_up_no_other(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    tell = reconciliation.reinstate_retirement

    async def unavailable_once(*told: Any) -> bool:
        monkeypatch.setattr(reconciliation, "reinstate_retirement", tell)
        raise ServiceUnavailable

    (await pair.modeller.post("/workflows", life("draft") | {"id": "wf-b", "alias": "b"})).ok()
    admin = pair.records.as_(identities.admin())
    (await admin.post("/schemas", schema_body("y", [], workflowId="wf-b"))).ok()
    await pair.die_while_revising()
    asked = {"states": ["state-draft"], "version": 2}
    (await admin.post("/internal/workflows/wf-b/retire-states", asked)).ok()
    monkeypatch.setattr(reconciliation, "reinstate_retirement", unavailable_once)
    assert await pair.compare() == 1
    assert await pair.compare() == 1
    assert await pair.compare() == 0


async def test_a_worker_takes_back_by_itself(services: Services, pair: Pair):
    await pair.die_while_revising()
    await services.start(
        create_app,
        Config,
        role="worker",
        database_url=pair.workflows.config.database_url,
        amqp_url=await services.broker(),
        records_url=pair.records.url,
        reference_compare_seconds=0.05,
        retirement_pending_seconds=0.01,
    )
    await eventually(lambda: _is_open(pair))


async def _is_open(pair: Pair) -> bool:
    return not await pair.retired()
