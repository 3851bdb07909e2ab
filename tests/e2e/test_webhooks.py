"""Webhooks: every event, signed, in order for each record, whoever fails or dies in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.kit.eventually import always, eventually
from tests.kit.receiver import Receiver, receiving
from tests.kit.sigma import Caller
from tests.kit.workspace import Workspace

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2Vj"
EVENTS = [
    *("entity.created", "entity.updated", "entity.deleted", "entity.transition"),
    *("variant.created", "variant.updated", "variant.deleted"),
]


@pytest.fixture
async def sigma(stack: Any) -> Workspace:
    sigma: Workspace = await stack.workspace(record_limit=2_000)
    await sigma.attribute("name")
    await sigma.attribute("cost", "number")
    await sigma.workflow()
    await sigma.schema("shirt", ["name", "cost"], "wf-lifecycle", variantEnabled=True)
    return sigma


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def hook(sigma: Workspace, url: str, caller: Caller | None = None, **more: Any):
    body = {"id": "wh-1", "name": "Shop", "url": url, "events": EVENTS, "secret": SECRET}
    return (await (caller or sigma.admin).post("/webhooks", body | more)).ok()


async def rename(sigma: Workspace, record: str, name: str) -> None:
    body = {"scope": {}, "value": name}
    (await sigma.admin.patch(f"/records/{record}/values/name", body)).ok()


async def deliveries(sigma: Workspace, webhook: str = "wh-1", query: str = ""):
    return (await sigma.admin.get(f"/webhooks/{webhook}/deliveries{query}")).ok()["items"]


async def due_now(sigma: Workspace, webhook: str = "wh-1", **columns: str) -> int:
    """What waits for its next attempt is due, as if the time had passed."""
    conn = await asyncpg.connect(sigma.stack.databases["workflow_service"])
    try:
        status = await conn.execute(
            """UPDATE webhook_deliveries SET due_at = now()
                WHERE workspace_id = $1 AND webhook_id = $2 AND status = 'pending'""",
            sigma.id,
            webhook,
        )
        await conn.execute("SELECT pg_notify('sigma_webhooks', $1)", f"{sigma.id} {webhook}")
    finally:
        await conn.close()
    return int(status.split()[1])


async def test_all_events_come_signed_and_in_order(sigma: Workspace, receiver: Receiver):
    made = await hook(sigma, f"{receiver.url}/shop")
    assert made["secret"] == "********c2Vj" and made["active"]
    await sigma.record("schema-shirt", {"name": "Ünïcode ☕ </"}, id="ent-1")
    await rename(sigma, "ent-1", "two")
    variant = {"id": "var-1", "values": {"name": [{"scope": {}, "value": "S"}]}}
    (await sigma.admin.post("/records/ent-1/variants", variant)).ok()
    body = {"scope": {}, "value": "M"}
    (await sigma.admin.patch("/records/ent-1/variants/var-1/values/name", body)).ok()
    (await sigma.admin.delete("/records/ent-1/variants/var-1")).ok()
    transition = {"toStateId": "state-review"}
    (await sigma.admin.post("/records/ent-1/transition", transition)).ok()
    (await sigma.admin.delete("/records/ent-1")).ok()
    got = await eventually(lambda: len(receiver.received) >= 7 and receiver.received)
    assert [one.json["event"] for one in got] == [
        *("entity.created", "entity.updated", "variant.created", "variant.updated"),
        *("variant.deleted", "entity.transition", "entity.deleted"),
    ]
    assert all(one.is_signed_with(SECRET) for one in got)
    assert not any(one.is_signed_with(SECRET + "x") for one in got)
    first = got[0].json
    assert set(first) == {"deliveryId", "event", "timestamp", "workspaceId", "data"}
    assert first["workspaceId"] == sigma.id
    assert first["deliveryId"] == got[0].headers["webhook-id"]
    assert {"entityId", "schemaId", "version", "changes"} <= set(first["data"])
    assert first["data"]["changes"][0]["newValue"] == "Ünïcode ☕ </"
    assert "Ünïcode ☕ </".encode() in got[0].body
    assert got[2].json["data"]["variantId"] == "var-1"
    assert got[5].json["data"]["toStateId"] == "state-review"
    listed = await eventually(lambda: succeeded(sigma, 7))
    assert [one["id"] for one in listed] == [one.json["deliveryId"] for one in reversed(got)]
    whole = (await sigma.admin.get(f"/webhooks/wh-1/deliveries/{listed[0]['id']}")).ok()
    assert whole["request"]["body"].encode() == got[-1].body
    assert whole["answer"] == {"status": 200, "body": "noted"}
    assert [one["status"] for one in whole["attempts"]] == [200]


async def succeeded(sigma: Workspace, count: int):
    found = await deliveries(sigma, query="?status=succeeded")
    return len(found) == count and found


async def test_a_failed_delivery_is_tried_four_times_and_holds_up_its_record_only(
    sigma: Workspace, receiver: Receiver
):
    await hook(sigma, f"{receiver.url}/shop")
    receiver.answers = lambda got: 500 if got.about[1:] == ("ent-1", 1) else 200
    await sigma.record("schema-shirt", {"name": "one"}, id="ent-1")
    await rename(sigma, "ent-1", "two")
    await sigma.record("schema-shirt", {"name": "other"}, id="ent-2")
    await rename(sigma, "ent-2", "other two")
    await eventually(lambda: len(receiver.received) == 3)
    await eventually(lambda: succeeded(sigma, 2))
    for tries in (2, 3, 4):
        waiting = await eventually(lambda tries=tries: attempted(sigma, tries - 1))
        assert waiting["attempts"][-1]["error"] == "The receiver answered 500"
        assert await due_now(sigma) == 2
        # After the last one, the next change may have come as well.
        await eventually(lambda tries=tries: len(of(receiver, "ent-1")) >= tries)
    # The first one is given up, and the next change of the record has its turn.
    await eventually(lambda: len(of(receiver, "ent-1")) == 5)
    got = of(receiver, "ent-1")
    assert len({one.body for one in got[:4]}) == 1
    assert len({one.headers["X-Sigma-Signature"] for one in got[:4]}) == 1
    assert [one.about[2] for one in got] == [1, 1, 1, 1, 2]
    assert all(one.is_signed_with(SECRET) for one in got)
    assert [one.about[2] for one in of(receiver, "ent-2")] == [1, 2]
    listed = await eventually(lambda: ended(sigma, 4))
    assert sorted(one["status"] for one in listed) == ["failed", *["succeeded"] * 3]


def of(receiver: Receiver, record: str):
    return [one for one in receiver.received if one.json["data"].get("entityId") == record]


async def attempted(sigma: Workspace, attempts: int):
    waiting = await deliveries(sigma, query="?status=pending")
    return next((one for one in waiting if len(one["attempts"]) == attempts), None)


async def ended(sigma: Workspace, count: int):
    found = await deliveries(sigma)
    return len(found) == count and all(one["status"] != "pending" for one in found) and found


async def test_a_receiver_that_hangs_delays_no_other(sigma: Workspace, receiver: Receiver):
    receiver.answers = lambda got: 60.0 if got.path == "/hangs" else 200
    for number in range(6):
        await hook(sigma, f"{receiver.url}/hangs", id=f"wh-hangs-{number}")
    await hook(sigma, f"{receiver.url}/works", id="wh-works")
    for number in range(40):
        await sigma.record("schema-shirt", {"name": "one"}, id=f"ent-{number}")
    await eventually(lambda: len(receiver.at("/works")) == 40)
    await eventually(lambda: len(receiver.at("/hangs")) > 3)


async def test_a_paused_webhook_gets_nothing_and_what_waits_is_dropped(
    sigma: Workspace, receiver: Receiver
):
    await hook(sigma, f"{receiver.url}/shop")
    receiver.answers = lambda _: 500
    await sigma.record("schema-shirt", {"name": "one"}, id="ent-1")
    await eventually(lambda: attempted(sigma, 1))
    (await sigma.admin.put("/webhooks/wh-1", {"active": False})).ok()
    await eventually(lambda: statuses(sigma, ["dropped"]))
    receiver.received.clear()
    receiver.answers = lambda _: 200
    until = (await sigma.admin.get("/changes")).ok()["next"]
    await rename(sigma, "ent-1", "two")
    # It is heard of from what the feed has when it is active again.
    assert (await sigma.admin.get(f"/changes?after={until}&wait=20")).ok()["items"]
    (await sigma.admin.put("/webhooks/wh-1", {"active": True})).ok()
    await rename(sigma, "ent-1", "three")
    await eventually(lambda: receiver.received)
    assert [one.about[2] for one in receiver.received] == [3]


async def statuses(sigma: Workspace, expected: list[str]) -> bool:
    return [one["status"] for one in await deliveries(sigma)] == expected


async def test_test_redeliver_and_replay(sigma: Workspace, receiver: Receiver):
    await hook(sigma, f"{receiver.url}/shop", active=False)
    made = (await sigma.admin.post("/webhooks/wh-1/test")).ok()
    assert (made["event"], made["status"]) == ("webhook.test", "pending")
    (tried,) = await eventually(lambda: receiver.received)
    assert (tried.json["event"], tried.json["deliveryId"]) == ("webhook.test", made["id"])
    (await sigma.admin.put("/webhooks/wh-1", {"active": True})).ok()
    before = (await sigma.record("schema-shirt", {"name": "0"}, id="ent-0"))["createdAt"]
    await sigma.record("schema-shirt", {"name": "one"}, id="ent-1")
    await rename(sigma, "ent-1", "two")
    await eventually(lambda: succeeded(sigma, 4))
    first, *_ = receiver.received[2:]
    path = f"/webhooks/wh-1/deliveries/{first.json['deliveryId']}/redeliver"
    assert (await sigma.admin.post(path)).ok()["status"] == "pending"
    await eventually(lambda: len(receiver.received) == 5)
    assert receiver.received[4].body == first.body
    receiver.received.clear()
    replayed = await sigma.admin.post("/webhooks/wh-1/replay", {"after": before})
    assert replayed.status == 202
    await rename(sigma, "ent-1", "three")
    await eventually(lambda: receiver.received and receiver.received[-1].about[2] == 3)
    assert [one.about[1:] for one in receiver.received if one.about[1] == "ent-1"] == [
        ("ent-1", 1),
        ("ent-1", 2),
        ("ent-1", 3),
    ]
    assert first.json["deliveryId"] not in {one.json["deliveryId"] for one in receiver.received}


async def test_a_payload_has_what_the_owner_may_see_at_that_time(
    sigma: Workspace, receiver: Receiver
):
    words = {"schema-shirt": {"attr-name": "read", "attr-cost": "hidden"}}
    await sigma.role("role-narrow", words)
    owner = await sigma.user("role-admin", user_id="user-owner")
    await hook(sigma, f"{receiver.url}/shop", owner)
    await sigma.record("schema-shirt", {"name": "one", "cost": 8_675_309}, id="ent-1")
    (before,) = await eventually(lambda: receiver.received)
    assert b"8675309" in before.body
    await sigma.stack.administer(
        "set-role", "--workspace", sigma.id, "--id", "user-owner", "--role", "role-narrow"
    )

    async def narrow() -> bool:
        receiver.received.clear()
        await sigma.record("schema-shirt", {"name": "one", "cost": 8_675_309})
        (got,) = await eventually(lambda: receiver.received)
        return b"cost" not in got.body and b"8675309" not in got.body

    # An identity that was lent before is used for some seconds.
    await eventually(narrow, within_s=60)


async def test_a_webhook_whose_owner_is_gone_is_paused(sigma: Workspace, receiver: Receiver):
    key = await sigma.api_key()
    await hook(sigma, f"{receiver.url}/shop", key)
    (found,) = (await sigma.admin.get("/api-keys")).ok()
    (await sigma.admin.delete(f"/api-keys/{found['id']}")).ok()

    async def paused() -> Any:
        await sigma.record("schema-shirt", {"name": "one"})
        webhook = (await sigma.admin.get("/webhooks/wh-1")).ok()
        return not webhook["active"] and webhook["pausedReason"]

    assert await eventually(paused, within_s=60) == (
        f"The API key '{found['id']}', for whom this runs, was deleted"
    )
    receiver.received.clear()
    (await sigma.admin.put("/webhooks/wh-1", {"active": True})).ok()
    await sigma.record("schema-shirt", {"name": "two"})
    await eventually(lambda: receiver.received)


async def test_after_a_kill_nothing_is_lost_and_each_record_is_in_order(
    sigma: Workspace, receiver: Receiver
):
    receiver.answers = lambda _: 0.02
    await hook(sigma, f"{receiver.url}/shop")
    worker = await sigma.stack.apart("workflow_service")
    records = [f"ent-{number}" for number in range(30)]
    for record in records:
        await sigma.record("schema-shirt", {"name": "1"}, id=record)
    rows = [
        {"id": record, "values": {"name": [{"scope": {}, "value": str(n)}]}}
        for n in range(2, 12)
        for record in records
    ]
    (await sigma.admin.post("/records/bulk", {"operations": rows})).ok()
    await eventually(lambda: len(receiver.received) > 60)
    worker.kill()
    successor = await sigma.stack.another("workflow_service", role="worker")
    await eventually(lambda: everything_came(receiver, records), within_s=60)
    assert successor.alive
    await always(lambda: everything_came(receiver, records), during_s=0.2)


def everything_came(receiver: Receiver, records: list[str]) -> bool:
    """Each version of each record, the first time in order; a repeat has the same id and body."""
    bodies: dict[str, bytes] = {}
    versions: dict[str, list[int]] = {record: [] for record in records}
    for got in receiver.received:
        delivery_id = got.json["deliveryId"]
        if delivery_id in bodies:
            assert bodies[delivery_id] == got.body
            continue
        bodies[delivery_id] = got.body
        versions[got.about[1]].append(got.about[2])
    for found in versions.values():
        assert found == sorted(set(found))
    return all(found == list(range(1, 12)) for found in versions.values())


async def test_after_a_rotation_both_secrets_sign_for_a_day(sigma: Workspace, receiver: Receiver):
    await hook(sigma, f"{receiver.url}/shop")
    new = (await sigma.admin.post("/webhooks/wh-1/rotate-secret", {})).ok()["secret"]
    await sigma.record("schema-shirt", {"name": "one"})
    (got,) = await eventually(lambda: receiver.received)
    assert got.is_signed_with(new) and got.has_standard(SECRET)
    await changed(sigma, "former_until = now() - interval '1 second'")
    await sigma.record("schema-shirt", {"name": "two"})
    _, got = await eventually(lambda: len(receiver.received) == 2 and receiver.received)
    assert got.is_signed_with(new) and not got.has_standard(SECRET)


async def test_a_receiver_that_fails_for_five_days_is_paused(sigma: Workspace, receiver: Receiver):
    await hook(sigma, f"{receiver.url}/shop")
    receiver.answers = lambda _: 503
    await sigma.record("schema-shirt", {"name": "one"})
    await eventually(lambda: attempted(sigma, 1))
    await changed(sigma, "failing_since = now() - interval '6 days'")
    await due_now(sigma)

    async def paused() -> Any:
        return (await sigma.admin.get("/webhooks/wh-1")).ok()["pausedReason"]

    assert await eventually(paused) == "No delivery succeeded for 5 days"
    await eventually(lambda: statuses(sigma, ["dropped"]))


async def changed(sigma: Workspace, what: str) -> None:
    """As if time had passed for the webhook."""
    conn = await asyncpg.connect(sigma.stack.databases["workflow_service"])
    try:
        await conn.execute(
            f"UPDATE webhooks SET {what} WHERE workspace_id = $1",
            sigma.id,
        )
        await conn.execute("SELECT pg_notify('sigma_webhooks', $1)", f"{sigma.id} wh-1")
    finally:
        await conn.close()


async def test_an_address_inside_is_refused_when_it_is_saved(sigma: Workspace):
    body = {"name": "Shop", "events": ["entity.created"]}
    for url in ("http://127.0.0.2/", "http://2130706434/", "http://[::ffff:10.0.0.1]/"):
        refused = await sigma.admin.post("/webhooks", body | {"url": url})
        assert refused.status == 400
        assert refused.body["message"].startswith("Field 'url' expects a public address: ")
    assert (await sigma.admin.post("/webhooks", body | {"url": "http://x.invalid/"})).status == 201


async def test_a_key_that_may_not_read_gets_nothing_by_a_webhook(
    sigma: Workspace, receiver: Receiver
):
    key = await sigma.api_key(["update-model"])
    body = {"name": "Shop", "url": f"{receiver.url}/shop", "events": EVENTS}
    refused = await key.post("/webhooks", body)
    assert refused.status == 400 and "permission 'read'" in refused.body["message"]
    reader = await sigma.api_key(["read", "update-model"])
    await hook(sigma, f"{receiver.url}/shop", reader)
    assert (await key.put("/webhooks/wh-1", {"name": "Mine"})).status == 400
    # It could not see a generated secret, so nobody would know it.
    refused = await key.post("/webhooks/wh-1/rotate-secret", {})
    assert refused.status == 400 and "Field 'secret' is required" in refused.body["message"]
    assert (
        await key.post("/webhooks/wh-1/rotate-secret", {"secret": "known to both sides"})
    ).status == 200
    # As one that was made before keys without `read` were refused.
    auth = await asyncpg.connect(sigma.stack.databases["auth_service"])
    try:
        await auth.execute(
            "UPDATE api_keys SET permissions = '{update-model}' WHERE workspace_id = $1", sigma.id
        )
    finally:
        await auth.close()

    async def paused() -> Any:
        await sigma.record("schema-shirt", {"name": "one"})
        return (await sigma.admin.get("/webhooks/wh-1")).ok()["pausedReason"]

    # An identity that was lent before is used for some seconds.
    reason = await eventually(paused, within_s=60)
    assert "for whom this runs, lacks the permission 'read'" in reason


async def test_tests_that_wait_are_bounded(sigma: Workspace, receiver: Receiver):
    receiver.answers = lambda _: 60.0
    await hook(sigma, f"{receiver.url}/hangs", active=False)
    answers = [await sigma.admin.post("/webhooks/wh-1/test") for _ in range(21)]
    assert [one.status for one in answers] == [200] * 20 + [409]
    assert answers[-1].body["message"] == "Webhook 'wh-1' has 20 tests that wait to be sent"


async def test_many_changes_of_a_record_that_fails_hold_up_no_other(
    sigma: Workspace, receiver: Receiver
):
    await hook(sigma, f"{receiver.url}/shop")
    receiver.answers = lambda got: 500 if got.about[1] == "ent-1" else 200
    await sigma.record("schema-shirt", {"name": "0"}, id="ent-1")
    rows = [
        {"id": "ent-1", "values": {"name": [{"scope": {}, "value": str(number)}]}}
        for number in range(1_000)
    ]
    (await sigma.admin.post("/records/bulk", {"operations": rows})).ok()
    await sigma.record("schema-shirt", {"name": "other"}, id="ent-2")
    await eventually(lambda: of(receiver, "ent-2"), within_s=60)
