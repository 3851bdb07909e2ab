"""Change sets: proposed by programs, decided by people, applied once, whoever dies in between."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from tests.kit import identities
from tests.kit.sigma import Caller, error
from tests.kit.workspace import Workspace


@pytest.fixture
async def sigma(stack: Any) -> Workspace:
    """Three records, and a role that may write prices and not see the cost."""
    sigma: Workspace = await stack.workspace(record_limit=2_000)
    await sigma.attribute("price", "number")
    await sigma.attribute("cost", "number")
    await sigma.schema("shirt", ["price", "cost"], variantEnabled=True)
    words = {"schema-shirt": {"attr-price": "write", "attr-cost": "hidden"}}
    await sigma.role("role-editor", words)
    for number in (1, 2, 3):
        values = {"price": number, "cost": number}
        await sigma.record("schema-shirt", values, id=f"ent-{number}")
    return sigma


def update(number: int, price: Any, *more: dict[str, Any]) -> dict[str, Any]:
    change = {"attribute": "price", "newValue": price, "confidence": 0.9, "reasoning": "Cheaper."}
    changes = [change, *more]
    return {"id": f"op-{number}", "type": "update", "entityId": f"ent-{number}", "changes": changes}


async def propose(caller: Caller, *operations: dict[str, Any], **more: Any) -> dict[str, Any]:
    source = {"type": "agent", "name": "pricing"}
    body = {"id": "cs-1", "title": "Prices", "source": source, "operations": list(operations)}
    return (await caller.post("/change-sets", body | more)).ok()


async def prices(sigma: Workspace) -> list[Any]:
    items = (await sigma.admin.get("/records")).ok()["items"]
    return [one["values"]["price"][0]["value"] for one in items]


async def test_a_key_proposes_and_people_decide(sigma: Workspace):
    key = await sigma.api_key(["read", "update-data", "delete-data"])
    made = await propose(key, update(1, 10), update(2, 20))
    assert made["status"] == "draft"
    assert made["operations"][0]["changes"] == [
        {
            "attribute": "price",
            "scope": {},
            "oldValue": 1,
            "newValue": 10,
            "currentValue": 1,
            "confidence": 0.9,
            "reasoning": "Cheaper.",
            "rating": None,
        }
    ]
    assert (await key.post("/change-sets/cs-1/submit")).ok()["status"] == "pending_approval"
    for action in ("approve", "reject", "apply", "operations/op-1/approve", "request-revision"):
        assert (await key.post(f"/change-sets/cs-1/{action}")).status == 403
    for action, body in (
        ("rate", {"attribute": "price", "rating": "good"}),
        ("annotate", {"attribute": "price", "text": "10", "comment": "Low."}),
    ):
        assert (await key.post(f"/change-sets/cs-1/operations/op-1/{action}", body)).status == 403
    editor = await sigma.user("role-editor")
    await editor.post("/change-sets/cs-1/operations/op-2/reject")
    approved = (await editor.post("/change-sets/cs-1/approve")).ok()
    assert [one["status"] for one in approved["operations"]] == ["approved", "rejected"]
    applied = (await editor.post("/change-sets/cs-1/apply", {})).ok()
    assert applied["status"] == "partially_applied"
    assert [one["status"] for one in applied["operations"]] == ["applied", "rejected"]
    assert await prices(sigma) == [10, 2, 3]
    assert (await editor.post("/change-sets/cs-1/apply", {})).outcome == error(
        409,
        "CONFLICT",
        "Change set 'cs-1' has the status 'partially_applied': expected 'approved'",
    )
    history = (await sigma.admin.get("/records/ent-1/audit")).ok()["items"]
    assert [one["changeSetId"] for one in history] == ["cs-1", None]
    stats = (await key.get("/change-sets/stats")).ok()
    assert stats["partiallyApplied"] == 1 and sum(stats.values()) == 1


async def test_operations_are_based_on_those_before_them(sigma: Workspace):
    """What one of them creates, changes or deletes is so for the next, also where it is shown."""

    def variant(kind: str, variant_id: str, *prices: int) -> dict[str, Any]:
        changes = [{"attribute": "price", "newValue": price} for price in prices]
        about = {"id": f"{kind}-{variant_id}", "type": kind, "changes": changes}
        return about | {"entityId": "ent-1", "variantId": variant_id}

    again = update(1, 11) | {"id": "op-again"}
    new = {"id": "op-new", "type": "create", "schemaId": "schema-shirt", "entityId": "ent-9"}
    later = {"id": "op-later", "type": "update", "entityId": "ent-9"}
    price = [{"attribute": "price", "newValue": 9}]
    made = await propose(
        sigma.admin,
        variant("create", "var-1", 5),
        variant("update", "var-1", 6),
        update(1, 10),
        again,
        new | {"changes": price},
        later | {"changes": [{"attribute": "price", "newValue": 90}]},
        {"id": "op-end", "type": "delete", "entityId": "ent-2"},
        new | {"id": "op-anew", "entityId": "ent-2", "changes": price},
    )
    values = [
        (change["oldValue"], change["currentValue"], change["newValue"])
        for one in made["operations"]
        for change in one["changes"]
    ]
    told = [(5, 5, 6), (1, 1, 10), (10, 10, 11), (None, None, 9), (9, 9, 90), (None, None, 9)]
    assert values[1:] == told
    page = (await sigma.admin.get("/change-sets/cs-1/operations?offset=3&limit=1")).ok()["items"]
    assert page[0]["changes"][0]["currentValue"] == 10
    for action in ("submit", "approve"):
        (await sigma.admin.post(f"/change-sets/cs-1/{action}")).ok()
    applied = (await sigma.admin.post("/change-sets/cs-1/apply", {})).ok()["operations"]
    assert [one["changes"][0]["currentValue"] for one in (applied[1], *applied[3:6])] == [
        6,
        11,
        90,
        90,
    ]
    assert await prices(sigma) == [11, 3, 90, 9]
    end = {"id": "op-end", "type": "delete", "entityId": "ent-3"}
    refused = await sigma.admin.post("/change-sets", {"operations": [end, update(3, 1)]})
    assert refused.outcome == error(404, "NOT_FOUND", "Operation 'op-3': Entity 'ent-3' not found")
    gone = variant("delete", "var-1") | {"id": "op-end"}
    refused = await sigma.admin.post(
        "/change-sets", {"operations": [gone, variant("update", "var-1", 7)]}
    )
    assert refused.body["message"] == "Operation 'update-var-1': Variant 'var-1' not found"


async def test_an_operation_whose_base_was_rejected_is_refused(sigma: Workspace):
    await propose(sigma.admin, update(1, 10), update(1, 11) | {"id": "op-again"})
    await sigma.admin.post("/change-sets/cs-1/submit")
    await sigma.admin.post("/change-sets/cs-1/operations/op-1/reject")
    shown = (await sigma.admin.post("/change-sets/cs-1/approve")).ok()["operations"][1]
    assert shown["changes"][0]["currentValue"] == 1
    refused = await sigma.admin.post("/change-sets/cs-1/apply", {})
    assert refused.outcome == error(
        409,
        "CONFLICT",
        "Operation 'op-again': Attribute 'price' has changed since it was proposed: expected 10,"
        " got 1",
    )


async def test_a_misspelt_field_of_a_proposal_is_refused(sigma: Workspace):
    """A change without its scope would be one of the value of everywhere."""
    body = {"title": "Prices", "operations": [update(1, 10, {"attribute": "price", "scop": {}})]}
    answer = await sigma.admin.post("/change-sets", body)
    assert answer.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'operations.0.changes.1.scop' is not known: expected one of attribute, scope,"
        " oldValue, newValue, confidence, reasoning",
    )
    body["operations"] = [{**update(1, 10), "recordId": "ent-2"}]
    answer = await sigma.admin.post("/change-sets", body)
    assert answer.body["message"] == (
        "Field 'operations.0.recordId' is not known: expected one of id, type, schemaId, entityId,"
        " variantId, parentId, changes"
    )
    await propose(sigma.admin, update(1, 10))
    read = (await sigma.admin.get("/change-sets/cs-1")).ok()
    (await sigma.admin.put("/change-sets/cs-1", read)).ok()


async def test_a_change_set_can_be_revised_with_what_reviewers_said(sigma: Workspace):
    author = await sigma.user("role-editor")
    await propose(author, update(1, 10), update(2, 20))
    changed = (await author.put("/change-sets/cs-1", {"title": "Better"})).ok()
    assert (changed["title"], len(changed["operations"])) == ("Better", 2)
    await author.post("/change-sets/cs-1/submit")
    assert (await author.put("/change-sets/cs-1", {"title": "x"})).status == 409
    admin = sigma.admin
    path = "/change-sets/cs-1/operations/op-1"
    (await admin.post(f"{path}/rate", {"attribute": "price", "rating": "bad"})).ok()
    annotation = {"attribute": "price", "text": "10", "start": 0, "end": 2, "comment": "Low."}
    noted = (await admin.post(f"{path}/annotate", annotation)).ok()
    (await admin.post("/change-sets/cs-1/operations/op-2/reject")).ok()
    (await author.post("/change-sets/cs-1/messages", {"text": "Why?"})).ok()
    sent_back = (await admin.post("/change-sets/cs-1/request-revision", {"text": "Again"})).ok()
    assert sent_back["status"] == "revision_requested"
    feedback = sent_back["feedback"]
    assert feedback["rejected"] == [{"operationId": "op-2"}]
    assert feedback["ratings"] == [{"operationId": "op-1", "attribute": "price", "rating": "bad"}]
    assert [one["comment"] for one in feedback["annotations"]] == ["Low."]
    assert [one["text"] for one in feedback["messages"]] == ["Why?", "Again"]
    assert (await author.get("/change-sets/cs-1/feedback")).ok() == feedback
    revised = (await author.put("/change-sets/cs-1", {"operations": [update(1, 11)]})).ok()
    assert [one["changes"][0]["rating"] for one in revised["operations"]] == ["bad"]
    other = await sigma.user("role-editor")
    for refused in (
        await other.put("/change-sets/cs-1", {"title": "x"}),
        await other.post("/change-sets/cs-1/submit"),
        await other.delete("/change-sets/cs-1"),
        await author.delete(f"/change-sets/cs-1/annotations/{noted['id']}"),
    ):
        assert refused.status == 403
    (await admin.delete(f"/change-sets/cs-1/annotations/{noted['id']}")).ok()
    (await author.delete("/change-sets/cs-1")).ok()
    assert (await author.get("/change-sets/cs-1")).status == 404
    assert sum((await author.get("/change-sets/stats")).ok().values()) == 0


async def test_what_is_hidden_is_neither_proposed_nor_shown(sigma: Workspace):
    cost = {"attribute": "cost", "newValue": 5}
    await propose(sigma.admin, update(1, 10, cost))
    editor = await sigma.user("role-editor")
    refused = await editor.post(
        "/change-sets", {"operations": [update(1, 10, cost | {"oldValue": 1})]}
    )
    assert refused.outcome == error(403, "PERMISSION_DENIED", "Operation 'op-1': Permission denied")
    seen = (await editor.get("/change-sets/cs-1")).ok()["operations"][0]["changes"]
    assert [one["attribute"] for one in seen] == ["price"]
    page = (await editor.get("/change-sets/cs-1/operations")).ok()["items"]
    assert [one["attribute"] for one in page[0]["changes"]] == ["price"]
    (await sigma.admin.post("/change-sets/cs-1/submit")).ok()
    note = {"attribute": "cost", "text": "5", "comment": "Secret."}
    path = "/change-sets/cs-1/operations/op-1"
    (await sigma.admin.post(f"{path}/annotate", note)).ok()
    (await sigma.admin.post(f"{path}/rate", {"attribute": "cost", "rating": "bad"})).ok()
    feedback = (await editor.get("/change-sets/cs-1/feedback")).ok()
    assert (feedback["annotations"], feedback["ratings"]) == ([], [])
    assert (await editor.get("/change-sets/cs-1")).ok()["annotations"] == []
    for action in ("approve", "reject", "operations/op-1/approve"):
        assert (await editor.post(f"/change-sets/cs-1/{action}")).status == 403
    assert (await editor.post(f"{path}/rate", {"attribute": "cost", "rating": "bad"})).status == 400


async def test_what_has_changed_meanwhile_is_seen_and_not_overwritten(sigma: Workspace):
    await propose(sigma.admin, update(1, 10), update(2, 20))
    await sigma.admin.post("/change-sets/cs-1/submit")
    await sigma.admin.post("/change-sets/cs-1/approve")
    (await sigma.admin.patch("/records/ent-2/values/price", {"value": 7})).ok()
    shown = (await sigma.admin.get("/change-sets/cs-1")).ok()["operations"][1]["changes"][0]
    assert (shown["oldValue"], shown["currentValue"], shown["newValue"]) == (2, 7, 20)
    refused = await sigma.admin.post("/change-sets/cs-1/apply", {})
    assert refused.outcome == error(
        409,
        "CONFLICT",
        "Operation 'op-2': Attribute 'price' has changed since it was proposed: expected 2, got 7",
    )
    assert await prices(sigma) == [1, 7, 3]
    assert (await sigma.admin.get("/change-sets/cs-1")).ok()["status"] == "approved"
    tried = await sigma.admin.post(
        "/change-sets/cs-1/apply", {"force": True}, headers={"Prefer": "dry-run"}
    )
    assert tried.ok()["status"] == "applied"
    assert await prices(sigma) == [1, 7, 3]
    (await sigma.admin.post("/change-sets/cs-1/apply", {"force": True})).ok()
    assert await prices(sigma) == [10, 20, 3]


@pytest.mark.slow
async def test_an_application_takes_effect_once_when_a_service_dies(stack: Any, sigma: Workspace):
    """The answer of records_service is lost, or workflow_service dies before it has heard it."""
    for number, victim in enumerate(("workflow_service", "records_service")):
        change_set = f"cs-{number}"
        operations = [update(1, 100 + number), update(2, 200 + number)]
        await propose(sigma.admin, *operations, id=change_set)
        path = f"/change-sets/{change_set}"
        await sigma.admin.post(f"{path}/submit")
        await sigma.admin.post(f"{path}/approve")
        applying = asyncio.create_task(sigma.admin.post(f"{path}/apply", {}))
        await asyncio.sleep(0.01 * number)
        await stack.kill(victim)
        await applying
        await stack.start(victim)
        again = await sigma.admin.post(f"{path}/apply", {})
        assert again.status in (200, 409), again.outcome
        assert (await sigma.admin.get(path)).ok()["status"] == "applied"
        assert await prices(sigma) == [100 + number, 200 + number, 3]
        for record in ("ent-1", "ent-2"):
            history = (await sigma.admin.get(f"/records/{record}/audit")).ok()["items"]
            assert [one["changeSetId"] for one in history].count(change_set) == 1


async def test_what_was_applied_unheard_of_is_not_decided_anew(sigma: Workspace):
    """As after a crash between the application and the note of it."""
    await propose(sigma.admin, update(1, 10), update(2, 20))
    await sigma.admin.post("/change-sets/cs-1/submit")
    await sigma.admin.post("/change-sets/cs-1/approve")
    changes = [{"attribute": "attr-price", "oldValue": 1, "newValue": 10}]
    operation = {"id": "op-1", "type": "update", "entityId": "ent-1", "changes": changes}
    sent = orjson.dumps([operation]).decode()
    body = {"changeSetId": "cs-1", "attempt": 0, "operations": sent}
    await ask_records_service(sigma, "apply", body)
    refused = await sigma.admin.post("/change-sets/cs-1/reject")
    assert refused.status == 409
    assert (await sigma.admin.get("/change-sets/cs-1")).ok()["status"] == "partially_applied"


async def test_a_withdrawal_nobody_stored_does_not_keep_it_from_being_applied(sigma: Workspace):
    """As after a crash while an approved change set was decided anew."""
    await propose(sigma.admin, update(1, 10))
    await sigma.admin.post("/change-sets/cs-1/submit")
    await sigma.admin.post("/change-sets/cs-1/approve")
    await ask_records_service(sigma, "withdraw", {"changeSetId": "cs-1", "attempt": 0})
    # Also without a body.
    assert (await sigma.admin.post("/change-sets/cs-1/apply")).ok()["status"] == "applied"
    assert await prices(sigma) == [10, 2, 3]


async def ask_records_service(sigma: Workspace, what: str, body: dict[str, Any]) -> None:
    """As workflow_service does."""
    headers = sigma.stack.keyring.headers(identities.admin(sigma.id))
    url = f"{sigma.stack['records_service'].url}/internal/proposals/{what}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers=headers) as answer,
    ):
        assert answer.status == 200


async def test_decisions_can_be_changed_until_they_are_applied(sigma: Workspace):
    await propose(sigma.admin, update(1, 10), update(2, 20))
    await sigma.admin.post("/change-sets/cs-1/submit")
    await sigma.admin.post("/change-sets/cs-1/approve")
    rejected = (await sigma.admin.post("/change-sets/cs-1/operations/op-1/reject")).ok()
    assert rejected["status"] == "approved"
    assert (await sigma.admin.post("/change-sets/cs-1/reject")).ok()["status"] == "rejected"
    again = (await sigma.admin.post("/change-sets/cs-1/operations/op-2/approve")).ok()
    assert again["status"] == "approved"
    assert (await sigma.admin.post("/change-sets/cs-1/apply", {})).ok()["status"] == (
        "partially_applied"
    )
    assert await prices(sigma) == [1, 20, 3]


async def test_two_who_apply_at_once_apply_once(sigma: Workspace):
    await propose(sigma.admin, update(1, 10))
    await sigma.admin.post("/change-sets/cs-1/submit")
    await sigma.admin.post("/change-sets/cs-1/approve")
    answers = await asyncio.gather(
        *(sigma.admin.post("/change-sets/cs-1/apply", {}) for _ in range(4))
    )
    assert sorted(one.status for one in answers) == [200, 409, 409, 409]
    assert (await sigma.admin.get("/records/ent-1")).ok()["version"] == 2


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"type": "update"}, "Field 'entityId' is required for this operation"),
        ({"type": "create"}, "Field 'schemaId' is required for a record to create"),
        (
            {"type": "update", "entityId": "ent-1"},
            "Field 'changes' of an update expects at least one change",
        ),
        (
            {"type": "delete", "entityId": "ent-1", "changes": [{"attribute": "a", "newValue": 1}]},
            "Field 'changes' of a deletion must be empty, got 1",
        ),
        (
            update(1, 5, {"attribute": "attr-price", "newValue": 6}),
            "Operation 'op-1' changes attribute 'price' twice in the same scope",
        ),
        (
            update(1, 5, {"attribute": "x", "newValue": 6}),
            "Operation 'op-1': Unknown attribute 'x'",
        ),
    ],
)
async def test_a_proposal_that_cannot_be_is_told_what_is_wrong(
    sigma: Workspace, operation: dict[str, Any], message: str
):
    refused = await sigma.admin.post("/change-sets", {"operations": [operation]})
    assert refused.outcome == error(400, "VALIDATION_ERROR", message)


async def test_lists_are_filtered_and_paged(sigma: Workspace):
    for number in range(5):
        operations = [update(1, n) | {"id": f"op-{n}"} for n in range(10 + number)]
        kind = {"type": "import"} if number % 2 else {"type": "agent"}
        await propose(sigma.admin, *operations, id=f"cs-{number}", source=kind)
    ids = [one["id"] for one in (await sigma.admin.get("/change-sets?limit=3")).ok()["items"]]
    assert ids == ["cs-0", "cs-1", "cs-2"]
    for query, total in (
        ("sourceType=import", 2),
        ("entityId=ent-1", 5),
        ("entityId=ent-2", 0),
        ("status=approved", 0),
        ("status=draft&sourceType=agent", 3),
    ):
        assert (await sigma.admin.get(f"/change-sets?{query}")).ok()["total"] == total
    first = (await sigma.admin.get("/change-sets/cs-4/operations?limit=8")).ok()
    rest = (
        await sigma.admin.get(f"/change-sets/cs-4/operations?cursor={first['nextCursor']}")
    ).ok()
    seen = [one["id"] for one in (*first["items"], *rest["items"])]
    assert seen == [f"op-{n}" for n in range(14)]
    assert first["total"] == 14
