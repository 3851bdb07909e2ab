"""Bulk writes: the rules of single writes, row by row, many with each statement."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.kit import identities
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.kit.workspace import entries
from tests.service.records.bulk_calls import (
    SCHEMA,
    bulk,
    counts,
    failures,
    model_apparel,
    row,
    values_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def apparel(workspace: RecordsWorkspace) -> RecordsWorkspace:
    return await model_apparel(workspace)


async def test_rows_create_and_update_and_leave_alone(apparel):
    admin = apparel.admin
    first = await bulk(admin, row("ent-a", sku="A", price=1), row("ent-b", sku="B"), row(sku="C"))
    assert counts(first) == {"created": 3}
    assert [one["status"] for one in first.body["results"]] == [201, 201, 201]
    again = await bulk(
        admin,
        row("ent-a", sku="A", price=2),
        {"id": "ent-b", "values": entries({"sku": "B"})},
    )
    assert again.ok() == {
        "results": [
            {"index": 0, "outcome": "updated", "status": 200, "id": "ent-a", "version": 2},
            {"index": 1, "outcome": "unchanged", "status": 200, "id": "ent-b", "version": 1},
        ],
        "created": 0,
        "updated": 1,
        "unchanged": 1,
        "skipped": 0,
        "deleted": 0,
        "failed": 0,
    }
    assert await values_of(apparel, "ent-a") == {"sku": "A", "price": 2}


async def test_bad_rows_fail_alone_and_say_where(apparel):
    answer = await bulk(
        apparel.admin,
        row("ent-a", sku="A", name="x" * 21),
        row("ent-b", sku="B"),
        row("ent-c", sku="B"),
        {"id": "ent-d", "values": {}},
        {"id": "ent-e", "schemaId": "schema-none", "values": {}},
        row("ent-f", colour="red"),
        row("No Id", sku="G"),
        17,
        {"id": "ent-h", "schemaId": SCHEMA, "values": {"sku": [{"scope": {}, "value": 3}]}},
        row("ent-i", related=["ent-b"]),
        row("ent-j", related=["ent-k"]),
        row("ent-k", sku="K"),
    )
    assert counts(answer) == {"created": 3, "failed": 9}
    assert failures(answer) == [
        (
            0,
            400,
            "VALIDATION_ERROR",
            "Value for 'name' exceeds maximum length 20",
            "/values/name/0/value",
        ),
        (
            2,
            409,
            "CONFLICT",
            "Value 'B' for attribute 'sku' must be unique",
            "/values/sku",
        ),
        (3, 400, "VALIDATION_ERROR", "Field 'schemaId' is required for a new record", "/schemaId"),
        (4, 404, "NOT_FOUND", "Schema 'schema-none' not found", ""),
        (5, 400, "VALIDATION_ERROR", "Unknown attribute 'colour'", "/values/colour"),
        (
            6,
            400,
            "VALIDATION_ERROR",
            "Field 'id' must match pattern '^[a-z0-9][a-z0-9._-]{0,127}$', got 'No Id'",
            "/id",
        ),
        (7, 400, "VALIDATION_ERROR", "Body expects type 'object', got 'number'", ""),
        (
            8,
            400,
            "VALIDATION_ERROR",
            "Attribute 'sku' expects type 'string', got 'number'",
            "/values/sku/0/value",
        ),
        (
            10,
            400,
            "VALIDATION_ERROR",
            "Value for 'related' is not an existing record: 'ent-k' not found",
            "/values/related",
        ),
    ]


async def test_rows_are_judged_in_their_order(apparel):
    admin = apparel.admin
    (await bulk(admin, row("ent-a", sku="A"), row("ent-b", sku="B"))).ok()
    answer = await bulk(
        admin,
        row("ent-x", sku="A"),  # still ent-a's
        row("ent-a", sku="A2"),
        row("ent-b", sku="A"),  # given up by ent-a
        row("ent-c", sku="B"),  # given up by ent-b
        row("ent-c", price=1),
        row("ent-c", price=2),
        row("ent-c", sku="A2"),  # still ent-a's
        row("ent-d", related=["ent-c"]),
    )
    assert [(one["outcome"], one["version"]) for one in answer.ok()["results"]] == [
        ("failed", None),
        ("updated", 2),
        ("updated", 2),
        ("created", 1),
        ("updated", 2),
        ("updated", 3),
        ("failed", None),
        ("created", 1),
    ]
    assert await values_of(apparel, "ent-c") == {"sku": "B", "price": 2}
    history = (await admin.get("/records/ent-c/audit")).ok()["items"]
    assert [one["action"] for one in history] == ["update", "update", "create"]


@pytest.mark.parametrize("width", [1, 3, 500])
async def test_waves_of_any_width_end_in_the_same_records(apparel, monkeypatch, width):
    """What single writes in this order would leave, whatever is judged together."""
    monkeypatch.setattr("records_service.bulk.waves.WAVE_ROWS", width)
    rows = [row(f"ent-{n % 7}", sku=f"S{(n * 5) % 9}", price=n % 4) for n in range(60)]
    (await bulk(apparel.admin, *rows)).ok()
    held: dict[str, dict[str, Any]] = {}
    for one in rows:
        sku, price = (one["values"][name][0]["value"] for name in ("sku", "price"))
        if all(other["sku"] != sku for name, other in held.items() if name != one["id"]):
            held[one["id"]] = {"sku": sku, "price": price}
    assert {name: await values_of(apparel, name) for name in held} == held


async def test_history_and_events_are_those_of_single_writes(apparel):
    admin = apparel.admin
    values = entries({"sku": "A", "price": 1})
    (await admin.post("/records", {"id": "ent-one", "schemaId": SCHEMA, "values": values})).ok()
    (await admin.put("/records/ent-one", {"values": entries({"sku": "B", "name": "n"})})).ok()
    (await bulk(admin, row("ent-two", sku="A", price=1))).ok()
    (await bulk(admin, {"id": "ent-two", "values": entries({"sku": "C", "name": "n"})})).ok()

    def plain(thing: Any, other: str) -> Any:
        text = orjson.dumps(thing).decode().replace(other, "ent").replace('"C"', '"B"')
        return orjson.loads(text)

    rows = await apparel.fetch(
        """SELECT record_id, version, schema_id, action, user_id, changes, from_state_id,
                  to_state_id, comment FROM audit WHERE workspace_id = $1 ORDER BY version"""
    )
    one, two = (
        [plain(each, name) for each in rows if each["record_id"] == name]
        for name in ("ent-one", "ent-two")
    )
    assert len(one) == 2
    assert one == two
    staged = await apparel.staged()
    first, second = (
        [
            plain({"type": each.type, "data": each.data}, name)
            for each in staged
            if each.subject == name
        ]
        for name in ("ent-one", "ent-two")
    )
    assert len(first) == 2
    assert first == second


async def test_a_row_changes_and_clears_what_it_names_and_nothing_else(apparel):
    first = row("ent-a", sku="A", name="n", price=1, related=["ent-b"])
    assert counts(await bulk(apparel.admin, row("ent-b"), first)) == {"created": 2}
    changed = {"price": None, "related": [], **entries({"name": "m"})}
    answer = await bulk(apparel.admin, {"id": "ent-a", "values": changed})
    assert counts(answer) == {"updated": 1}
    assert await values_of(apparel, "ent-a") == {"sku": "A", "name": "m"}
    answer = await bulk(apparel.admin, {"id": "ent-a", "values": entries({"price": 2})})
    assert counts(answer) == {"updated": 1}
    assert await values_of(apparel, "ent-a") == {"sku": "A", "name": "m", "price": 2}


async def test_unchanged_rows_write_nothing(apparel):
    rows = [row(f"ent-{n}", sku=f"S{n}", related=[f"ent-{n - 1}"] if n else []) for n in range(20)]
    (await bulk(apparel.admin, *rows)).ok()
    kept = "SELECT count(*) AS n, max(version) AS v FROM audit WHERE workspace_id = $1"
    before, events = await apparel.fetch(kept), await apparel.staged()
    assert counts(await bulk(apparel.admin, *rows)) == {"unchanged": 20}
    assert await apparel.fetch(kept) == before
    assert await apparel.staged() == events


async def test_rows_find_their_record_by_a_unique_attribute(apparel):
    admin = apparel.admin
    (await bulk(admin, row("ent-a", sku="A"), row("ent-b", sku="B"))).ok()
    answer = await bulk(
        admin,
        row(sku="A", price=1),
        row(sku="N", price=1),
        row(sku="N", price=2),
        row("ent-a", sku="B", price=3),
        row("ent-b", sku="O"),
        row(price=4),
        match="sku",
    )
    assert [(one["outcome"], one["id"]) for one in answer.ok()["results"]][:2] == [
        ("updated", "ent-a"),
        ("created", answer.body["results"][2]["id"]),
    ]
    assert answer.body["results"][2]["outcome"] == "updated"
    assert failures(answer) == [
        (
            3,
            400,
            "VALIDATION_ERROR",
            "Field 'id' is not that of the record with this value of attribute 'sku', got 'ent-a'",
            "/id",
        ),
        (4, 409, "CONFLICT", "Entity with id 'ent-b' already exists", ""),
        (
            5,
            400,
            "VALIDATION_ERROR",
            "Attribute 'sku' needs a value in each row, because rows match by it",
            "/values/sku",
        ),
    ]
    skipped = await bulk(admin, row(sku="A", price=9), row(sku="P"), match="sku", onMatch="skip")
    assert counts(skipped) == {"skipped": 1, "created": 1}
    refused = await bulk(
        admin, row(sku="A"), row(sku="Q"), match="sku", onMatch="fail", onMissing="fail"
    )
    assert [one[1:4] for one in failures(refused)] == [
        (409, "CONFLICT", "Entity with id 'ent-a' already exists"),
        (404, "NOT_FOUND", "No entity has this value of attribute 'sku'"),
    ]
    for match in ("price", "nothing"):
        assert (await bulk(admin, row(sku="A"), match=match)).outcome == error(
            400,
            "VALIDATION_ERROR",
            "Field 'match' must be 'id', 'externalKey' or the alias of a unique attribute,"
            f" got '{match}'",
        )


async def test_atomic_is_all_or_nothing(apparel):
    admin = apparel.admin
    (await bulk(admin, row("ent-a", sku="A"))).ok()
    rows = [row("ent-b", sku="B"), row("ent-a", price=1), row("ent-c", sku="B"), row("ent-d", x=1)]
    answer = await bulk(admin, *rows, mode="atomic", headers={"Accept": "application/problem+json"})
    assert answer.status == 409
    assert answer.body["message"] == "Row 2: Value 'B' for attribute 'sku' must be unique"
    assert answer.body["errors"] == [
        {
            "pointer": "/2/values/sku",
            "detail": (
                "Row 2: Value 'B' for attribute 'sku' must be unique: record 'ent-b' has it"
            ),
        },
        {"pointer": "/3/values/x", "detail": "Row 3: Unknown attribute 'x'"},
    ]
    assert await values_of(apparel, "ent-a") == {"sku": "A"}
    assert (await admin.get("/records/ent-b")).status == 404
    answer = await bulk(
        admin, row("ent-b", sku="A2"), row("ent-a", sku="A3"), row("ent-b", sku="A"), mode="atomic"
    )
    assert counts(answer) == {"created": 1, "updated": 2}
    assert await values_of(apparel, "ent-b") == {"sku": "A"}


async def test_rows_beyond_the_record_limit_fail(apparel):
    limited = apparel.as_(identities.api_key(apparel.id, record_limit=5))
    rows = [row(f"ent-{n}", sku=f"S{n}") for n in range(8)]
    (await bulk(limited, *rows[:2])).ok()
    answer = await bulk(limited, row("ent-0", price=7), *rows[2:], row("ent-1", price=8))
    assert counts(answer) == {"updated": 2, "created": 3, "failed": 3}
    assert {one[1:4] for one in failures(answer)} == {
        (403, "LIMIT_EXCEEDED", "Entity limit of 5 reached")
    }
    assert [one[0] for one in failures(answer)] == [4, 5, 6]
    refused = await bulk(limited, row("ent-0", price=9), row("ent-9", sku="9"), mode="atomic")
    assert refused.outcome == error(403, "LIMIT_EXCEEDED", "Row 1: Entity limit of 5 reached")
    assert await values_of(apparel, "ent-0") == {"sku": "S0", "price": 7}


async def test_a_role_is_asked_row_by_row(apparel):
    (await bulk(apparel.admin, row("ent-a", sku="A"))).ok()
    user = await apparel.user_with_role({SCHEMA: {"attr-price": "write", "attr-sku": "read"}})
    rows = [row("ent-a", price=1), row("ent-a", sku="B"), row("ent-c", price=2)]
    answer = await bulk(user, *rows)
    assert counts(answer) == {"updated": 1, "created": 1, "failed": 1}
    assert failures(answer) == [(1, 403, "PERMISSION_DENIED", "Permission denied", "/values/sku")]
    refused = await bulk(user, *rows, mode="atomic")
    assert refused.outcome == error(403, "PERMISSION_DENIED", "Row 1: Permission denied")
    # The attribute that names the record is no write of it.
    by_sku = await bulk(user, row(sku="A", price=5), match="sku")
    assert counts(by_sku) == {"updated": 1}


async def test_a_hidden_attribute_finds_nothing(apparel):
    (await bulk(apparel.admin, row("ent-a", sku="A"))).ok()
    user = await apparel.user_with_role({SCHEMA: {"attr-price": "write", "attr-sku": "hidden"}})
    answers = [
        await bulk(user, row(sku=sku, price=5), match="sku", onMissing=missing)
        for missing in ("fail", "create")
        for sku in ("A", "B")
    ]
    assert failures(answers[0]) == failures(answers[1])
    assert failures(answers[2]) == failures(answers[3])


async def test_a_key_that_may_not_read_is_told_what_became_of_each_row(apparel):
    key = apparel.api_key("update-data")
    answer = await bulk(key, row("ent-a", sku="A"), row("ent-b", sku="A"))
    assert [one["outcome"] for one in answer.ok()["results"]] == ["created", "failed"]


async def test_two_calls_that_write_the_same_records_both_end(apparel):
    """They meet on records, on unique values and on new ids."""
    admin = apparel.admin
    up = [row(f"ent-{n}", sku=f"S{n}", price=1) for n in range(300)]
    down = [row(f"ent-{n}", sku=f"S{n}", price=2) for n in reversed(range(300))]
    answers = await asyncio.gather(bulk(admin, *up), bulk(admin, *down))
    assert all("failed" not in counts(answer) for answer in answers)
    created = sum(counts(answer).get("created", 0) for answer in answers)
    assert created == 300
    versions = await apparel.fetch(
        "SELECT sum(version)::int AS n FROM records WHERE workspace_id = $1"
    )
    entries_ = await apparel.fetch("SELECT count(*)::int AS n FROM audit WHERE workspace_id = $1")
    assert versions == entries_


async def test_single_writes_in_between_are_not_lost(apparel):
    admin = apparel.admin
    rows = [row(f"ent-{n}", sku=f"S{n}") for n in range(400)]
    (await bulk(admin, *rows)).ok()

    async def single() -> None:
        for n in range(0, 400, 20):
            (await admin.put(f"/records/ent-{n}", {"values": entries({"name": "single"})})).ok()

    priced = [{"id": f"ent-{n}", "values": entries({"price": 5})} for n in range(400)]
    answer, _ = await asyncio.gather(bulk(admin, *priced), single())
    assert counts(answer) == {"updated": 400}
    assert await values_of(apparel, "ent-20") == {"sku": "S20", "price": 5, "name": "single"}


async def test_rows_find_their_record_by_an_external_key(apparel):
    admin = apparel.admin
    first = await bulk(
        admin,
        row("ent-a", sku="A") | {"externalKey": "K/1"},
        row("ent-b", sku="B") | {"externalKey": "K/1"},
        row("ent-c", sku="C") | {"externalKey": "K/2"},
    )
    assert failures(first) == [
        (1, 409, "CONFLICT", "Entity with external key 'K/1' already exists", "/externalKey")
    ]
    answer = await bulk(
        admin,
        row(price=1) | {"externalKey": "K/1"},
        row(price=2) | {"externalKey": "K/1"},
        row(sku="D") | {"externalKey": "K/3"},
        row(sku="E"),
        match="externalKey",
    )
    assert counts(answer) == {"updated": 2, "created": 1, "failed": 1}
    assert failures(answer)[0][3:] == (
        "Field 'externalKey' is required in each row, because rows match by it",
        "/externalKey",
    )
    handed_on = await bulk(
        admin,
        {"id": "ent-c", "externalKey": "K/9"},
        {"id": "ent-a", "externalKey": "K/2"},
        row("ent-d") | {"externalKey": "K/1"},
        {"id": "ent-a", "externalKey": "K/2"},
        {"id": "ent-c", "externalKey": None},
    )
    assert [one["outcome"] for one in handed_on.ok()["results"]] == [
        "updated",
        "updated",
        "created",
        "unchanged",
        "updated",
    ]
    shown = {one: (await admin.get(f"/records/ent-{one}")).ok()["externalKey"] for one in "acd"}
    assert shown == {"a": "K/2", "c": None, "d": "K/1"}


async def test_variants_hold_values_and_go_with_their_record(apparel):
    admin = apparel.admin
    (await bulk(admin, row("ent-a", sku="A"))).ok()
    variant = {"id": "var-a", "values": entries({"sku": "V"})}
    assert (await admin.post("/records/ent-a/variants", variant)).status == 201
    for match in ("id", "sku"):
        taken = await bulk(admin, row(sku="V"), match=match)
        assert [one[3] for one in failures(taken)] == [
            "Value 'V' for attribute 'sku' must be unique"
        ]
    gone = await admin.post("/records/bulk-delete", {"ids": ["ent-a"]})
    assert gone.ok()["deleted"] == 1
    assert [one.subject for one in await apparel.staged() if one.type == "variant.deleted"] == [
        "var-a"
    ]
    assert counts(await bulk(admin, row(sku="V"))) == {"created": 1}
