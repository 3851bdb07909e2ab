"""Many records in one statement: all or none, in one order, with all that single writes leave."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import orjson
import pytest
import pytest_asyncio

from records_service.attributes.unique_keys import UniqueKey
from records_service.records import store as reading
from records_service.writes import batches, effects
from records_service.writes.model import (
    PendingDelete,
    PendingUpdate,
    Record,
    StaleModel,
    StaleRecord,
)
from tests.kit import identities
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def loaded(workspace: RecordsWorkspace) -> tuple[dict[str, Record], int]:
    """Three records, each with a unique SKU, and the version of the model."""
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.schema("apparel", ["sku"])
    for name in "abc":
        values = entries({"sku": name.upper()})
        await workspace.admin.post(
            "/records", {"id": f"ent-{name}", "schemaId": "schema-apparel", "values": values}
        )
    async with workspace.database.acquire() as conn:
        found = await reading.get_many(conn, workspace.id, ["ent-a", "ent-b", "ent-c"])
    (version,) = {version for _, version in found.values()}
    return {record_id: record for record_id, (record, _) in found.items()}, version


def key(value: str) -> UniqueKey:
    return UniqueKey("attr-sku", "{}", sha256(orjson.dumps(value)).digest(), value)


def updated(record: Record, sku: str) -> PendingUpdate:
    """The record with another SKU."""
    (before,) = record.values["attr-sku"]
    values = {"attr-sku": [{"scope": {}, "value": sku}]}
    changed = replace(
        record, values=values, version=record.version + 1, updated_at=effects.now(record.updated_at)
    )
    change = {
        "attribute": "sku",
        "attributeId": "attr-sku",
        "scope": {},
        "oldValue": before["value"],
        "newValue": sku,
    }
    write = effects.update_of(identities.admin(record.workspace_id), changed, [change])
    return PendingUpdate(
        changed, orjson.dumps(values), None, [key(before["value"])], [key(sku)], write
    )


async def test_the_event_of_a_create_is_made_like_every_other(workspace, loaded):
    """Although its statement makes it."""
    records, _ = loaded
    name = 'K\u00e4se "\u2028\\'
    body = {"schemaId": "schema-apparel", "values": entries({"sku": name}), "externalKey": name}
    record_id = (await workspace.admin.post("/records", body)).ok()["id"]
    async with workspace.database.acquire() as conn:
        found = await reading.get_many(conn, workspace.id, [*records, record_id])
    stored = await workspace.fetch(
        """
        SELECT o.subject, o.event_id, o.type, o.version, o.document::text AS document,
               a.changes::text AS changes
          FROM outbox o
          JOIN audit a ON a.workspace_id = o.workspace_id AND a.record_id = o.subject
         WHERE o.workspace_id = $1 AND o.type = 'entity.created'
        """
    )
    assert {each["subject"] for each in stored} == found.keys()
    for each in stored:
        record, _ = found[each["subject"]]
        event = effects.event_of_create(record, each["changes"].encode())
        assert each["document"].encode() == replace(event, id=each["event_id"]).to_json()
        assert (each["type"], each["version"]) == (event.type, event.version)


async def test_many_updates_may_hand_a_unique_value_on(workspace, loaded):
    records, model_version = loaded
    pending = [updated(records["ent-b"], "A"), updated(records["ent-a"], "D")]
    async with workspace.database.acquire() as conn:
        await batches.update_many(conn, pending, model_version=model_version)
    for record_id, sku in (("ent-a", "D"), ("ent-b", "A"), ("ent-c", "C")):
        answer = await workspace.admin.get(f"/records/{record_id}")
        assert answer.ok()["values"]["sku"] == [{"scope": {}, "value": sku}]
        assert answer.headers["ETag"] == ('"1"' if record_id == "ent-c" else '"2"')
    audit = await workspace.fetch(
        "SELECT record_id, version, action FROM audit WHERE workspace_id = $1 AND version = 2"
    )
    assert {(row["record_id"], row["action"]) for row in audit} == {
        ("ent-a", "update"),
        ("ent-b", "update"),
    }
    staged = await workspace.staged()
    events = [one for one in staged if one.type == "entity.updated"]
    assert sorted(one.subject for one in events) == ["ent-a", "ent-b"]
    again = await workspace.post_record("apparel", sku="B")
    assert again.status == 201


@pytest.mark.parametrize("stale", ["record", "model"])
async def test_one_stale_record_keeps_all_from_being_written(workspace, loaded, stale):
    records, model_version = loaded
    pending = [updated(records["ent-a"], "D"), updated(records["ent-b"], "E")]
    if stale == "record":
        (await workspace.admin.put("/records/ent-b", {"values": entries({"sku": "F"})})).ok()
    error = StaleRecord if stale == "record" else StaleModel
    async with workspace.database.acquire() as conn:
        with pytest.raises(error):
            await batches.update_many(
                conn, pending, model_version=model_version - (stale == "model")
            )
    assert await workspace.fetch(
        "SELECT record_id FROM unique_values WHERE workspace_id = $1 AND record_id = 'ent-a'"
    ) == [{"record_id": "ent-a"}]
    record = await workspace.fetch(
        "SELECT version FROM records WHERE workspace_id = $1 AND id = 'ent-a'"
    )
    assert record == [{"version": 1}]
    assert not await workspace.fetch(
        "SELECT 1 FROM audit WHERE workspace_id = $1 AND record_id = 'ent-a' AND version > 1"
    )


async def test_many_deletes_give_places_and_unique_values_back(workspace, loaded):
    records, model_version = loaded
    identity = identities.admin(workspace.id)

    def gone(record: Record) -> PendingDelete:
        write = effects.delete_of(identity, replace(record, version=record.version + 1), [])
        return PendingDelete(
            record, write, effects.variants_delete_of(identity, record, [], write.at)
        )

    before = await workspace.fetch("SELECT sum(records) AS n FROM usage WHERE workspace_id = $1")
    async with workspace.database.acquire() as conn:
        with pytest.raises(StaleRecord):
            await batches.delete_many(
                conn,
                [gone(records["ent-a"]), gone(replace(records["ent-b"], version=7))],
                model_version=model_version,
                stripe=3,
            )
        await batches.delete_many(
            conn,
            [gone(records["ent-a"]), gone(records["ent-b"])],
            model_version=model_version,
            stripe=3,
        )
    left = await workspace.fetch("SELECT id FROM records WHERE workspace_id = $1")
    assert left == [{"id": "ent-c"}]
    after = await workspace.fetch("SELECT sum(records) AS n FROM usage WHERE workspace_id = $1")
    assert after[0]["n"] == before[0]["n"] - 2
    made = await workspace.admin.post(
        "/records",
        {"id": "ent-a", "schemaId": "schema-apparel", "values": entries({"sku": "A"})},
    )
    assert made.status == 201
    assert made.headers["ETag"] == '"3"', "versions of an id go on counting"
