"""A change of the model builds the search index anew, while records are written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from records_service.search_index import building, enrolling, store
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.kit.workspace import entries, schema_body
from tests.service.records import search_index

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTRIBUTES = ["sku", "name", "price", "size"]
COUNT = 7
FIELDS = [{"alias": "width", "type": "number"}]


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "ENTERED_AT_ONCE", 2)
    monkeypatch.setattr(building, "ENTERED_AT_THE_END", 2)


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Seven records of one schema and one of another; only `sku` is filterable."""
    await workspace.workflow()
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("name")
    await workspace.attribute("price", "number")
    await workspace.attribute("size", "complex", attributes=FIELDS)
    await workspace.schema("x", ATTRIBUTES, workflow="wf-lifecycle")
    await workspace.schema("y", ["sku"])
    for n in range(COUNT):
        values = {"sku": f"A-{n}", "name": f"Parka {n}", "price": n, "size": {"width": n}}
        await workspace.record("schema-x", values, id=f"ent-{n}")
    await workspace.record("schema-y", {"sku": "B"}, id="ent-y")
    return workspace


def body_of(*attributes: str) -> dict[str, Any]:
    return schema_body("x", attributes, workflowId="wf-lifecycle")


async def change(workspace: RecordsWorkspace, alias: str, **changes: Any) -> dict[str, Any]:
    path = f"/attributes/attr-{alias}"
    known = (await workspace.admin.get(path)).ok()
    changed: dict[str, Any] = (await workspace.admin.put(path, known | changes)).ok()
    return changed


async def since(workspace: RecordsWorkspace, alias: str) -> str | None:
    """When the attribute became ready, which all answers and the blueprint must agree on."""
    one = (await workspace.admin.get(f"/attributes/attr-{alias}")).ok()
    every = {each["id"]: each for each in (await workspace.admin.get("/attributes")).ok()}
    assert every[one["id"]] == one
    for each in (await workspace.admin.get("/schemas/schema-x/attributes")).ok():
        assert each == every[each["id"]]
    blueprint = await search_index.blueprint_of(workspace)
    assert (one["id"] in blueprint.filterable_since) == (one["filterableSince"] is not None)
    found: str | None = one["filterableSince"]
    return found


async def version(workspace: RecordsWorkspace) -> int:
    [row] = await workspace.fetch("SELECT version FROM models WHERE workspace_id = $1")
    return int(row["version"])


async def test_what_is_filterable_by_default_is_ready_from_the_beginning(
    catalogue: RecordsWorkspace,
):
    assert await since(catalogue, "sku") is not None
    assert await since(catalogue, "name") is None
    await catalogue.option_list("colours", ["red"])
    made = await catalogue.attribute("colour", "option", optionListId="ol-colours")
    assert made["filterable"] is True and made["filterableSince"] == made["createdAt"]
    plain = await catalogue.attribute("note")
    assert plain["filterable"] is False and plain["filterableSince"] is None
    said = await catalogue.attribute("secret", filterable=False, validation={"unique": True})
    assert said["filterable"] is False
    await search_index.check(catalogue)


async def test_an_attribute_that_becomes_filterable_is_ready_when_all_records_are_entered(
    catalogue: RecordsWorkspace,
):
    changed = await change(catalogue, "name", filterable=True)
    assert changed["filterable"] is True and changed["filterableSince"] is None
    before = await version(catalogue)
    # Writes know it from the change on, also of records whose turn comes later.
    (await catalogue.admin.patch("/records/ent-5/values/name", {"value": "Coat"})).ok()
    [row] = [row for row in (await search_index.held(catalogue))[0] if row[0] == "ent-5"]
    [wanted] = [row for row in (await search_index.wanted(catalogue))[0] if row[0] == "ent-5"]
    assert row == wanted
    for _ in range(4):
        assert await since(catalogue, "name") is None
        await search_index.turn(catalogue)
    assert await since(catalogue, "name") is None and await version(catalogue) == before
    await search_index.check(catalogue)
    await search_index.finish(catalogue)
    assert await since(catalogue, "name") is not None and await version(catalogue) > before
    await search_index.check(catalogue)


