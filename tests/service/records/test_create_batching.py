"""Creates that arrive together: one statement for all, and still an outcome for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import pytest_asyncio

from records_service.writes import create_batching, store
from records_service.writes.model import PendingCreate
from shared.errors import ServiceUnavailable
from shared.events import Event, EventType
from shared.http import DEADLINE_HEADER
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")


class BlockedInsert:
    """Keeps the first statement on its way until the test lets go; counts the records of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self._go = asyncio.Event()
        self._insert = store.insert
        monkeypatch.setattr(store, "insert", self._held)

    async def _held(self, conn: Any, pending: Sequence[PendingCreate], **more: Any) -> None:
        self.sizes.append(len(pending))
        if len(self.sizes) == 1:
            await self._go.wait()
        await self._insert(conn, pending, **more)

    async def first_is_on_its_way(self) -> None:
        await eventually(lambda: self.sizes == [1])

    def let_go(self) -> None:
        self._go.set()


@pytest_asyncio.fixture(loop_scope="module")
async def modelled(workspace: RecordsWorkspace) -> RecordsWorkspace:
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("text")
    await workspace.schema("x", ["sku", "text"])
    # The first record shares out the room; then each statement finds some in any stripe.
    await create(workspace, "0", id="ent-0")
    return workspace


@pytest_asyncio.fixture(loop_scope="module")
async def blocked(modelled: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch) -> BlockedInsert:
    return BlockedInsert(monkeypatch)


def create(
    workspace: RecordsWorkspace, sku: str, caller: Caller | None = None, **more: Any
) -> asyncio.Task[Answer]:
    body = {"schemaId": "schema-x", "values": {"sku": [{"scope": {}, "value": sku}]}, **more}
    return asyncio.create_task((caller or workspace.admin).post("/records", body))


async def created(workspace: RecordsWorkspace) -> list[Event]:
    return [event for event in await workspace.staged() if event.type == EventType.ENTITY_CREATED]


def in_line(workspace: RecordsWorkspace) -> int:
    """How many creates of the workspace wait for the statement on its way, or did and gave up."""
    found = workspace.records.app[create_batching.CREATE_BATCHER]
    return sum(
        len(those)
        for shared, those in found._waiting.items()
        if shared.workspace_id == workspace.id
    )


async def waiting(workspace: RecordsWorkspace, number: int) -> None:
    """Until so many creates of the workspace wait for the statement on its way."""
    await eventually(lambda: in_line(workspace) == number)


async def test_those_who_come_meanwhile_go_together(
    modelled: RecordsWorkspace, blocked: BlockedInsert
):
    first = create(modelled, "A")
    await blocked.first_is_on_its_way()
    others = [create(modelled, sku) for sku in "BCDE"]
    await waiting(modelled, 4)
    blocked.let_go()
    answers = await asyncio.gather(first, *others)
    assert [answer.status for answer in answers] == [201] * 5
    assert blocked.sizes == [1, 4]
    ids = {answer.body["id"] for answer in answers}
    for answer in answers:
        read = await modelled.admin.get(f"/records/{answer.body['id']}")
        assert (read.body, read.headers["ETag"]) == (answer.body, '"1"')
        history = await modelled.admin.get(f"/records/{answer.body['id']}/audit")
        [entry] = history.body["items"]
        [change] = entry["changes"]
        value = answer.body["values"]["sku"][0]["value"]
        assert (entry["action"], change["oldValue"], change["newValue"]) == ("create", None, value)
    told = [event for event in await created(modelled) if event.subject != "ent-0"]
    assert {event.subject for event in told} == ids
    for event in told:
        assert event.data["changes"][0]["newValue"] in "ABCDE"
    counted = await modelled.fetch("SELECT sum(records)::int AS n FROM usage WHERE workspace_id=$1")
    assert counted == [{"n": 6}]


async def test_one_that_is_refused_takes_nobody_along(
    modelled: RecordsWorkspace, blocked: BlockedInsert
):
    first = create(modelled, "A", id="ent-a")
    await blocked.first_is_on_its_way()
    others = [
        create(modelled, "B"),
        create(modelled, "A"),
        create(modelled, "C", id="ent-a"),
        create(modelled, "D"),
    ]
    await waiting(modelled, 4)
    blocked.let_go()
    answers = await asyncio.gather(first, *others)
    assert [answer.status for answer in answers] == [201, 201, 409, 409, 201]
    assert answers[2].outcome == error(
        409, "CONFLICT", "Value 'A' for attribute 'sku' must be unique"
    )
    assert answers[3].outcome == error(409, "CONFLICT", "Entity with id 'ent-a' already exists")
    assert blocked.sizes == [1, 4, 1, 1, 1, 1]
    assert (await modelled.admin.get("/records")).body["total"] == 4
    assert len(await created(modelled)) == 4


