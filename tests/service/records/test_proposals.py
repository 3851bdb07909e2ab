"""Proposed changes: what they are about for whom, and all of them applied, once, or none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from records_service.proposals import inspecting
from tests.kit.proposals import apply, change, inspect, update
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error

pytestmark = pytest.mark.asyncio(loop_scope="module")

DA = {"dim-language": "seg-da"}


@pytest_asyncio.fixture(loop_scope="module")
async def shop(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Two records and a variant."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("price", "number")
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.schema("shirt", ["name", "price", "sku"], variantEnabled=True)
    for number in (1, 2):
        values = {"price": number, "sku": f"S-{number}"}
        await workspace.record("schema-shirt", values, id=f"ent-{number}")
    path = "/records/ent-1/variants"
    (await workspace.admin.post(path, {"id": "var-1", "values": {}})).ok()
    return workspace


async def prices(shop: RecordsWorkspace) -> dict[str, Any]:
    items = (await shop.admin.get("/records")).ok()["items"]
    return {one["id"]: one["values"]["price"][0]["value"] for one in items}


async def test_all_kinds_of_operations_are_one_transaction_with_their_effects(
    shop: RecordsWorkspace,
):
    named = len(await shop.staged())
    answer = await apply(
        shop.admin,
        update(1, change("price", 1, 10), change("name", None, "Skjorte", **DA)),
        {"id": "op-new", "type": "create", "schemaId": "schema-shirt", "entityId": "ent-3"}
        | {"changes": [change("price", None, 3), change("name", None, "Shirt")]},
        {"id": "op-var", "type": "create", "entityId": "ent-3", "variantId": "var-3"}
        | {"changes": [change("price", None, 4)]},
        {"id": "op-of", "type": "update", "entityId": "ent-1", "variantId": "var-1"}
        | {"changes": [change("price", None, 11)]},
        {"id": "op-gone", "type": "delete", "entityId": "ent-2"},
        update(3, change("price", 3, 30)),
    )
    assert answer.ok()["results"] == [
        {"id": "op-1", "entityId": "ent-1", "variantId": None, "version": 2},
        {"id": "op-new", "entityId": "ent-3", "variantId": None, "version": 1},
        {"id": "op-var", "entityId": "ent-3", "variantId": "var-3", "version": 1},
        {"id": "op-of", "entityId": "ent-1", "variantId": "var-1", "version": 2},
        {"id": "op-gone", "entityId": "ent-2", "variantId": None, "version": None},
        {"id": "op-3", "entityId": "ent-3", "variantId": None, "version": 2},
    ]
    assert await prices(shop) == {"ent-1": 10, "ent-3": 30}
    record = (await shop.admin.get("/records/ent-1")).ok()
    assert record["values"]["name"] == [{"scope": DA, "value": "Skjorte"}]
    heard = [(one.subject, one.type) for one in (await shop.staged())[named:]]
    assert sorted(heard, key=lambda one: one[0]) == [
        ("ent-1", "entity.updated"),
        ("ent-2", "entity.deleted"),
        ("ent-3", "entity.created"),
        ("ent-3", "entity.updated"),
        ("var-1", "variant.updated"),
        ("var-3", "variant.created"),
    ]
    history = (await shop.admin.get("/audit")).ok()["items"]
    assert [one["changeSetId"] for one in history] == ["cs-1"] * 6 + [None] * 3


async def test_an_attempt_has_its_effect_once_also_when_two_make_it_at_the_same_time(
    shop: RecordsWorkspace,
):
    made = update(1, change("price", 1, 10))
    answers = await asyncio.gather(*(apply(shop.admin, made) for _ in range(4)))
    assert [one.ok() for one in answers] == [answers[0].ok()] * 4
    assert (await shop.admin.get("/records/ent-1")).ok()["version"] == 2
    # What was changed since is not changed back.
    (await shop.admin.patch("/records/ent-1/values/price", {"value": 12})).ok()
    assert (await apply(shop.admin, made)).ok() == answers[0].ok()
    assert (await prices(shop))["ent-1"] == 12


async def test_a_withdrawn_attempt_is_never_made(shop: RecordsWorkspace):
    asked = {"changeSetId": "cs-1", "attempt": 0}
    assert (await shop.admin.post("/internal/proposals/withdraw", asked)).ok() == {"results": None}
    made = update(1, change("price", 1, 10))
    assert (await apply(shop.admin, made)).ok() == {"results": None}
    assert await prices(shop) == {"ent-1": 1, "ent-2": 2}
    done = (await apply(shop.admin, made, attempt=1)).ok()
    asked["attempt"] = 1
    assert (await shop.admin.post("/internal/proposals/withdraw", asked)).ok() == done


@pytest.mark.parametrize(
    ("bad", "refusal"),
    [
        (
            update(2, change("price", 5, 6)),
            (
                409,
                "CONFLICT",
                (
                    "Operation 'op-2': Attribute 'price' has changed since it was proposed:"
                    " expected 5, got 2"
                ),
            ),
        ),
        (
            update(2, change("sku", "S-2", "S-1")),
            (409, "CONFLICT", "Operation 'op-2': Value 'S-1' for attribute 'sku' must be unique"),
        ),
        (
            update(2, change("weight", None, 1)),
            (400, "VALIDATION_ERROR", "Operation 'op-2': Unknown attribute 'weight'"),
        ),
        (
            update(2, change("price", 2, "much")),
            (
                400,
                "VALIDATION_ERROR",
                "Operation 'op-2': Attribute 'price' expects type 'number', got 'string'",
            ),
        ),
        (update(9), (404, "NOT_FOUND", "Operation 'op-9': Entity 'ent-9' not found")),
        (
            {"id": "op-x", "type": "delete", "entityId": "ent-9"},
            (404, "NOT_FOUND", "Operation 'op-x': Entity 'ent-9' not found"),
        ),
        (
            {"id": "op-x", "type": "create", "entityId": "ent-1", "schemaId": "schema-shirt"},
            (409, "CONFLICT", "Operation 'op-x': Entity with id 'ent-1' already exists"),
        ),
        (
            {"id": "op-x", "type": "update", "entityId": "ent-1", "variantId": "var-9"},
            (404, "NOT_FOUND", "Operation 'op-x': Variant 'var-9' not found"),
        ),
    ],
)
async def test_one_operation_that_cannot_be_carried_out_leaves_nothing_of_the_others(
    shop: RecordsWorkspace, bad: dict[str, Any], refusal: tuple[int, str, str]
):
    named = len(await shop.staged())
    answer = await apply(shop.admin, update(1, change("price", 1, 10)), bad)
    assert answer.outcome == error(*refusal)
    assert await prices(shop) == {"ent-1": 1, "ent-2": 2}
    assert len(await shop.staged()) == named
    # Nothing remembers the attempt either.
    good = update(1, change("price", 1, 10))
    (await apply(shop.admin, good)).ok()


async def test_force_overwrites_what_has_changed_meanwhile(shop: RecordsWorkspace):
    (await apply(shop.admin, update(1, change("price", 7, 10)), force=True)).ok()
    assert (await prices(shop))["ent-1"] == 10


async def test_null_removes_the_value_of_one_scope(shop: RecordsWorkspace):
    (await apply(shop.admin, update(1, change("name", None, "Skjorte", **DA)))).ok()
    made = update(1, change("name", "Skjorte", None, **DA), change("name", None, "Shirt"))
    (await apply(shop.admin, made, attempt=1)).ok()
    record = (await shop.admin.get("/records/ent-1")).ok()
    assert record["values"]["name"] == [{"scope": {}, "value": "Shirt"}]


async def test_a_role_applies_what_it_may_write_and_sees_what_it_may_read(shop: RecordsWorkspace):
    words = {"schema-shirt": {"*": "read", "attr-price": "write", "attr-sku": "hidden"}}
    editor = await shop.user_with_role(words)
    (await apply(editor, update(1, change("price", 1, 10)))).ok()
    refused = await apply(editor, update(1, change("name", None, "x")), attempt=1)
    assert refused.outcome == error(403, "PERMISSION_DENIED", "Operation 'op-1': Permission denied")
    operations = [update(1, change("price", 1, 2), change("sku", "S-1", "S-3"))]
    shown = (await inspect(editor, "read", *operations)).ok()
    seen = {"attributeId": "attr-price", "attribute": "price", "scope": {}, "value": 10}
    assert shown["operations"] == [
        {"id": "op-1", "exists": True, "schemaId": "schema-shirt", "changes": [seen, None]}
    ]
    for purpose in ("propose", "decide"):
        assert (await inspect(editor, purpose, *operations)).status == 403
    named = update(1, change("name", None, "x"))
    (await inspect(editor, "propose", named)).ok()
    assert (await inspect(editor, "decide", named)).status == 403
    # Rights come first: what has changed meanwhile is told to nobody who may not see it.
    for stale in (
        update(1, change("sku", "S-9", "S-3")),
        update(1, change("sku", "S-9", "S-3"), variantId="var-1"),
    ):
        refused = await apply(editor, stale, attempt=2)
        assert refused.outcome == error(
            403, "PERMISSION_DENIED", "Operation 'op-1': Permission denied"
        )


async def test_what_a_state_hides_stays_hidden_when_the_record_is_gone(
    workspace: RecordsWorkspace,
):
    await workspace.attribute("cost", "number")
    await workspace.workflow("flow", {"open": {}, "closed": {"hidden": ["cost"]}})
    await workspace.schema("x", ["cost"], workflow="wf-flow")
    await workspace.record("schema-x", {"cost": 4711}, id="ent-1")
    moved = {"toStateId": "state-closed"}
    (await workspace.admin.post("/records/ent-1/transition", moved)).ok()
    reader = await workspace.user_with_role({"schema-x": {"attr-cost": "write"}})
    proposed = update(1, change("cost", 4711, 1), schemaId="schema-x")
    for _ in range(2):
        shown = (await inspect(reader, "read", proposed)).ok()
        assert shown["operations"][0]["changes"] == [None]
        await workspace.admin.delete("/records/ent-1")


async def test_values_that_do_not_fit_into_an_answer_come_with_the_next(
    shop: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inspecting, "PAGE_BYTES_MAX", 2)
    proposed = [update(1, change("price", 1, n)) | {"id": f"op-{n}"} for n in range(5)]
    shown = (await inspect(shop.admin, "read", *proposed)).ok()["operations"]
    assert [one["id"] for one in shown] == ["op-0", "op-1"]


async def test_a_proposal_names_what_there_is(shop: RecordsWorkspace):
    for operation, message in (
        (update(1, change("weight", None, 1)), "Operation 'op-1': Unknown attribute 'weight'"),
        (update(9), "Operation 'op-9': Entity 'ent-9' not found"),
        (
            update(1, change("name", None, "x", language="klingon")),
            (
                "Operation 'op-1': Unknown segment 'klingon' of dimension 'dim-language':"
                " expected seg-en, seg-da"
            ),
        ),
    ):
        assert (await inspect(shop.admin, "propose", operation)).body["message"] == message
    # An earlier operation of the same set creates it.
    later = update(9, change("price", None, 1), schemaId="schema-shirt")
    told = (await inspect(shop.admin, "propose", later)).ok()["operations"][0]
    assert (told["exists"], told["changes"][0]["value"]) == (False, None)


async def test_an_api_key_applies_nothing(shop: RecordsWorkspace):
    assert (await apply(shop.api_key(), update(1, change("price", 1, 2)))).status == 403
