"""What the tables of webhooks and deliveries keep, remove and find."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from tests.kit.service import RunningService
from workflow_service.deliveries import store
from workflow_service.webhooks import store as webhooks
from workflow_service.webhooks.model import Webhook

WORKSPACE = "ws-1"


def webhook(webhook_id: str) -> Webhook:
    now = datetime.now(UTC)
    return Webhook(
        workspace_id=WORKSPACE,
        id=webhook_id,
        name="Shop",
        description=None,
        url="https://shop.example/",
        events=["entity.created"],
        active=True,
        secret=None,
        position=0,
        version=1,
        created_at=now,
        updated_at=now,
        created_by="user-1",
        runs_as="user-1",
        runs_as_kind="user",
    )


async def deliveries(service: RunningService, first: int, last: int, status: str) -> None:
    await service.database.execute(
        """INSERT INTO webhook_deliveries
                  (workspace_id, webhook_id, id, event, subject, body, status, created_at)
           SELECT $1, 'wh-1', 'dlv-' || n, 'entity.created', 'ent-1', '{}', $4, '2026-01-01'
             FROM generate_series($2::int, $3::int) AS n""",
        WORKSPACE,
        first,
        last,
        status,
    )


async def test_deliveries_that_wait_keep_no_old_ones_from_being_removed(service: RunningService):
    async with service.database.acquire() as conn:
        await webhooks.insert(conn, webhook("wh-1"))
    # One record's receiver has failed for long; what is about other records has been sent.
    await deliveries(service, 1, store.REMOVED_AT_ONCE, "pending")
    await deliveries(service, 2_001, 3_500, "succeeded")
    removed = []
    while not removed or removed[-1] == store.REMOVED_AT_ONCE:
        async with service.database.acquire() as conn:
            beyond = await store.too_many(conn, WORKSPACE, "wh-1")
            removed.append(await store.remove_old(conn, WORKSPACE, "wh-1", beyond))
    assert removed == [1_000, 500]
    rows = await service.database.fetch("SELECT DISTINCT status FROM webhook_deliveries")
    assert [row["status"] for row in rows] == ["pending"]


async def test_webhooks_with_something_to_send_are_found(service: RunningService):
    async with service.database.acquire() as conn:
        for webhook_id in ("wh-1", "wh-2"):
            await webhooks.insert(conn, webhook(webhook_id))
    await deliveries(service, 1, 2, "pending")
    keys = [(WORKSPACE, "wh-1"), (WORKSPACE, "wh-2"), ("ws-2", "wh-1")]
    assert await store.waiting(service.database, keys) == [(WORKSPACE, "wh-1")]


async def test_who_has_taken_a_webhook_over_is_not_paused_for_its_former_owner(
    service: RunningService,
):
    async with service.database.acquire() as conn:
        await webhooks.insert(conn, webhook("wh-1"))
        taken_over = replace(webhook("wh-1"), runs_as="key-1", runs_as_kind="api_key")
        await webhooks.update(conn, taken_over)
        assert not await webhooks.pause(conn, webhook("wh-1"), "The user was deleted")
        assert await webhooks.pause(conn, taken_over, "The API key was deleted")


async def test_a_page_that_was_read_before_a_change_is_not_taken(service: RunningService):
    async with service.database.acquire() as conn:
        await webhooks.insert(conn, webhook("wh-1"))
        changed = replace(webhook("wh-1"), url="https://other.example/", version=2)
        await webhooks.update(conn, changed)
        assert not await webhooks.move(conn, webhook("wh-1"), 7)
        assert await webhooks.move(conn, changed, 7)
