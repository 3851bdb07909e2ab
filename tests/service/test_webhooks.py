"""How webhooks are saved, what readers see of their secrets, and what is kept of deliveries."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.direct import DirectServices, DirectWorkspace
from tests.kit.made_delivery import make_delivery
from tests.kit.sigma import error
from workflow_service.deliveries import store
from workflow_service.dispatch.keeping import remove_old
from workflow_service.secrets.vault import VAULT, Place

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2Vj"
HOOK: dict[str, Any] = {
    "id": "wh-1",
    "name": "Shop",
    "url": "http://127.0.0.1:9/hook",
    "events": ["entity.created", "entity.created", "entity.updated"],
    "secret": SECRET,
}


@pytest_asyncio.fixture(loop_scope="module")
async def sigma(direct: DirectServices) -> DirectWorkspace:
    return await direct.workspace()


async def stored(sigma: DirectWorkspace) -> dict[str, Any]:
    database = sigma.services.running["workflow_service"].database
    row = await database.fetchrow(
        "SELECT * FROM webhooks WHERE workspace_id = $1 AND id = 'wh-1'", sigma.id
    )
    assert row is not None
    return dict(row)


async def test_a_secret_is_stored_sealed_and_shown_as_a_mask(sigma: DirectWorkspace):
    made = await sigma.admin.post("/webhooks", HOOK)
    assert made.status == 201
    assert made.body["events"] == ["entity.created", "entity.updated"]
    assert made.body["secret"] == "********c2Vj"
    before = await stored(sigma)
    assert SECRET not in str(before) and before["secret"].startswith("1.test.")
    assert (await sigma.admin.get("/webhooks")).ok() == [made.body]
    assert (await sigma.admin.get("/webhooks/wh-1")).ok() == made.body

    # What is left out stays, and so does what is sent back as it was shown.
    for body in ({"name": "Shop"}, made.body):
        (await sigma.admin.put("/webhooks/wh-1", body)).ok()
        assert (await stored(sigma))["secret"] == before["secret"]
    (await sigma.admin.put("/webhooks/wh-1", {"secret": "a new one, quite long"})).ok()
    assert (await sigma.admin.get("/webhooks/wh-1")).ok()["secret"] == "********long"
    refused = await sigma.admin.put("/webhooks/wh-1", {"secret": made.body["secret"]})
    assert refused.status == 400
    assert refused.body["message"].startswith("Field 'secret' is the mask of another secret")
    (await sigma.admin.put("/webhooks/wh-1", {"secret": None, "description": None})).ok()
    assert (await sigma.admin.get("/webhooks/wh-1")).ok()["secret"] is None


async def test_a_new_secret_is_shown_once_and_is_nowhere_in_clear(sigma: DirectWorkspace):
    (await sigma.admin.post("/webhooks", HOOK)).ok()
    keyed = sigma.admin.having({"Idempotency-Key": "rotate"})
    first = (await keyed.post("/webhooks/wh-1/rotate-secret", {})).ok()["secret"]
    second = (await keyed.post("/webhooks/wh-1/rotate-secret", {})).ok()["secret"]
    assert first.startswith("whsec_") and first != second
    (await sigma.admin.having({"Idempotency-Key": "put"}).put("/webhooks/wh-1", HOOK)).ok()
    database = sigma.services.running["workflow_service"].database
    tables = await database.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    for table in tables:
        rows = await database.fetch(f"SELECT t::text AS row FROM {table['relname']} t")
        told = str([row["row"] for row in rows])
        assert not any(secret in told for secret in (first, second, SECRET)), table["relname"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "ftp://x.example/"}, "Field 'url' expects an absolute http or https URL"),
        ({"url": "http://10.0.0.1/"}, "Field 'url' expects a public address: Address 10.0.0.1"),
        ({"url": "http://a:b@x.example/"}, "Field 'url' expects a URL without user name"),
        ({"events": []}, "Field 'events' must have at least 1 item"),
        ({"events": ["entity.renamed"]}, "Field 'events.0' must be one of"),
        ({"name": ""}, "Field 'name' must have at least 1 character"),
        ({"active": "yes"}, "Field 'active' expects type 'boolean', got 'string'"),
        ({"secret": ""}, "Field 'secret' must have at least 1 character"),
        ({"secret": "whsec_%"}, "Field 'secret' expects base64 behind 'whsec_'"),
        ({"secret": "abcde"}, "Field 'secret' expects at least 16 characters, got 5"),
        (
            {"secret": "whsec_c2hvcnQ="},
            "Field 'secret' expects base64 of at least 24 bytes behind 'whsec_', got 5 bytes",
        ),
        ({"url": "http://x.example:0/"}, "Field 'url' expects an absolute http or https URL"),
        ({"secret": "********abcd"}, "Field 'secret' is the mask of another secret"),
        ({"id": "WH 1"}, "Field 'id' must match pattern"),
    ],
)
async def test_what_is_wrong_is_told_with_its_field(
    sigma: DirectWorkspace, change: dict[str, Any], message: str
):
    refused = await sigma.admin.post("/webhooks", HOOK | change)
    assert (refused.status, refused.body["error"]) == (400, "VALIDATION_ERROR")
    assert refused.body["message"].startswith(message)
    assert (await sigma.admin.get("/webhooks")).ok() == []


async def test_a_put_cannot_take_away_what_a_webhook_needs(sigma: DirectWorkspace):
    (await sigma.admin.post("/webhooks", HOOK)).ok()
    for field in ("name", "url", "events", "active"):
        assert (await sigma.admin.put("/webhooks/wh-1", {field: None})).outcome == error(
            400, "VALIDATION_ERROR", f"Field '{field}' cannot be null"
        )
    stale = sigma.admin.having({"If-Match": '"7"'})
    assert (await stale.put("/webhooks/wh-1", {"name": "x"})).status == 412
    assert (await sigma.admin.post("/webhooks", HOOK)).outcome == error(
        409, "CONFLICT", "Webhook with id 'wh-1' already exists"
    )


async def test_a_workspace_has_a_hundred_webhooks(sigma: DirectWorkspace):
    database = sigma.services.running["workflow_service"].database
    (await sigma.admin.post("/webhooks", HOOK)).ok()
    await database.execute(
        """INSERT INTO webhooks (workspace_id, id, name, url, events, active, position, version,
                                 created_at, updated_at, created_by, runs_as, runs_as_kind)
           SELECT $1, 'wh-x' || n, '', '', '{}', false, 0, 1, now(), now(), 'u', 'u', 'user'
             FROM generate_series(1, 99) n""",
        sigma.id,
    )
    assert (await sigma.admin.post("/webhooks", HOOK | {"id": "wh-2"})).outcome == error(
        403, "LIMIT_EXCEEDED", "Webhook limit of 100 reached"
    )


async def test_a_paused_webhook_is_not_replayed_and_nothing_is_redelivered_to_it(
    sigma: DirectWorkspace,
):
    (await sigma.admin.post("/webhooks", HOOK | {"active": False})).ok()
    await make_delivery(sigma.workflow_database, sigma.id, "dlv-1", "wh-1")
    conflict = error(409, "CONFLICT", "Webhook 'wh-1' is not active")
    body = {"after": "2026-01-01T00:00:00Z"}
    assert (await sigma.admin.post("/webhooks/wh-1/replay", body)).outcome == conflict
    path = "/webhooks/wh-1/deliveries/dlv-1"
    assert (await sigma.admin.post(f"{path}/redeliver")).outcome == conflict
    (await sigma.admin.put("/webhooks/wh-1", {"active": True})).ok()
    future = {"after": "2126-01-01T00:00:00Z"}
    assert (await sigma.admin.post("/webhooks/wh-1/replay", future)).status == 400
    assert (await sigma.admin.post(f"{path}/redeliver")).ok()["status"] == "pending"
    assert (await sigma.admin.post(f"{path}/redeliver")).outcome == error(
        409, "CONFLICT", "Delivery 'dlv-1' is still pending"
    )


async def test_what_waits_is_dropped_when_a_webhook_is_paused_also_where_nothing_sends(
    sigma: DirectWorkspace,
):
    (await sigma.admin.post("/webhooks", HOOK)).ok()
    await make_delivery(sigma.workflow_database, sigma.id, "dlv-1", "wh-1")
    (await sigma.admin.post("/webhooks/wh-1/deliveries/dlv-1/redeliver")).ok()
    (await sigma.admin.post("/webhooks/wh-1/test")).ok()
    for active in (False, True):
        (await sigma.admin.put("/webhooks/wh-1", {"active": active})).ok()
        listed = (await sigma.admin.get("/webhooks/wh-1/deliveries")).ok()["items"]
        # A test is sent to a webhook that is paused, too.
        assert [(one["event"], one["status"]) for one in listed] == [
            ("webhook.test", "pending"),
            ("entity.updated", "dropped"),
        ]


async def test_a_short_secret_of_former_times_stays_until_it_is_replaced(sigma: DirectWorkspace):
    (await sigma.admin.post("/webhooks", HOOK)).ok()
    workflow = sigma.services.running["workflow_service"]
    sealed = workflow.app[VAULT].seal("short", Place(sigma.id, "webhook", "wh-1"))
    await workflow.database.execute(
        "UPDATE webhooks SET secret = $2 WHERE workspace_id = $1", sigma.id, sealed
    )
    shown = (await sigma.admin.get("/webhooks/wh-1")).ok()
    assert shown["secret"] == "********"
    (await sigma.admin.put("/webhooks/wh-1", shown)).ok()
    assert (await stored(sigma))["secret"] == sealed
    for path, ask in (("", sigma.admin.put), ("/rotate-secret", sigma.admin.post)):
        refused = await ask(f"/webhooks/wh-1{path}", {"secret": "other"})
        assert refused.outcome == error(
            400, "VALIDATION_ERROR", "Field 'secret' expects at least 16 characters, got 5"
        )


async def test_old_deliveries_are_removed_and_what_waits_stays(sigma: DirectWorkspace):
    (await sigma.admin.post("/webhooks", HOOK)).ok()
    database = sigma.services.running["workflow_service"].database
    await database.execute(
        """INSERT INTO webhook_deliveries
                  (workspace_id, id, webhook_id, event, subject, body, status, created_at)
           SELECT $1, 'dlv-' || n, 'wh-1', 'entity.updated', 'ent', '{}',
                  CASE WHEN n = 2 THEN 'pending' ELSE 'succeeded' END,
                  CASE WHEN n <= 3 THEN now() - interval '31 days' ELSE now() END
             FROM generate_series(1, $2::int) n""",
        sigma.id,
        store.KEPT_MAX + 53,
    )
    app = sigma.services.running["workflow_service"].app
    # All that are beyond the bound, but for the one that waits.
    assert await remove_old(app, sigma.id, "wh-1") == 52
    rows = await database.fetch(
        "SELECT id FROM webhook_deliveries WHERE workspace_id = $1 ORDER BY number LIMIT 2",
        sigma.id,
    )
    assert [row["id"] for row in rows] == ["dlv-2", "dlv-54"]


async def test_what_is_kept_of_deliveries_is_bounded_in_bytes(
    sigma: DirectWorkspace, monkeypatch: pytest.MonkeyPatch
):
    (await sigma.admin.post("/webhooks", HOOK)).ok()
    for number in range(1, 9):
        # Random, for what is stored is compressed.
        body = secrets.token_hex(5_000)
        await make_delivery(sigma.workflow_database, sigma.id, f"dlv-{number}", "wh-1", body)
    app = sigma.services.running["workflow_service"].app
    assert await remove_old(app, sigma.id, "wh-1") == 0
    monkeypatch.setattr(store, "KEPT_BYTES_MAX", 35_000)
    (await sigma.admin.post("/webhooks/wh-1/deliveries/dlv-1/redeliver")).ok()
    assert await remove_old(app, sigma.id, "wh-1") == 4
    listed = (await sigma.admin.get("/webhooks/wh-1/deliveries")).ok()["items"]
    assert [one["id"] for one in listed] == ["dlv-8", "dlv-7", "dlv-6", "dlv-1"]
