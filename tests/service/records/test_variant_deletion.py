"""The history and events of variants, and what goes with a variant or with its record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from records_service.writes import batches, effects, variant_deletes
from records_service.writes.model import PendingDelete, Record
from tests.kit import identities
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABLES = ("variants", "unique_values", "records")


@pytest_asyncio.fixture(loop_scope="module")
async def tree(workspace: RecordsWorkspace) -> Caller:
    """A record with three variants on two levels, each with a SKU and a price, and one beside."""
    await workspace.dimension("market", ["dk", "se"])
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("price", "number", dimensionIds=["dim-market"])
    await workspace.workflow("w", ["draft", "done"])
    await workspace.schema("x", ["price", "sku"], workflow="wf-w", variantEnabled=True)
    for record_id in ("ent-a", "ent-b"):
        await workspace.record("schema-x", {"sku": record_id}, id=record_id)
    await add(workspace.admin, "var-1")
    await add(workspace.admin, "var-2")
    await add(workspace.admin, "var-1-1", "var-1")
    await add(workspace.admin, "var-b", "ent-b", record="ent-b")
    return workspace.admin


async def add(
    caller: Caller, variant_id: str, parent: str = "ent-a", record: str = "ent-a"
) -> None:
    price = [
        {"scope": {}, "value": 1},
        {"scope": {"dim-market": "seg-se"}, "value": 2.5},
    ]
    values = entries({"sku": f'"{variant_id}" é', "price": price})
    body = {"id": variant_id, "parentId": parent, "values": values}
    (await caller.post(f"/records/{record}/variants", body)).ok()


async def left(workspace: RecordsWorkspace) -> dict[str, int]:
    counts = {}
    for table in TABLES:
        (row,) = await workspace.fetch(f"SELECT count(*) AS n FROM {table} WHERE workspace_id = $1")
        counts[table] = row["n"]
    return counts


def gone(variant_id: str, parent: str, version: int = 2) -> dict[str, Any]:
    """The data of the event that tells the deletion of one of `add`."""

    def change(attribute: str, scope: dict[str, str], value: Any) -> dict[str, Any]:
        return {
            "attribute": attribute,
            "attributeId": f"attr-{attribute}",
            "scope": scope,
            "oldValue": value,
            "newValue": None,
        }

    return {
        "entityId": "ent-a",
        "variantId": variant_id,
        "parentId": parent,
        "schemaId": "schema-x",
        "version": version,
        "lifecycleStateId": "state-draft",
        "userId": "user-admin",
        "changes": [
            change("price", {}, 1),
            change("price", {"dim-market": "seg-se"}, 2.5),
            change("sku", {}, f'"{variant_id}" é'),
        ],
    }


async def test_each_change_of_a_variant_is_told_by_history_and_event(
    workspace: RecordsWorkspace, tree: Caller
):
    address = "/records/ent-a/variants/var-2"
    (await tree.patch(f"{address}/values/sku", {"value": "new"})).ok()
    (await tree.patch(f"{address}/values/sku", {"value": "new"})).ok()
    (await tree.delete(address)).ok()
    events = [e for e in await workspace.staged() if e.subject == "var-2"]
    assert [(e.type, e.version) for e in events] == [
        ("variant.created", 1),
        ("variant.updated", 2),
        ("variant.deleted", 3),
    ]
    created, updated, deleted = events
    assert {e.source for e in events} == {"/records_service"}
    assert len({e.id for e in events}) == 3
    assert {**created.data, "changes": len(created.data["changes"])} == {
        **gone("var-2", "ent-a", 1),
        "changes": 3,
    }
    changed = {"attribute": "sku", "attributeId": "attr-sku", "scope": {}}
    assert updated.data["changes"] == [{**changed, "oldValue": '"var-2" é', "newValue": "new"}]
    assert deleted.data["changes"][2] == {**changed, "oldValue": "new", "newValue": None}
    for query in ("/records/ent-a/audit", "/audit?entityId=ent-a"):
        found = (await tree.get(query)).ok()["items"]
        assert [(each["action"], each["variantId"]) for each in found] == [
            ("delete", "var-2"),
            ("update", "var-2"),
            ("create", "var-1-1"),
            ("create", "var-2"),
            ("create", "var-1"),
            ("create", None),
        ]
        assert {each["entityId"] for each in found} == {"ent-a"}
    found = (await tree.get("/audit?entityId=var-2")).ok()
    assert [each["action"] for each in found["items"]] == ["delete", "update", "create"]
    assert found["total"] == 3
    assert found["items"][1]["changes"] == [
        {"attribute": "sku", "scope": {}, "oldValue": '"var-2" é', "newValue": "new"}
    ]
    page = (await tree.get("/audit?entityId=var-2&limit=2")).ok()
    rest = (await tree.get(f"/audit?entityId=var-2&limit=2&cursor={page['nextCursor']}")).ok()
    assert [*page["items"], *rest["items"]] == found["items"]


async def test_changes_of_a_record_and_its_variants_are_in_one_order(tree: Caller):
    (await tree.patch("/records/ent-a/values/sku", {"value": "1"})).ok()
    (await tree.patch("/records/ent-a/variants/var-1/values/sku", {"value": "2"})).ok()
    (await tree.patch("/records/ent-a/values/sku", {"value": "3"})).ok()
    (await tree.patch("/records/ent-a/variants/var-1/values/sku", {"value": "4"})).ok()
    found = (await tree.get("/records/ent-a/audit?limit=4")).ok()["items"]
    assert [each["changes"][0]["newValue"] for each in found] == ["4", "3", "2", "1"]


async def test_a_variant_takes_those_below_it_along(workspace: RecordsWorkspace, tree: Caller):
    before = {event.id for event in await workspace.staged()}
    (await tree.delete("/records/ent-a/variants/var-1")).ok()
    events = [event for event in await workspace.staged() if event.id not in before]
    assert sorted((e.type, e.subject) for e in events) == [
        ("variant.deleted", "var-1"),
        ("variant.deleted", "var-1-1"),
    ]
    told = {event.subject: event.data for event in events}
    assert told == {"var-1": gone("var-1", "ent-a"), "var-1-1": gone("var-1-1", "var-1")}
    assert await left(workspace) == {"variants": 2, "unique_values": 4, "records": 2}
    items = (await tree.get("/records/ent-a/variants")).ok()["items"]
    assert [each["id"] for each in items] == ["var-2"]
    assert (await tree.get("/records/ent-a/variants/var-1-1")).status == 404
    # Their ids and values are free, and their versions go on.
    await add(tree, "var-1")
    assert (await tree.get("/records/ent-a/variants/var-1")).ok()["version"] == 3


@pytest.mark.parametrize("way", ["one", "many"])
async def test_a_record_takes_its_variants_along(
    workspace: RecordsWorkspace, tree: Caller, way: str
):
    before = {event.id for event in await workspace.staged()}
    if way == "one":
        (await tree.delete("/records/ent-a")).ok()
    else:
        await delete_many(workspace)
    events = [event for event in await workspace.staged() if event.id not in before]
    assert {(e.type, e.subject): e.data for e in events if e.type == "variant.deleted"} == {
        ("variant.deleted", "var-1"): gone("var-1", "ent-a"),
        ("variant.deleted", "var-1-1"): gone("var-1-1", "var-1"),
        ("variant.deleted", "var-2"): gone("var-2", "ent-a"),
    }
    assert len(events) == 4
    assert await left(workspace) == {"variants": 1, "unique_values": 2, "records": 1}
    found = (await tree.get("/audit?action=delete&entityId=ent-a")).ok()["items"]
    assert {each["variantId"] for each in found} == {None, "var-1", "var-1-1", "var-2"}
    (entry,) = [each for each in found if each["variantId"] == "var-2"]
    assert [change["oldValue"] for change in entry["changes"]] == [1, 2.5, '"var-2" é']
    await workspace.record("schema-x", {"sku": '"var-2" é'}, id="ent-a")
    await add(tree, "var-1")
    assert (await tree.get("/records/ent-a/variants/var-1")).ok()["version"] == 3


async def delete_many(workspace: RecordsWorkspace) -> None:
    rows = await workspace.fetch("SELECT * FROM records WHERE workspace_id = $1 AND id = 'ent-a'")
    record = Record(**{name: rows[0][name] for name in Record.__dataclass_fields__})
    ended = replace(record, version=record.version + 1)
    identity = identities.admin(workspace.id)
    write = effects.delete_of(identity, ended, [])
    aliases = [("attr-price", "price"), ("attr-sku", "sku")]
    going = effects.variants_delete_of(identity, ended, aliases, write.at)
    (model,) = await workspace.fetch("SELECT version FROM models WHERE workspace_id = $1")
    async with workspace.database.acquire() as conn:
        await batches.delete_many(
            conn,
            [PendingDelete(record, write, going)],
            model_version=model["version"],
            stripe=0,
        )


async def test_an_event_that_would_be_too_large_tells_no_values(
    workspace: RecordsWorkspace, tree: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(variant_deletes.outbox, "EVENT_BYTES_MAX", (64 << 10) + 100)
    (await tree.delete("/records/ent-a/variants/var-2")).ok()
    (event,) = [e for e in await workspace.staged() if e.type == "variant.deleted"]
    assert event.data == gone("var-2", "ent-a") | {"changes": []}
    (entry, *_) = (await tree.get("/audit?entityId=var-2")).ok()["items"]
    assert len(entry["changes"]) == 3


async def seed(workspace: RecordsWorkspace, number: int) -> None:
    """So many variants more of `ent-a`, on three levels, each with a claim."""
    await workspace.database.execute(
        """
        INSERT INTO variants (workspace_id, id, record_id, schema_id, parent_id, path, level,
                              version, values, created_at, updated_at, created_by, updated_by)
        SELECT $1, 'var-n' || n, 'ent-a', 'schema-x',
               CASE WHEN n <= 10 THEN NULL ELSE 'var-n' || ceil(n / 10.0)::int END,
               CASE WHEN n <= 10 THEN '{}'
                    WHEN n <= 100 THEN ARRAY['var-n' || ceil(n / 10.0)::int]
                    ELSE ARRAY['var-n' || ceil(ceil(n / 10.0) / 10.0)::int,
                               'var-n' || ceil(n / 10.0)::int] END,
               CASE WHEN n <= 10 THEN 1 WHEN n <= 100 THEN 2 ELSE 3 END, 1,
               jsonb_build_object('attr-price',
                                  jsonb_build_array(jsonb_build_object('scope', '{}'::jsonb,
                                                                       'value', n))),
               now() + n * interval '1 ms', now(), 'user-x', 'user-x'
          FROM generate_series(1, $2::int) AS n
        """,
        workspace.id,
        number,
    )
    await workspace.database.execute(
        """
        INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id,
                                   variant_id)
        SELECT workspace_id, 'attr-sku', '{}', sha256(id::bytea), record_id, id
          FROM variants WHERE workspace_id = $1 AND id LIKE 'var-n%'
        """,
        workspace.id,
    )


async def test_two_thousand_variants_cost_no_more_statements_than_one(
    workspace: RecordsWorkspace, tree: Caller, executed: list[tuple[str, Any]]
):
    await seed(workspace, 2_000)
    costs = {}
    for name, ask, expected in (
        ("get", lambda: tree.get("/records/ent-a/variants/var-n2000"), 1),
        ("resolved", lambda: tree.get("/records/ent-a/variants/var-n2000/resolved"), 1),
        ("list", lambda: tree.get("/records/ent-a/variants?limit=500"), 1),
        ("create", lambda: tree.post("/records/ent-a/variants", {}), 2),
        ("delete", lambda: tree.delete("/records/ent-a/variants/var-n1"), 2),
        ("delete the record", lambda: tree.delete("/records/ent-a"), 2),
    ):
        executed.clear()
        (await ask()).ok()
        costs[name] = (len(executed), expected)
    assert all(cost == expected for cost, expected in costs.values()), costs
    assert await left(workspace) == {"variants": 1, "unique_values": 2, "records": 1}
    deleted = [e for e in await workspace.staged() if e.type == "variant.deleted"]
    # The three others of `tree`, and the new one.
    assert len({e.subject for e in deleted}) == len(deleted) == 2_004
    assert len({e.id for e in deleted}) == 2_004


async def test_two_thousand_variants_are_read_page_by_page(
    workspace: RecordsWorkspace, tree: Caller
):
    await seed(workspace, 2_000)
    for path in ("/records/ent-a/variants?", "/variants?", "/variants?schemaId=x&"):
        found: list[str] = []
        cursor = ""
        while True:
            page = (await tree.get(f"{path}limit=500{cursor}")).ok()
            found += [each["id"] for each in page["items"]]
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"
        expected = 2_003 if path.startswith("/records") else 2_004
        assert len(set(found)) == len(found) == page["total"] == expected, path
    assert (await tree.get("/variants?schemaId=none")).ok()["items"] == []
    assert (await tree.get("/records/ent-b/variants")).ok()["total"] == 1