async def test_a_taken_id_is_told_also_where_room_must_be_shared_out_first(
    modelled: RecordsWorkspace,
):
    # Another limit than the one that the counter was filled under.
    limited = modelled.as_(identities.api_key(modelled.id, record_limit=40))
    assert (await create(modelled, "A", limited, id="ent-0")).outcome == error(
        409, "CONFLICT", "Entity with id 'ent-0' already exists"
    )
    limited = modelled.as_(identities.api_key(modelled.id, record_limit=41))
    assert (await create(modelled, "0", limited)).outcome == error(
        409, "CONFLICT", "Value '0' for attribute 'sku' must be unique"
    )


async def test_equal_values_in_one_statement_give_one_record(
    modelled: RecordsWorkspace, blocked: BlockedInsert
):
    first = create(modelled, "A")
    await blocked.first_is_on_its_way()
    others = [create(modelled, "B") for _ in range(5)]
    await waiting(modelled, 5)
    blocked.let_go()
    answers = await asyncio.gather(*others, first)
    assert sorted(answer.status for answer in answers) == [201, 201, 409, 409, 409, 409]
    assert (await modelled.admin.get("/records")).body["total"] == 3


async def test_all_are_judged_again_when_the_model_moved(
    modelled: RecordsWorkspace, blocked: BlockedInsert
):
    first = create(modelled, "A")
    await blocked.first_is_on_its_way()
    others = [create(modelled, sku) for sku in ("B", "C1")]
    await waiting(modelled, 2)
    body = {
        "alias": "sku",
        "name": "sku",
        "type": "text",
        "validation": {"unique": True, "maxLength": 1},
    }
    (await modelled.admin.put("/attributes/attr-sku", body)).ok()
    blocked.let_go()
    answers = await asyncio.gather(first, *others)
    assert [answer.status for answer in answers] == [201, 201, 400]
    assert (await modelled.admin.get("/records")).body["total"] == 3


async def test_who_stops_waiting_is_not_stored_and_takes_nobody_along(
    modelled: RecordsWorkspace, blocked: BlockedInsert
):
    first = create(modelled, "A")
    await blocked.first_is_on_its_way()
    other = create(modelled, "C")
    await waiting(modelled, 1)
    hurried = modelled.admin.having({DEADLINE_HEADER: "200"})

    async def gives_up_in_line() -> bool:
        """On a busy machine, its time may be over before."""
        assert (await create(modelled, "B", hurried)).status == 504
        return in_line(modelled) == 2

    await eventually(gives_up_in_line)
    blocked.let_go()
    assert [answer.status for answer in await asyncio.gather(first, other)] == [201, 201]
    assert blocked.sizes == [1, 1]
    assert (await modelled.admin.get("/records")).body["total"] == 3


async def test_a_statement_takes_no_more_than_it_may(
    modelled: RecordsWorkspace, blocked: BlockedInsert, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(create_batching, "RECORDS_MAX", 3)
    monkeypatch.setattr(create_batching, "BYTES_MAX", 1_000)
    first = create(modelled, "A")
    await blocked.first_is_on_its_way()
    large = {
        "sku": [{"scope": {}, "value": "L"}],
        "text": [{"scope": {}, "value": "x" * 2_000}],
    }
    others = [create(modelled, f"B{n}") for n in range(4)]
    await waiting(modelled, 4)
    others += [create(modelled, "-", values=large)]
    await waiting(modelled, 5)
    others += [create(modelled, "C")]
    await waiting(modelled, 6)
    blocked.let_go()
    answers = await asyncio.gather(first, *others)
    assert [answer.status for answer in answers] == [201] * 7
    assert blocked.sizes == [1, 3, 1, 1, 1]


async def test_the_last_places_are_given_once_however_many_go_together(
    modelled: RecordsWorkspace, blocked: BlockedInsert
):
    limited = modelled.as_(identities.api_key(modelled.id, record_limit=4))
    first = create(modelled, "A", limited)
    await blocked.first_is_on_its_way()
    others = [create(modelled, sku, limited) for sku in "BCDEF"]
    await waiting(modelled, 5)
    blocked.let_go()
    answers = await asyncio.gather(first, *others)
    assert sorted(answer.status for answer in answers) == [201, 201, 201, 403, 403, 403]
    assert {answer.body["error"] for answer in answers if answer.status == 403} == {
        "LIMIT_EXCEEDED"
    }
    assert (await modelled.admin.get("/records")).body["total"] == 4


async def test_a_database_that_is_away_is_told_to_all_and_asked_again_by_the_next(
    modelled: RecordsWorkspace, blocked: BlockedInsert, monkeypatch: pytest.MonkeyPatch
):
    first = create(modelled, "A")
    await blocked.first_is_on_its_way()
    others = [create(modelled, sku) for sku in "BC"]
    await waiting(modelled, 2)

    async def away(*_: Any, **__: Any) -> None:
        raise ServiceUnavailable

    monkeypatch.setattr(store, "insert", away)
    blocked.let_go()
    assert [answer.status for answer in await asyncio.gather(first, *others)] == [201, 503, 503]
    monkeypatch.undo()
    assert (await create(modelled, "D")).status == 201