@pytest.mark.parametrize(
    "alias, changes",
    [
        ("price", {"filterable": True}),
        ("size", {"filterable": True}),
        ("name", {"validation": {"unique": True}}),
        ("sku", {"filterable": False}),
    ],
    ids=str,
)
async def test_the_index_follows_an_attribute(
    catalogue: RecordsWorkspace, alias: str, changes: dict[str, Any]
):
    # As a client that does not know the field.
    known = (await catalogue.admin.get(f"/attributes/attr-{alias}")).ok()
    sent = {k: v for k, v in known.items() if not k.startswith("filterable")} | changes
    (await catalogue.admin.put(f"/attributes/attr-{alias}", sent)).ok()
    assert await since(catalogue, alias) is None
    await search_index.finish(catalogue)
    await search_index.check(catalogue)
    is_ready = await since(catalogue, alias) is not None
    assert is_ready == (changes.get("filterable") is not False)


async def test_a_new_field_makes_a_filterable_attribute_wait(catalogue: RecordsWorkspace):
    await change(catalogue, "size", filterable=True)
    await search_index.finish(catalogue)
    ready_at = await since(catalogue, "size")
    await change(catalogue, "size", name="Size")
    assert await since(catalogue, "size") == ready_at is not None
    await change(catalogue, "size", attributes=[*FIELDS, {"alias": "note", "type": "text"}])
    assert await since(catalogue, "size") is None
    await search_index.finish(catalogue)
    await search_index.check(catalogue)
    assert await since(catalogue, "size") is not None


async def test_a_type_that_changes_makes_an_attribute_wait(catalogue: RecordsWorkspace):
    await catalogue.attribute("other", filterable=True)
    body = body_of(*ATTRIBUTES, "other")
    (await catalogue.admin.put("/schemas/schema-x", body)).ok()
    await search_index.finish(catalogue)
    await change(catalogue, "other", type="complex", attributes=FIELDS)
    assert await since(catalogue, "other") is None
    await search_index.finish(catalogue)
    await search_index.check(catalogue)


async def test_the_index_follows_the_attributes_of_a_schema(catalogue: RecordsWorkspace):
    await change(catalogue, "price", filterable=True)
    await search_index.finish(catalogue)
    admin = catalogue.admin
    (await admin.put("/schemas/schema-x", body_of("sku", "name"))).ok()
    assert await since(catalogue, "price") is not None
    await search_index.finish(catalogue)
    await search_index.check(catalogue)
    assert (await search_index.held(catalogue))[1] == []
    # The records kept their values.
    (await admin.put("/schemas/schema-x", body_of(*ATTRIBUTES))).ok()
    assert await since(catalogue, "price") is None
    await search_index.finish(catalogue)
    await search_index.check(catalogue)
    assert len((await search_index.held(catalogue))[1]) == COUNT
    assert await since(catalogue, "price") is not None


async def test_rows_of_an_older_version_get_their_numbers(catalogue: RecordsWorkspace):
    await change(catalogue, "name", filterable=True)
    await catalogue.fetch(
        """
        UPDATE search_records SET number_keys = NULL, numbers = NULL
         WHERE workspace_id = $1 AND schema_id = 'schema-x'
        """
    )
    await search_index.finish(catalogue)
    await search_index.check(catalogue)


async def test_an_attribute_waits_for_all_schemas_that_have_it(catalogue: RecordsWorkspace):
    (await catalogue.admin.put("/schemas/schema-y", schema_body("y", ["sku", "price"]))).ok()
    await change(catalogue, "price", filterable=True)
    for _ in range(2):
        await search_index.turn(catalogue)
    assert [one.walk.after is None for one in await builds(catalogue)] == [False, True]
    # The schema begins anew, and what waited for it still does.
    await change(catalogue, "size", filterable=True)
    waiting = {
        one.schema_id: (one.walk.after, one.attribute_ids) for one in await builds(catalogue)
    }
    assert waiting == {
        "schema-x": (None, ["attr-price", "attr-size"]),
        "schema-y": (None, ["attr-price"]),
    }
    await search_index.finish(catalogue)
    await search_index.check(catalogue)
    assert await since(catalogue, "price") is not None


async def test_a_deleted_attribute_leaves_nothing_behind(catalogue: RecordsWorkspace):
    await change(catalogue, "price", filterable=True)
    await search_index.finish(catalogue)
    admin = catalogue.admin
    (await admin.put("/schemas/schema-x", body_of("sku", "name"))).ok()
    assert (await admin.delete("/attributes/attr-price")).status == 204
    await search_index.finish(catalogue)
    await search_index.check(catalogue)
    assert not await catalogue.fetch(
        "SELECT FROM search_attributes WHERE workspace_id = $1 AND attribute_id = 'attr-price'"
    )


