"""A schema gets another workflow: its records are in their new states at once, and moved later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from records_service.model_changes import state_moving
from records_service.writes import state_moves
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries, schema_body
from tests.service.records.job_turns import turn

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTRIBUTES = ["name", "note"]
COUNT = 9
"""`ent-0` to `ent-8`; those with odd numbers were taken to `review`."""
DRAFTS = [f"ent-{n}" for n in range(0, COUNT, 2)]
REVIEWED = [f"ent-{n}" for n in range(1, COUNT, 2)]
LAST = "ent-8"
"""Its turn comes at the end."""


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records in the request, two in a slice."""
    monkeypatch.setattr(state_moving, "MOVED_IN_REQUEST", 2)
    monkeypatch.setattr(state_moves, "MOVED_AT_ONCE", 2)


def bound_to(alias: str | None) -> dict[str, Any]:
    workflow_id = None if alias is None else f"wf-{alias}"
    return schema_body("x", ATTRIBUTES, workflowId=workflow_id, variantEnabled=True)


async def bind(workspace: RecordsWorkspace, alias: str | None) -> None:
    (await workspace.admin.put("/schemas/schema-x", bound_to(alias))).ok()


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Records in two states of `old`; `new` knows one of them, and hides `note` in its first."""
    for name in ATTRIBUTES:
        await workspace.attribute(name)
    await workspace.workflow("old", ("draft", "review"))
    await workspace.workflow("new", {"start": {"hidden": ["note"]}, "review": {}})
    await workspace.workflow("other", ("begin", "end"))
    await workspace.schema("x", ATTRIBUTES, workflowId="wf-old", variantEnabled=True)
    for n in range(COUNT):
        await workspace.record("schema-x", {"name": "Parka", "note": f"n{n}"}, id=f"ent-{n}")
    for one in REVIEWED:
        (await workspace.admin.post(f"/records/{one}/transition", {"toStateId": "review"})).ok()
    return workspace


async def stored(workspace: RecordsWorkspace) -> dict[str, str | None]:
    rows = await workspace.fetch(
        "SELECT id, state_id FROM records WHERE workspace_id = $1 ORDER BY id"
    )
    return {row["id"]: row["state_id"] for row in rows}


async def finish(workspace: RecordsWorkspace) -> None:
    while await turn(workspace):
        pass
    for table in ("jobs", "state_moves"):
        assert await workspace.fetch(f"SELECT FROM {table} WHERE workspace_id = $1") == []


async def moves(workspace: RecordsWorkspace, record_id: str) -> list[tuple[str, Any, Any, int]]:
    """The last entries of a record's history but for its creation, the newest first."""
    rows = await workspace.fetch(
        """
        SELECT record_id, action, from_state_id, to_state_id, version FROM audit
         WHERE workspace_id = $1 AND variant_id IS NULL
         ORDER BY version DESC
        """
    )
    told = [tuple(row.values()) for row in rows]
    return [each[1:] for each in told if each[0] == record_id and each[1] != "create"]


