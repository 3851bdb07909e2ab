"""Deliveries over HTTP: what was sent to a webhook, and sending it again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from shared.database import DATABASE, Record
from shared.database.paging import page_response, place_of
from shared.errors import Conflict, NotFound, truncated
from shared.http import Routes, identity_of, json_response, read_query
from shared.identity import Permission
from shared.ids import new_id
from shared.timestamps import format_timestamp
from workflow_service.deliveries import store
from workflow_service.deliveries.model import (
    BODY_SHOWN_MAX,
    TEST_EVENT,
    Delivery,
    DeliveryFilter,
    DeliveryPage,
    WholeDelivery,
    payload,
    public,
)
from workflow_service.webhooks import store as webhooks
from workflow_service.webhooks.commands import check_active
from workflow_service.webhooks.handlers import WEBHOOK

routes = Routes(
    tag="Webhooks",
    examples={"id": WEBHOOK, "deliveryId": "dlv-7k2m0c2h3v4x5y6z7a8b"},
    parameters={"id": "Id of the webhook.", "deliveryId": "Id of the delivery."},
)


@routes.get(
    "/api/v1/webhooks/{id}/deliveries",
    permission=Permission.READ,
    administrators=True,
    query=DeliveryFilter,
    answers=DeliveryPage,
    summary="List the deliveries of a webhook",
    errors=(NotFound,),
)
async def list_deliveries(request: web.Request) -> web.StreamResponse:
    """One page of deliveries, newest first. Kept are 30 days of them, at most 10,000 and 64 MiB."""
    asked = read_query(request, DeliveryFilter)
    workspace_id, webhook_id = identity_of(request).workspace_id, request.match_info["id"]
    place = place_of(workspace_id, request.path, asked, store.IN_ORDER)
    async with request.app[DATABASE].acquire() as conn:
        await webhooks.get(conn, workspace_id, webhook_id)
        part, total = await store.page(conn, workspace_id, webhook_id, asked.status, place)
    last = (part.rows[-1]["number"],) if part.rows else ()
    return page_response(place, [public(row) for row in part.rows], part, total, last=last)


@routes.get(
    "/api/v1/webhooks/{id}/deliveries/{deliveryId}",
    permission=Permission.READ,
    administrators=True,
    answers=WholeDelivery,
    summary="Get a delivery",
    errors=(NotFound,),
)
async def get_delivery(request: web.Request) -> web.StreamResponse:
    """One delivery with its last request and the answer to it."""
    async with request.app[DATABASE].acquire() as conn:
        row = await _found(conn, request)
    sent = row["sent"]
    asked = None
    if sent is not None:
        text = row["body"].encode()[:BODY_SHOWN_MAX].decode(errors="ignore")
        asked = {"url": sent["url"], "headers": sent["headers"], "body": text}
    answer = None if sent is None else sent.get("answer")
    return json_response(public(row) | {"request": asked, "answer": answer})


@routes.post(
    "/api/v1/webhooks/{id}/deliveries/{deliveryId}/redeliver",
    permission=Permission.UPDATE_MODEL,
    administrators=True,
    answers=Delivery,
    summary="Send a delivery again",
    errors=(NotFound, Conflict),
)
async def redeliver(request: web.Request) -> web.StreamResponse:
    """Sends a delivery again that has ended, with the same id and body, up to four times."""
    workspace_id, webhook_id = identity_of(request).workspace_id, request.match_info["id"]
    async with request.app[DATABASE].transaction() as conn:
        # Locked: nothing waits for a webhook that is being paused.
        webhook = await webhooks.get(conn, workspace_id, webhook_id, lock=True)
        row = await _found(conn, request)
        if row["event"] != TEST_EVENT:
            check_active(webhook)
        await store.send_again(conn, workspace_id, webhook_id, row["id"])
        await webhooks.tell(conn, workspace_id, webhook_id)
    return json_response(public(row) | {"status": "pending"})


@routes.post(
    "/api/v1/webhooks/{id}/test",
    permission=Permission.UPDATE_MODEL,
    administrators=True,
    answers=Delivery,
    summary="Try a webhook out",
    errors=(NotFound, Conflict),
)
async def try_webhook(request: web.Request) -> web.StreamResponse:
    """Sends `webhook.test` to the webhook, also to one that is paused.

    Its delivery tells soon what came of it. 409 while 20 tests wait to be sent.
    """
    workspace_id, webhook_id = identity_of(request).workspace_id, request.match_info["id"]
    delivery_id, now = new_id("dlv"), datetime.now(UTC)
    body = payload(delivery_id, TEST_EVENT, format_timestamp(now), workspace_id, {})
    async with request.app[DATABASE].transaction() as conn:
        await webhooks.get(conn, workspace_id, webhook_id, lock=True)
        # Nothing else bounds them: they are sent to a webhook that is paused or full as well.
        if await store.tests_pending(conn, workspace_id, webhook_id) >= store.TESTS_PENDING_MAX:
            raise Conflict(
                f"Webhook '{truncated(webhook_id)}' has {store.TESTS_PENDING_MAX} tests that wait"
                " to be sent"
            )
        new = store.New(delivery_id, TEST_EVENT, delivery_id, body)
        await store.insert(conn, workspace_id, webhook_id, [new])
        await webhooks.tell(conn, workspace_id, webhook_id)
        row = await store.get(conn, workspace_id, webhook_id, delivery_id)
    return json_response(public(row))


async def _found(conn: Any, request: web.Request) -> Record:
    workspace_id, webhook_id = identity_of(request).workspace_id, request.match_info["id"]
    await webhooks.get(conn, workspace_id, webhook_id)
    return await store.get(conn, workspace_id, webhook_id, request.match_info["deliveryId"])
