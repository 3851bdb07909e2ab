"""Every write of records leaves the search index as their values are, in the same statement."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from records_service.model_changes import state_moving
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries, schema_body
from tests.service.records import search_index

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTRIBUTES = ["sku", "name", "colours", "price", "sold", "size", "related", "photo", "sale"]
RECORD: dict[str, Any] = {
    "sku": "A-1",
    "name": "Parka",
    "colours": [
        {"scope": {}, "value": ["val-red", "val-blue"]},
        {"scope": {"dim-market": "seg-dk"}, "value": ["val-red"]},
    ],
    "price": [
        {"scope": {}, "value": 12.5},
        {"scope": {"dim-market": "seg-dk"}, "value": 99},
        {"scope": {"dim-market": "seg-de"}, "value": 12.5},
    ],
    "sold": ["2024-02-29", "2024-02-29T10:11:12.345678+02:00"],
    "size": [{"unit": "val-red", "width": 3}, {"unit": "val-blue", "width": 4.5}],
    "related": ["ent-other"],
    "photo": {"url": "https://a.example/x.png", "alt": "x"},
    "sale": False,
}


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """A schema with filterable attributes of every type, a workflow, and one more record."""
    await workspace.dimension("market", ["en", "dk", "de"])
    await workspace.option_list("colours", ["red", "blue", "green"])
    listed: dict[str, Any] = {"optionListId": "ol-colours"}
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("name")
    markets = {"dimensionIds": ["dim-market"]}
    await workspace.attribute("colours", "option", multiple=True, **listed, **markets)
    for alias, kind, more in (
        ("price", "number", markets),
        ("sold", "datetime", {"multiple": True}),
        (
            "size",
            "complex",
            {
                "attributes": [
                    {"alias": "unit", "type": "option", **listed},
                    {"alias": "width", "type": "number"},
                    {"alias": "note", "type": "text"},
                ]
            },
        ),
        ("related", "relation", {"multiple": True}),
        ("photo", "media", {}),
        ("sale", "boolean", {}),
    ):
        await workspace.attribute(alias, kind, filterable=True, **more)
    await workspace.workflow()
    await workspace.schema("x", ATTRIBUTES, workflow="wf-lifecycle", variantEnabled=True)
    await workspace.record("schema-x", {"sku": "O-1"}, id="ent-other")
    return workspace


async def test_a_create_enters_all_of_a_record(catalogue: RecordsWorkspace):
    await catalogue.record("schema-x", RECORD, id="ent-a")
    await search_index.check(catalogue)
    records, numbers = await search_index.held(catalogue)
    [(terms, keys, _)] = [row[-3:] for row in records if row[0] == "ent-a"]
    # The schema; sku; two colours; two units and no note; related, photo, sale.
    assert len(terms) == 1 + 1 + 2 + 3 + 3
    # Two prices, two times, two widths.
    assert len([row for row in numbers if row[0] == "ent-a"]) == len(keys) == 6


async def test_creates_that_arrive_together_enter_each(catalogue: RecordsWorkspace):
    await asyncio.gather(
        *(
            catalogue.record("schema-x", RECORD | {"sku": f"B-{n}", "price": n}, id=f"ent-{n}")
            for n in range(20)
        )
    )
    await search_index.check(catalogue)


@pytest.mark.parametrize(
    "changes",
    [
        {"sku": "A-2"},
        {"name": "Coat"},
        {"colours": None},
        {"colours": [{"scope": {}, "value": ["val-green"]}]},
        {"price": 12.5},
        {"price": [{"scope": {"dim-market": "seg-de"}, "value": 7}]},
        {"sold": ["2024-02-29T10:11:12.345678+02:00", "2024-02-29"]},
        {"size": None, "related": None, "photo": None, "sale": True},
        dict.fromkeys(ATTRIBUTES),
    ],
    ids=str,
)
async def test_an_update_changes_what_differs(catalogue: RecordsWorkspace, changes: dict[str, Any]):
    await catalogue.record("schema-x", RECORD, id="ent-a")
    sent = {
        name: None if value is None else entries({name: value})[name]
        for name, value in changes.items()
    }
    (await catalogue.admin.put("/records/ent-a", {"values": sent})).ok()
    await search_index.check(catalogue)
    (await catalogue.admin.put("/records/ent-a", {"values": entries(RECORD)})).ok()
    await search_index.check(catalogue)


async def test_one_value_and_an_earlier_version_change_the_index(catalogue: RecordsWorkspace):
    admin = catalogue.admin
    await catalogue.record("schema-x", RECORD, id="ent-a")
    asked = {"scope": {"dim-market": "seg-dk"}, "value": 98}
    (await admin.patch("/records/ent-a/values/price", asked)).ok()
    await search_index.check(catalogue)
    (await admin.post("/records/ent-a/restore", {"version": 1})).ok()
    await search_index.check(catalogue)


async def test_an_update_of_what_is_not_indexed_writes_no_row(catalogue: RecordsWorkspace):
    await catalogue.record("schema-x", RECORD, id="ent-a")
    written = "SELECT xmin::text, ctid::text FROM search_records WHERE workspace_id = $1"
    before = await catalogue.fetch(written)
    (await catalogue.admin.patch("/records/ent-a/values/name", {"value": "Coat"})).ok()
    assert await catalogue.fetch(written) == before


async def test_a_transition_takes_all_rows_to_the_new_state(catalogue: RecordsWorkspace):
    await catalogue.record("schema-x", RECORD, id="ent-a")
    (await catalogue.admin.post("/records/ent-a/transition", {"toStateId": "review"})).ok()
    await search_index.check(catalogue)


async def test_a_deleted_record_leaves_nothing_and_its_id_can_come_back(
    catalogue: RecordsWorkspace,
):
    await catalogue.record("schema-x", RECORD, id="ent-a")
    (await catalogue.admin.post("/records/ent-a/variants", {"id": "var-a", "values": {}})).ok()
    assert (await catalogue.admin.delete("/records/ent-a")).status == 204
    await search_index.check(catalogue)
    await catalogue.record("schema-x", RECORD, id="ent-a")
    await search_index.check(catalogue)


async def test_bulk_calls_write_the_index_of_each_record(catalogue: RecordsWorkspace):
    admin = catalogue.admin

    async def bulk(rows: list[dict[str, Any]]) -> None:
        answer = (await admin.post("/records/bulk", {"operations": rows})).ok()
        assert answer["failed"] == 0
        await search_index.check(catalogue)

    def row(number: int, **changes: Any) -> dict[str, Any]:
        values = entries(RECORD | {"sku": f"C-{number}"} | changes)
        return {"id": f"ent-c{number}", "schemaId": "schema-x", "values": values}

    await bulk([row(n) for n in range(12)])
    # Created, changed where it is indexed and where it is not, and changed twice in one call.
    await bulk(
        [
            *(row(n, price=n) for n in range(4)),
            row(4, name="Coat"),
            row(5, colours=[]),
            row(12),
            row(12, sold=["2020-01-01"]),
            row(4, sale=True),
        ]
    )
    moved = {"ids": [f"ent-c{n}" for n in range(8)], "toStateId": "review"}
    assert (await admin.post("/records/bulk-transition", moved)).ok()["updated"] == 8
    await search_index.check(catalogue)
    await bulk([row(n, price=None) for n in range(6, 10)])
    gone = {"ids": [f"ent-c{n}" for n in range(3, 10)]}
    assert (await admin.post("/records/bulk-delete", gone)).ok()["deleted"] == 7
    await search_index.check(catalogue)


async def test_a_refused_write_leaves_the_index_as_it_was(catalogue: RecordsWorkspace):
    admin = catalogue.admin
    await catalogue.record("schema-x", RECORD, id="ent-a")
    taken = {"values": entries({"sku": "O-1", "price": 1})}
    assert (await admin.put("/records/ent-a", taken)).status == 409
    body = {"schemaId": "schema-x", "values": entries({"sku": "O-1"})}
    assert (await admin.post("/records", body)).status == 409
    dry = {"headers": {"Prefer": "dry-run"}}
    assert (await admin.put("/records/ent-a", {"values": entries({"price": 3})}, **dry)).ok()
    await search_index.check(catalogue)


async def test_records_that_are_moved_to_other_states_are_moved_in_the_index(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(state_moving, "MOVED_IN_REQUEST", 2)
    for n in range(6):
        await catalogue.record("schema-x", RECORD | {"sku": f"D-{n}"}, id=f"ent-d{n}")
    await catalogue.workflow("new", ("start", "end"))
    body = schema_body("x", ATTRIBUTES, workflowId="wf-new", variantEnabled=True)
    (await catalogue.admin.put("/schemas/schema-x", body)).ok()
    await search_index.check(catalogue)
    # One that is written before its turn is moved first.
    (await catalogue.admin.patch("/records/ent-d5/values/price", {"value": 5})).ok()
    await search_index.check(catalogue)
    while await search_index.turn(catalogue):
        await search_index.check(catalogue)
    states = await catalogue.fetch(
        "SELECT DISTINCT state_id FROM search_records WHERE workspace_id = $1"
    )
    assert states == [{"state_id": "state-start"}]


async def test_two_writers_of_the_same_records_leave_a_true_index(catalogue: RecordsWorkspace):
    admin, ids = catalogue.admin, [f"ent-e{n}" for n in range(6)]
    for n, record_id in enumerate(ids):
        await catalogue.record("schema-x", RECORD | {"sku": f"E-{n}"}, id=record_id)

    async def prices(start: int) -> None:
        for number in range(start, start + 6):
            for record_id in ids:
                asked = {"value": number, "scope": {"dim-market": "seg-dk"}}
                assert (await admin.patch(f"/records/{record_id}/values/price", asked)).status < 500

    async def rows() -> None:
        for number in range(6):
            some = [
                {"id": one, "values": entries({"price": number, "sale": number % 2 == 0})}
                for one in reversed(ids)
            ]
            assert (await admin.post("/records/bulk", {"operations": some})).status == 200

    async def comings_and_goings() -> None:
        for _ in range(4):
            await admin.delete(f"/records/{ids[0]}")
            body = {"id": ids[0], "schemaId": "schema-x", "values": entries({"price": 1})}
            await admin.post("/records", body)

    await asyncio.gather(prices(0), prices(100), rows(), rows(), comings_and_goings())
    await search_index.check(catalogue)
