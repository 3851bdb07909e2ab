"""The operations of a change set are a sequence: each meets what those before it leave."""

from __future__ import annotations

import random
from typing import Any

import pytest
import pytest_asyncio

from tests.kit import identities
from tests.kit.proposals import apply, change, update
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def filled(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Three records with a unique, a required and a relating attribute, one with variants."""
    await workspace.attribute("price", "number")
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("need", validation={"required": True})
    await workspace.attribute("kin", "relation")
    names = ["price", "sku", "need", "kin"]
    await workspace.schema("shirt", names, variantEnabled=True)
    for number in (1, 2, 3):
        values = {"price": number, "sku": f"S-{number}", "need": "x"}
        await workspace.record("schema-shirt", values, id=f"ent-{number}")
    for variant_id, parent_id in (("var-1", "ent-1"), ("var-2", "var-1")):
        body = {"id": variant_id, "parentId": parent_id, "values": {}}
        (await workspace.admin.post("/records/ent-1/variants", body)).ok()
    return workspace


@pytest_asyncio.fixture(loop_scope="module")
async def shop(workspace: RecordsWorkspace) -> RecordsWorkspace:
    return await filled(workspace)


def create(record_id: str, *changes: dict[str, Any]) -> dict[str, Any]:
    operation = {"id": f"new-{record_id}", "type": "create", "schemaId": "schema-shirt"}
    return {**operation, "entityId": record_id, "changes": list(changes)}


def delete(record_id: str, **more: Any) -> dict[str, Any]:
    return {"id": f"end-{record_id}", "type": "delete", "entityId": record_id, **more}


def of_variant(kind: str, variant_id: str, *changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    operation = {"id": f"{kind}-{variant_id}", "type": kind, "entityId": "ent-1"}
    return {**operation, "variantId": variant_id, "changes": list(changes), **more}


async def stored(shop: RecordsWorkspace) -> dict[str, Any]:
    """What there is: the values of all records and variants."""
    found: dict[str, Any] = {}
    for path in ("/records", "/variants"):
        for one in (await shop.admin.get(path)).ok()["items"]:
            values = {name: each[0]["value"] for name, each in one["values"].items()}
            found[one["id"]] = {**values, "below": one.get("parentId")}
    return found


async def test_operations_meet_what_those_before_them_leave(shop: RecordsWorkspace):
    operations = [
        create("ent-9", change("price", None, 9)),
        of_variant("create", "var-9", change("price", None, 1), entityId="ent-9"),
        of_variant("update", "var-9", change("price", 1, 2), entityId="ent-9"),
        update(9, change("price", 9, 90), change("kin", None, "ent-8")) | {"id": "op-kin"},
        of_variant("create", "var-8", entityId="ent-9"),
        of_variant("delete", "var-8", entityId="ent-9"),
        update(2, change("price", 2, 20)),
        delete("ent-2"),
        create("ent-2", change("sku", None, "S-2"), change("price", None, 22)),
        update(2, change("price", 22, 23)) | {"id": "op-again"},
        create("ent-7"),
        delete("ent-7"),
    ]
    operations.insert(3, create("ent-8"))
    before, heard = await stored(shop), len(await shop.staged())
    tried = await apply(shop.admin, *operations, headers={"Prefer": "dry-run"})
    assert (await stored(shop), len(await shop.staged())) == (before, heard)
    done = (await apply(shop.admin, *operations)).ok()
    assert tried.ok() == done
    versions = [one["version"] for one in done["results"]]
    assert versions == [1, 1, 2, 1, 2, 1, None, 2, None, 4, 5, 1, None]
    now = await stored(shop)
    assert now["ent-9"]["price"] == 90 and now["ent-9"]["kin"] == "ent-8"
    assert now["var-9"]["price"] == 2 and "var-8" not in now
    assert (now["ent-2"]["price"], now["ent-2"]["sku"]) == (23, "S-2")
    assert "ent-7" not in now


async def test_updates_of_different_values_of_one_record_are_one_version(shop: RecordsWorkspace):
    heard = len(await shop.staged())
    done = await apply(
        shop.admin,
        update(1, change("price", 1, 10)),
        update(2, change("price", 2, 20)),
        update(1, change("need", "x", "y")) | {"id": "op-need"},
        of_variant("update", "var-1", change("price", None, 5)),
        of_variant("update", "var-1", change("need", None, "z")) | {"id": "op-deep"},
        update(1, change("price", 10, 11)) | {"id": "op-again"},
    )
    assert [one["version"] for one in done.ok()["results"]] == [2, 2, 2, 2, 2, 3]
    told = [(one.subject, one.data["version"]) for one in (await shop.staged())[heard:]]
    assert sorted(told) == [("ent-1", 2), ("ent-1", 3), ("ent-2", 2), ("var-1", 2)]
    history = (await shop.admin.get("/records/ent-1/audit?limit=2")).ok()["items"]
    assert [one["version"] for one in history] == [3, 2]


@pytest.mark.parametrize(
    ("second", "refusal"),
    [
        (change("need", "x", 5), (400, "VALIDATION_ERROR", "'need' expects type 'string'")),
        (change("sku", "S-1", "S-3"), (409, "CONFLICT", "Value 'S-3' for attribute 'sku' must be")),
        (change("need", "q", "r"), (409, "CONFLICT", "'need' has changed since it was proposed")),
    ],
)
async def test_of_operations_that_are_written_as_one_the_bad_one_is_named(
    shop: RecordsWorkspace, second: dict[str, Any], refusal: tuple[int, str, str]
):
    bad = update(1, second) | {"id": "op-bad"}
    good = update(1, change("kin", None, "ent-2")) | {"id": "op-kin"}
    refused = await apply(shop.admin, update(1, change("price", 1, 10)), bad, good)
    status, code, message = refusal
    assert (refused.status, refused.body["error"]) == (status, code)
    assert refused.body["message"].startswith("Operation 'op-bad': ")
    assert message in refused.body["message"]


async def test_a_deletion_makes_room_for_what_is_created_after_it_alone(shop: RecordsWorkspace):
    limited = shop.as_(identities.user(shop.id, "role-admin", record_limit=3))
    refused = await apply(limited, create("ent-4"), delete("ent-1"))
    assert refused.outcome == error(
        403, "LIMIT_EXCEEDED", "Operation 'new-ent-4': Entity limit of 3 reached"
    )
    (await apply(limited, delete("ent-1"), create("ent-4"))).ok()
    assert sorted(await stored(shop)) == ["ent-2", "ent-3", "ent-4"]


def some_operation(chance: random.Random, number: int) -> dict[str, Any]:
    """An operation on one of few records and variants, which may well be refused."""
    record = f"ent-{chance.randint(1, 5)}"
    change_of = chance.choice(
        [
            lambda: change("price", None, chance.randint(1, 9)),
            lambda: change("sku", None, f"S-{chance.randint(1, 6)}"),
            lambda: change("need", None, chance.choice(["y", None])),
            lambda: change("kin", None, f"ent-{chance.randint(1, 5)}"),
        ]
    )
    variant = {"variantId": f"var-{chance.randint(1, 3)}", "entityId": "ent-1"}
    kind, more = chance.choice(
        [("update", {})] * 5
        + [("create", {"schemaId": "schema-shirt"}), ("delete", {})]
        + [("update", variant)] * 3
        + [("create", variant | {"parentId": "ent-1"}), ("delete", variant)]
    )
    changes = [] if kind == "delete" else [change_of()]
    return {"id": f"op-{number}", "type": kind, "entityId": record, "changes": changes} | more


@pytest.mark.parametrize("seed", range(5))
async def test_a_set_does_what_its_operations_do_one_after_the_other(
    shop: RecordsWorkspace, other_workspace: RecordsWorkspace, seed: int
):
    chance = random.Random(seed)
    one_by_one = await filled(other_workspace)
    good: list[dict[str, Any]] = []
    bad = 0
    for number in range(40):
        one = some_operation(chance, number)
        alone = await apply(one_by_one.admin, one, attempt=number, force=True)
        if alone.status == 200:
            good.append(one)
            continue
        bad += 1
        refused = await apply(shop.admin, *good, one, force=True, headers={"Prefer": "dry-run"})
        assert refused.outcome == alone.outcome
    (await apply(shop.admin, *good, force=True)).ok()
    assert await stored(shop) == await stored(one_by_one)
    assert bad > 5 and len(good) > 5