async def check_reads(workspace: RecordsWorkspace, role: Caller) -> None:
    """All records are in their new states, whoever asks and however."""
    admin = workspace.admin
    for ids, state in ((DRAFTS, "state-start"), (REVIEWED, "state-review")):
        for one in ids:
            assert (await admin.get(f"/records/{one}")).ok()["lifecycleStateId"] == state
        for query in (f"lifecycleStateId={state}", f"schemaId=x&lifecycleStateId={state[6:]}"):
            listed = (await admin.get(f"/records?{query}")).ok()
            assert [each["id"] for each in listed["items"]] == ids
            assert {each["lifecycleStateId"] for each in listed["items"]} == {state}
            assert listed["total"] == len(ids)
        criterion = {"field": "lifecycleStateId", "operator": "equals", "value": state}
        asked = {"criteria": [criterion], "facets": ["lifecycleStateId"]}
        found = (await admin.post("/search", asked)).ok()
        assert [each["id"] for each in found["items"]] == ids
        facet = found["facets"]["lifecycleStateId"]
        assert [(each["value"], each["count"]) for each in facet] == [(state, len(ids))]
        exported = (await admin.get(f"/export?lifecycleStateId={state}")).ok()
        assert [each["id"] for each in exported] == ids
        assert {each["lifecycleStateId"] for each in exported} == {state}
    for query in ("state-draft", "draft"):
        assert (await admin.get(f"/records?lifecycleStateId={query}")).ok()["items"] == []
        assert (await admin.get(f"/export?lifecycleStateId={query}")).ok() == []
    by_state = {"sort": [{"field": "lifecycleStateId"}, {"field": "id"}]}
    found = (await admin.post("/search", by_state)).ok()
    assert [each["id"] for each in found["items"]] == REVIEWED + DRAFTS
    steps = (await admin.get(f"/records/{LAST}/transitions")).ok()
    assert [each["toStateId"] for each in steps] == ["state-review"]

    listed = (await role.get("/records?schemaId=x")).ok()["items"]
    assert [each["id"] for each in listed if "note" in each["values"]] == REVIEWED
    assert "note" not in (await role.get(f"/records/{LAST}")).ok()["values"]
    criterion = {"attribute": "note", "operator": "isNotEmpty"}
    found = (await role.post("/search", {"criteria": [criterion]})).ok()
    assert [each["id"] for each in found["items"]] == REVIEWED
    found = (await role.get("/search/text?q=n8")).ok()
    assert found["items"] == []
    found = (await role.get("/search/text?q=n7")).ok()
    assert [each["id"] for each in found["items"]] == ["ent-7"]


async def test_all_records_are_in_their_new_states_at_once(catalogue: RecordsWorkspace):
    role = await catalogue.user_with_role({"schema-x": {"attr-name": "read", "attr-note": "read"}})
    await bind(catalogue, "new")
    assert await turn(catalogue)
    assert list((await stored(catalogue)).values()).count("state-draft") == len(DRAFTS) - 1
    await check_reads(catalogue, role)
    while await turn(catalogue):
        await check_reads(catalogue, role)
    await finish(catalogue)
    after = await stored(catalogue)
    assert {one: after[one] for one in DRAFTS} == dict.fromkeys(DRAFTS, "state-start")
    assert {one: after[one] for one in REVIEWED} == dict.fromkeys(REVIEWED, "state-review")
    told = [each for each in await catalogue.staged() if each.data.get("fromStateId")]
    to_start = [each.subject for each in told if each.data["toStateId"] == "state-start"]
    assert sorted(to_start) == DRAFTS
    for one in DRAFTS:
        entry = ("transition", "state-draft", "state-start", 2)
        assert await moves(catalogue, one) == [entry]
        assert (await catalogue.admin.get(f"/records/{one}")).ok()["version"] == 2
    for one in REVIEWED:
        assert (await catalogue.admin.get(f"/records/{one}")).ok()["version"] == 2


async def test_records_that_are_written_are_moved_first(catalogue: RecordsWorkspace):
    admin = catalogue.admin
    first = [("transition", "state-draft", "state-start", 2)]
    await bind(catalogue, "new")
    name = {"values": entries({"name": "Anorak"})}
    changed = (await admin.put("/records/ent-4", name)).ok()
    assert (changed["lifecycleStateId"], changed["version"]) == ("state-start", 3)
    assert await moves(catalogue, "ent-4") == [("update", None, None, 3), *first]
    (await admin.post("/records/ent-6/transition", {"toStateId": "review"})).ok()
    assert await moves(catalogue, "ent-6") == [
        ("transition", "state-start", "state-review", 3),
        *first,
    ]
    variant = {"id": "var-a", "values": entries({"name": "Blue"})}
    (await admin.post(f"/records/{LAST}/variants", variant)).ok()
    assert (await stored(catalogue))[LAST] == "state-start"
    told = await catalogue.staged()
    created = next(each for each in told if each.type == "variant.created")
    assert created.data["lifecycleStateId"] == "state-start"
    await finish(catalogue)
    # Nothing is moved twice, and what has gone on stays where it went.
    assert (await stored(catalogue))["ent-6"] == "state-review"
    assert (await moves(catalogue, "ent-4"))[0][3] == 3