async def test_a_deleted_schema_keeps_no_attribute_waiting(catalogue: RecordsWorkspace):
    await change(catalogue, "sku", filterable=False)
    await change(catalogue, "sku", filterable=True)
    assert (await catalogue.admin.delete("/records/ent-y")).status == 204
    assert (await catalogue.admin.delete("/schemas/schema-y")).status == 204
    await search_index.finish(catalogue)
    assert await since(catalogue, "sku") is not None


async def test_a_slice_that_fails_is_done_again(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await change(catalogue, "price", filterable=True)
    with monkeypatch.context() as patched:
        patched.setattr(store, "update", fail)
        with pytest.raises(InterruptedError):
            async with catalogue.database.transaction() as conn:
                await building.build_some(conn, catalogue.id, "")
    assert (await search_index.held(catalogue))[1] == []
    await search_index.finish(catalogue)
    await search_index.check(catalogue)


async def price(workspace: RecordsWorkspace, number: int = 0) -> None:
    path = f"/records/ent-{number}/values/price"
    (await workspace.admin.patch(path, {"value": 99})).ok()


async def no_price(workspace: RecordsWorkspace) -> None:
    (await workspace.admin.patch("/records/ent-0/values/price", {"value": None})).ok()


async def bulk_prices(workspace: RecordsWorkspace) -> None:
    rows = [{"id": f"ent-{n}", "values": {"price": []}} for n in range(COUNT)]
    assert (await workspace.admin.post("/records/bulk", {"operations": rows})).ok()["updated"] > 0


async def another_state(workspace: RecordsWorkspace) -> None:
    asked = {"toStateId": "review"}
    (await workspace.admin.post("/records/ent-0/transition", asked)).ok()


async def other_states(workspace: RecordsWorkspace) -> None:
    asked = {"ids": ["ent-0", "ent-5"], "toStateId": "review"}
    assert (await workspace.admin.post("/records/bulk-transition", asked)).ok()["updated"] == 2


async def no_record(workspace: RecordsWorkspace) -> None:
    assert (await workspace.admin.delete("/records/ent-0")).status == 204


async def no_records(workspace: RecordsWorkspace) -> None:
    asked = {"ids": [f"ent-{n}" for n in range(COUNT)]}
    assert (await workspace.admin.post("/records/bulk-delete", asked)).ok()["deleted"] == COUNT


async def another_record_of_the_id(workspace: RecordsWorkspace) -> None:
    await no_record(workspace)
    await workspace.record("schema-x", {"price": 3}, id="ent-0")


async def other_attributes(workspace: RecordsWorkspace) -> None:
    (await workspace.admin.put("/schemas/schema-x", body_of("sku", "name"))).ok()


@pytest.mark.parametrize(
    "write",
    [
        price,
        no_price,
        bulk_prices,
        another_state,
        other_states,
        no_record,
        no_records,
        another_record_of_the_id,
        other_attributes,
    ],
)
async def test_what_is_being_entered_stays_as_it_is_until_then(
    catalogue: RecordsWorkspace,
    write: Callable[[RecordsWorkspace], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
):
    writing: list[asyncio.Task[None]] = []
    enter = store.enter

    async def enter_while_another_writes(*asked: Any) -> None:
        if not writing:
            writing.append(asyncio.ensure_future(write(catalogue)))
            await eventually(lambda: is_waiting(catalogue, writing[0]))
        await enter(*asked)

    await change(catalogue, "price", filterable=True)
    monkeypatch.setattr(store, "enter", enter_while_another_writes)
    await search_index.turn(catalogue)
    await writing[0]
    await search_index.finish(catalogue)
    await search_index.check(catalogue)


async def test_a_slice_waits_for_a_write_and_not_that_for_the_slice(catalogue: RecordsWorkspace):
    """Both lock the record before its note, or each would wait for the other."""
    await change(catalogue, "price", filterable=True)
    while not all(build.is_done for build in await builds(catalogue)):
        await search_index.turn(catalogue)
    for n in range(building.ENTERED_AT_THE_END + 1):
        await price(catalogue, n)
    async with catalogue.database.transaction() as writing:
        # As the statement of a write does it.
        noted = await writing.fetch(
            """
            SELECT id, created_at, schema_id FROM records
             WHERE workspace_id = $1 AND (created_at, id) IN (
                   SELECT created_at, record_id FROM search_written WHERE workspace_id = $1)
             ORDER BY id
               FOR UPDATE
            """,
            catalogue.id,
        )
        assert noted
        taking = asyncio.ensure_future(search_index.turn(catalogue))
        await eventually(lambda: is_waiting(catalogue, taking))
        await writing.execute("SET LOCAL lock_timeout = '100ms'")
        await writing.executemany(
            """
            INSERT INTO search_written (workspace_id, schema_id, created_at, record_id)
            VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
            """,
            [(catalogue.id, row["schema_id"], row["created_at"], row["id"]) for row in noted],
        )
    await taking
    await search_index.finish(catalogue)
    await search_index.check(catalogue)


async def is_waiting(workspace: RecordsWorkspace, task: asyncio.Task[None]) -> bool:
    """Whether it waits for a lock, or is done without having waited."""
    waiting = await workspace.database.fetchval(
        """SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    )
    return bool(waiting) or task.done()


async def test_records_that_are_written_while_they_are_entered_are_right(
    catalogue: RecordsWorkspace,
):
    await change(catalogue, "price", filterable=True)
    await asyncio.gather(
        # A record may be deleted at that moment.
        asyncio.gather(prices(catalogue), rows(catalogue), return_exceptions=True),
        comings_and_goings(catalogue),
        changes_of_the_model(catalogue),
        slices(catalogue),
    )
    await search_index.finish(catalogue)
    await search_index.check(catalogue)


async def test_a_workspace_without_an_index_gets_one_when_it_is_time(
    catalogue: RecordsWorkspace,
):
    await catalogue.fetch("DELETE FROM search_records WHERE workspace_id = $1")
    await catalogue.fetch(
        """UPDATE models SET is_indexed = false, indexed_from = now() + interval '1 hour',
                             version = version + 1
            WHERE workspace_id = $1"""
    )
    (await catalogue.post_record("x", sku="C")).ok()
    await change(catalogue, "price", filterable=True)
    assert await search_index.held(catalogue) == ([], [])
    assert await since(catalogue, "sku") is await since(catalogue, "price") is None
    assert await enrolling.enroll_all(catalogue.database) == 0
    await catalogue.fetch("UPDATE models SET indexed_from = now() WHERE workspace_id = $1")
    assert await enrolling.enroll_all(catalogue.database) == 1
    assert await enrolling.enroll_all(catalogue.database) == 0
    # One ready attribute is to mean that every record has its row.
    (await catalogue.admin.put("/schemas/schema-y", schema_body("y", ["sku", "name"]))).ok()
    for _ in range(5):
        assert await since(catalogue, "sku") is await since(catalogue, "price") is None
        await search_index.turn(catalogue)
    await search_index.finish(catalogue)
    await search_index.check(catalogue)
    assert None not in (await since(catalogue, "sku"), await since(catalogue, "price"))


async def test_filterable_is_a_boolean(catalogue: RecordsWorkspace):
    body = {"alias": "a", "name": "a", "type": "text", "filterable": "yes"}
    assert (await catalogue.admin.post("/attributes", body)).outcome == error(
        400, "VALIDATION_ERROR", "Field 'filterable' expects type 'boolean', got 'string'"
    )


async def builds(workspace: RecordsWorkspace) -> list[store.Build]:
    async with workspace.database.acquire() as conn:
        return await store.builds(conn, workspace.id)


async def fail(*_: Any) -> None:
    raise InterruptedError


async def prices(workspace: RecordsWorkspace) -> None:
    for number in range(4):
        for n in range(COUNT):
            changed = {"value": 10 * n + number}
            (await workspace.admin.patch(f"/records/ent-{n}/values/price", changed)).ok()


async def rows(workspace: RecordsWorkspace) -> None:
    for number in range(4):
        some = [
            {"id": f"ent-{n}", "values": entries({"price": number, "name": f"N {number}"})}
            for n in reversed(range(COUNT))
        ]
        assert (await workspace.admin.post("/records/bulk", {"operations": some})).status == 200


async def comings_and_goings(workspace: RecordsWorkspace) -> None:
    for n in range(4):
        (await workspace.post_record("x", sku=f"C-{n}", price=n)).ok()
        assert (await workspace.admin.delete(f"/records/ent-{n}")).status in (204, 404)
        body = {"id": f"ent-{n}", "schemaId": "schema-x", "values": entries({"price": n})}
        assert (await workspace.admin.post("/records", body)).status in (201, 409)


async def changes_of_the_model(workspace: RecordsWorkspace) -> None:
    for is_filterable in (False, True, True):
        await change(workspace, "name", filterable=is_filterable)


async def slices(workspace: RecordsWorkspace) -> None:
    for _ in range(30):
        await search_index.turn(workspace)
