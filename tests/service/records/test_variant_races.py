"""Variants that are written at the same moment, or while their record or parent is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from records_service.variants import commands
from records_service.writes import variants as writes
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def caller(workspace: RecordsWorkspace) -> Caller:
    """A record with a variant."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.workflow("w", {"draft": {}, "done": {"readOnly": ["attr-name"]}})
    await workspace.schema("x", ["name", "sku"], workflow="wf-w", variantEnabled=True)
    await workspace.record("schema-x", id="ent-a")
    (await workspace.admin.post("/records/ent-a/variants", {"id": "var-1"})).ok()
    return workspace.admin


def first(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], Awaitable[Any]]
) -> list[Any]:
    """Act right before this statement is sent for the first time, as another process could."""
    done: list[Any] = []
    statement = getattr(module, name)

    async def raced(*arguments: Any, **more: Any) -> Any:
        if not done:
            done.append(None)
            done[0] = await act()
        return await statement(*arguments, **more)

    monkeypatch.setattr(module, name, raced)
    return done


async def orphans(workspace: RecordsWorkspace) -> list[dict[str, Any]]:
    return await workspace.fetch(
        """
        SELECT v.id FROM variants v
         WHERE v.workspace_id = $1
           AND (NOT EXISTS (SELECT FROM records r
                             WHERE r.workspace_id = $1 AND r.id = v.record_id)
                OR v.parent_id IS NOT NULL
                   AND NOT EXISTS (SELECT FROM variants p
                                    WHERE p.workspace_id = $1 AND p.id = v.parent_id))
        """
    )