async def test_a_record_is_deleted_and_others_are_written_in_bulk(catalogue: RecordsWorkspace):
    admin = catalogue.admin
    await bind(catalogue, "new")
    (await admin.delete("/records/ent-2")).ok()
    rows = [{"id": "ent-4", "values": entries({"name": "Anorak"})}]
    report = (await admin.post("/records/bulk?mode=atomic", {"operations": rows})).ok()
    assert report["results"][0]["outcome"] == "updated"
    asked = {"ids": ["ent-6"], "toStateId": "review"}
    report = (await admin.post("/records/bulk-transition", asked)).ok()
    assert report["results"][0]["outcome"] == "updated"
    (await admin.post("/records/bulk-delete", {"ids": [LAST]})).ok()
    told = await catalogue.staged()
    for one in ("ent-2", "ent-4", "ent-6", LAST):
        steps = [each for each in told if each.subject == one and each.data["version"] > 1]
        assert steps[0].data["lifecycleStateId"] == "state-start"
        assert (steps[0].type, steps[0].data["version"]) == ("entity.transition", 2)
        assert steps[1].data["version"] == 3
    assert (await stored(catalogue))["ent-4"] == "state-start"
    assert (await stored(catalogue))["ent-6"] == "state-review"
    await finish(catalogue)


async def test_a_dry_run_moves_nothing(catalogue: RecordsWorkspace):
    await bind(catalogue, "new")
    name = {"values": entries({"name": "Anorak"})}
    answer = await catalogue.admin.put(f"/records/{LAST}", name, headers={"Prefer": "dry-run"})
    assert answer.ok()["lifecycleStateId"] == "state-start"
    assert (await stored(catalogue))[LAST] == "state-draft"
    await finish(catalogue)


async def test_another_workflow_may_follow_before_the_records_have(catalogue: RecordsWorkspace):
    admin = catalogue.admin
    await bind(catalogue, "new")
    assert await turn(catalogue)
    await bind(catalogue, "other")
    assert (await admin.get("/records?lifecycleStateId=begin")).ok()["total"] == COUNT
    await finish(catalogue)
    assert set((await stored(catalogue)).values()) == {"state-begin"}
    await bind(catalogue, None)
    assert (await admin.get(f"/records/{LAST}")).ok()["lifecycleStateId"] is None
    await bind(catalogue, "new")
    assert (await admin.get("/records?lifecycleStateId=start")).ok()["total"] == COUNT
    await finish(catalogue)
    assert set((await stored(catalogue)).values()) == {"state-start"}


async def test_back_to_the_workflow_before(catalogue: RecordsWorkspace):
    await bind(catalogue, "new")
    await bind(catalogue, "old")
    await finish(catalogue)
    after = await stored(catalogue)
    assert {after[one] for one in DRAFTS} == {"state-draft"}
    assert {after[one] for one in REVIEWED} == {"state-review"}
    # Those that were never moved have no entry of it.
    assert await moves(catalogue, LAST) == []


async def test_a_state_stays_as_long_as_records_are_moved_to_it(catalogue: RecordsWorkspace):
    for one in ("ent-0", "ent-2"):
        (await catalogue.admin.delete(f"/records/{one}")).ok()
    await bind(catalogue, "new")
    assert "state-start" not in (await stored(catalogue)).values()
    admin, path = catalogue.workflow_admin, "/workflows/wf-new"
    body = (await admin.get(path)).ok()
    review = [state for state in body["states"] if state["id"] == "state-review"]
    less = {**body, "defaultStateId": "state-review", "states": review, "transitions": []}
    assert (await admin.put(path, less)).outcome[0] == 409
    await finish(catalogue)
    assert (await admin.put(path, less)).outcome[0] == 409