async def test_a_variant_of_a_record_that_is_deleted_meanwhile_is_not_created(
    workspace: RecordsWorkspace, caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    done = first(monkeypatch, writes, "insert", lambda: caller.delete("/records/ent-a"))
    made = await caller.post("/records/ent-a/variants", {"id": "var-2"})
    assert made.outcome == error(404, "NOT_FOUND", "Entity 'ent-a' not found")
    assert done[0].status == 204
    assert await workspace.fetch("SELECT FROM variants WHERE workspace_id = $1") == []


async def test_a_variant_below_one_that_is_deleted_meanwhile_is_not_created(
    workspace: RecordsWorkspace, caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    address = "/records/ent-a/variants/var-1"
    done = first(monkeypatch, writes, "insert", lambda: caller.delete(address))
    body = {"id": "var-2", "parentId": "var-1"}
    assert (await caller.post("/records/ent-a/variants", body)).status == 400
    assert done[0].status == 204
    assert await workspace.fetch("SELECT FROM variants WHERE workspace_id = $1") == []


class _Open:
    """A transaction of another process that has created a variant and not yet committed."""

    def __init__(self, workspace: RecordsWorkspace, parent_id: str | None) -> None:
        self._workspace, self._parent_id = workspace, parent_id

    async def __aenter__(self) -> None:
        self._transaction = self._workspace.database.transaction()
        conn = await self._transaction.__aenter__()
        await conn.execute(
            """
            INSERT INTO variants (workspace_id, id, record_id, schema_id, parent_id, path, level,
                                  version, values, created_at, updated_at, created_by, updated_by)
            VALUES ($1, 'var-late', 'ent-a', 'schema-x', $2, $3, $4, 1, '{}',
                    now(), now(), 'u', 'u')
            """,
            self._workspace.id,
            self._parent_id,
            [] if self._parent_id is None else [self._parent_id],
            1 if self._parent_id is None else 2,
        )

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("address", "parent_id"),
    [("/records/ent-a", None), ("/records/ent-a/variants/var-1", "var-1")],
)
async def test_a_variant_that_a_deletion_did_not_see_goes_too(
    workspace: RecordsWorkspace, caller: Caller, address: str, parent_id: str | None
):
    """The deletion waits for the lock of the creation, and begins again when it has committed."""
    before = {event.id for event in await workspace.staged()}
    async with _Open(workspace, parent_id):
        deleting = asyncio.create_task(caller.delete(address))
        await _waits(workspace)
    assert (await deleting).status == 204
    assert await workspace.fetch("SELECT FROM variants WHERE workspace_id = $1") == []
    events = [event for event in await workspace.staged() if event.id not in before]
    told = {event.subject for event in events if event.type == "variant.deleted"}
    assert told == {"var-1", "var-late"}


async def _waits(workspace: RecordsWorkspace) -> None:
    async def wait() -> bool:
        return bool(
            await workspace.database.fetchval(
                """SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'"""
            )
        )

    await eventually(wait)


async def test_creations_and_a_deletion_at_once_leave_no_orphan(
    workspace: RecordsWorkspace, caller: Caller
):
    def create(number: int) -> Awaitable[Answer]:
        parent = "var-1" if number % 2 else "ent-a"
        return caller.post("/records/ent-a/variants", {"parentId": parent})

    answers = await asyncio.gather(
        *map(create, range(10)),
        caller.delete("/records/ent-a/variants/var-1"),
        *map(create, range(10)),
        caller.delete("/records/ent-a"),
        *map(create, range(10)),
    )
    assert {answer.status for answer in answers} <= {201, 204, 400, 404}
    assert await orphans(workspace) == []
    assert await workspace.fetch("SELECT FROM variants WHERE workspace_id = $1") == []
    events = await workspace.staged()
    created = {e.subject for e in events if e.type == "variant.created"}
    assert {e.subject for e in events if e.type == "variant.deleted"} == created


async def test_two_changes_of_two_scopes_at_once_both_stay(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    address = "/records/ent-a/variants/var-1/values/name"

    def patch(segment: str) -> Awaitable[Answer]:
        return caller.patch(address, {"scope": {"dim-language": segment}, "value": segment})

    # As from another process: in this one they would wait for each other.
    other = commands.set_value.__wrapped__

    async def beside() -> Any:
        monkeypatch.setattr(commands, "set_value", other)
        return await patch("seg-da")

    done = first(monkeypatch, writes, "update", beside)
    assert (await patch("seg-en")).status == 200
    assert done[0].status == 200
    found = (await caller.get("/records/ent-a/variants/var-1")).ok()
    assert {entry["value"] for entry in found["values"]["name"]} == {"seg-en", "seg-da"}
    assert found["version"] == 3


async def test_one_of_two_with_one_id_is_created(caller: Caller):
    body = {"id": "var-2", "values": entries({"sku": "A"})}
    answers = await asyncio.gather(
        *(caller.post("/records/ent-a/variants", body) for _ in range(8))
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    taken = error(409, "CONFLICT", "Variant with id 'var-2' already exists")
    value = error(409, "CONFLICT", "Value 'A' for attribute 'sku' must be unique")
    assert all(answer.outcome in (taken, value) for answer in answers if answer.status == 409)


async def test_one_of_two_that_take_a_unique_value_gets_it(caller: Caller):
    for number in range(2, 8):
        (await caller.post("/records/ent-a/variants", {"id": f"var-{number}"})).ok()
    body = {"schemaId": "schema-x", "values": entries({"sku": "A"})}
    answers = await asyncio.gather(
        caller.post("/records", body),
        *(
            caller.patch(f"/records/ent-a/variants/var-{number}/values/sku", {"value": "A"})
            for number in range(1, 8)
        ),
    )
    assert sorted(answer.status for answer in answers)[:1] in ([200], [201])
    taken = error(409, "CONFLICT", "Value 'A' for attribute 'sku' must be unique")
    assert [answer.outcome for answer in answers if answer.status > 201] == [taken] * 7


async def test_a_value_is_judged_by_the_state_in_which_it_is_stored(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    def publish() -> Awaitable[Answer]:
        return caller.post("/records/ent-a/transition", {"toStateId": "state-done"})

    done = first(monkeypatch, writes, "update", publish)
    address = "/records/ent-a/variants/var-1/values/name"
    refused = await caller.patch(address, {"value": "A"})
    assert done[0].status == 200
    assert refused.status == 403
    assert (await caller.get("/records/ent-a/variants/var-1")).ok()["values"] == {}


async def test_versions_go_on_when_an_id_is_used_again_meanwhile(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    async def come_and_go() -> None:
        (await caller.post("/records/ent-a/variants", {"id": "var-2"})).ok()
        (await caller.delete("/records/ent-a/variants/var-2")).ok()

    first(monkeypatch, writes, "insert", come_and_go)
    made = (await caller.post("/records/ent-a/variants", {"id": "var-2"})).ok()
    assert made["version"] == 3


async def test_changes_of_a_record_and_of_its_variants_do_not_wait_in_a_circle(caller: Caller):
    for number in range(2, 6):
        (await caller.post("/records/ent-a/variants", {"id": f"var-{number}"})).ok()

    def change(path: str, number: int) -> Awaitable[Answer]:
        return caller.patch(f"/records/{path}/values/name", {"value": str(number)})

    answers = await asyncio.gather(
        *(
            change(path, number)
            for number in range(5)
            for path in ("ent-a", *(f"ent-a/variants/var-{n}" for n in range(1, 6)))
        )
    )
    assert {answer.status for answer in answers} == {200}