async def test_records_enter_no_state_that_is_stored_for_another_one(catalogue: RecordsWorkspace):
    await bind(catalogue, "new")
    admin, path = catalogue.workflow_admin, "/workflows/wf-new"
    body = (await admin.get(path)).ok()
    draft = {"id": "state-draft", "name": "draft", "alias": "draft"}
    step = {"fromStateId": "state-review", "toStateId": "state-draft"}
    more = {
        **body,
        "states": [*body["states"], draft],
        "transitions": [*body["transitions"], step],
    }
    (await admin.put(path, more)).ok()
    await bind(catalogue, "new")  # Which takes over the definition.
    to_draft = {"toStateId": "draft"}
    answer = await catalogue.admin.post("/records/ent-7/transition", to_draft)
    assert answer.status == 400
    assert (await catalogue.admin.get(f"/records/{LAST}")).ok()["lifecycleStateId"] == "state-start"
    await finish(catalogue)
    (await catalogue.admin.post("/records/ent-7/transition", to_draft)).ok()
    assert (await stored(catalogue))["ent-7"] == "state-draft"
    assert (await stored(catalogue))[LAST] == "state-start"


async def test_no_schema_is_bound_where_nobody_could_tell_who_is_moved(
    catalogue: RecordsWorkspace,
):
    await catalogue.workflow("both", ("draft", "start", "review"))
    await bind(catalogue, "new")
    answer = await catalogue.admin.put("/schemas/schema-x", bound_to("both"))
    assert answer.outcome == error(
        503,
        "SERVICE_UNAVAILABLE",
        "The records of schema 'schema-x' are still being moved to the states of the workflow that"
        " it got before",
    )
    await finish(catalogue)
    await bind(catalogue, "both")
    await finish(catalogue)


async def test_records_are_written_during_a_slice_and_the_model_is_not_changed(
    catalogue: RecordsWorkspace,
):
    await bind(catalogue, "new")
    async with catalogue.database.transaction() as conn:
        assert await state_moving.move_some(conn, catalogue.id, "schema-x")
        name = {"values": entries({"name": "Anorak"})}
        (await catalogue.admin.put(f"/records/{LAST}", name)).ok()
        (await catalogue.post_record("x", name="New")).ok()
        changing = asyncio.create_task(catalogue.attribute("later"))
        await eventually(catalogue.records.waits_for_a_lock)
    await changing
    await finish(catalogue)


async def test_writers_race_with_the_slices(catalogue: RecordsWorkspace):
    await bind(catalogue, "new")

    async def write(record_id: str) -> None:
        for n in range(3):
            name = {"values": entries({"name": f"Anorak {n}"})}
            (await catalogue.admin.put(f"/records/{record_id}", name)).ok()

    async def move() -> None:
        while await turn(catalogue):
            pass

    await asyncio.gather(move(), *[write(one) for one in DRAFTS])
    await finish(catalogue)
    for one in DRAFTS:
        told = await moves(catalogue, one)
        assert sorted(each[0] for each in told) == ["transition", "update", "update", "update"]
        assert [each[3] for each in told] == [5, 4, 3, 2]
    assert {(await stored(catalogue))[one] for one in DRAFTS} == {"state-start"}


async def test_the_schema_and_its_records_may_go_meanwhile(catalogue: RecordsWorkspace):
    await bind(catalogue, "new")
    for one in [*DRAFTS, *REVIEWED]:
        (await catalogue.admin.delete(f"/records/{one}")).ok()
    (await catalogue.admin.delete("/schemas/schema-x")).ok()
    await finish(catalogue)
