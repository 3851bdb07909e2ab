"""Webhooks over HTTP: what administrators do with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import AwareDatetime, Field

from shared.database import DATABASE
from shared.errors import Conflict, Gone, LimitExceeded, NotFound, PreconditionFailed
from shared.http import (
    SMALL_BODY,
    Routes,
    identity_of,
    json_response,
    no_content,
    read_body,
    versioned_response,
)
from shared.http.shapes import Shape
from shared.http.versions import if_match
from shared.identity import Permission
from workflow_service.webhooks import commands, store
from workflow_service.webhooks.model import (
    NewSecret,
    SecretAnswer,
    Webhook,
    WebhookAnswer,
    WebhookChanges,
    WebhookDraft,
)

WEBHOOK = "wh-sync-notify"
routes = Routes(
    tag="Webhooks",
    about="Webhooks: events that are sent to a URL as they happen, signed and in order.",
    examples={"id": WEBHOOK},
    parameters={"id": "Id of the webhook."},
)


class ReplayStart(Shape):
    """From when on events are sent again."""

    after: Annotated[AwareDatetime, Field(examples=["2026-03-08T00:00:00Z"])]
    """A time. Everything that happened after it is sent again."""


class ReplayAnswer(Shape):
    """What is sent again."""

    after: datetime
    """Everything that happened after this time is sent again."""


@routes.get(
    "/api/v1/webhooks",
    permission=Permission.READ,
    administrators=True,
    answers=list[WebhookAnswer],
    summary="List webhooks",
)
async def list_webhooks(request: web.Request) -> web.StreamResponse:
    """All webhooks of the workspace, oldest first; there are at most 100. Secrets are masked."""
    async with request.app[DATABASE].acquire() as conn:
        webhooks = await store.all_of(conn, identity_of(request).workspace_id)
    return json_response([commands.shown(request.app, webhook) for webhook in webhooks])


@routes.post(
    "/api/v1/webhooks",
    permission=Permission.UPDATE_MODEL,
    administrators=True,
    body=WebhookDraft,
    body_bytes_max=SMALL_BODY,
    answers=WebhookAnswer,
    status=201,
    summary="Create a webhook",
    errors=(Conflict, LimitExceeded),
)
async def create_webhook(request: web.Request) -> web.StreamResponse:
    """Creates a webhook, to which everything is sent that happens from now on.

    A payload has what its owner may see: the user or API key that saved the webhook last. An API
    key needs `read` as well.
    """
    draft = await read_body(request, WebhookDraft)
    webhook = await commands.create(request, draft)
    return _answer(request, webhook, status=201, location=f"/api/v1/webhooks/{webhook.id}")


@routes.get(
    "/api/v1/webhooks/{id}",
    permission=Permission.READ,
    administrators=True,
    answers=WebhookAnswer,
    summary="Get a webhook",
    errors=(NotFound,),
)
async def get_webhook(request: web.Request) -> web.StreamResponse:
    """One webhook. Its secret is masked."""
    async with request.app[DATABASE].acquire() as conn:
        webhook = await store.get(conn, identity_of(request).workspace_id, request.match_info["id"])
    return _answer(request, webhook)


@routes.put(
    "/api/v1/webhooks/{id}",
    permission=Permission.UPDATE_MODEL,
    administrators=True,
    body=WebhookChanges,
    body_bytes_max=SMALL_BODY,
    answers=WebhookAnswer,
    summary="Change a webhook",
    errors=(NotFound, PreconditionFailed),
)
async def replace_webhook(request: web.Request) -> web.StreamResponse:
    """Changes a webhook. Fields that are left out stay; so does a secret that is sent masked.

    `active: false` pauses it: what waits is dropped, and what happens until it is active again is
    not sent. The caller is its owner from now on.
    """
    changes = await read_body(request, WebhookChanges)
    webhook = await commands.change(
        request, request.match_info["id"], changes, if_match(request.headers)
    )
    return _answer(request, webhook)


@routes.delete(
    "/api/v1/webhooks/{id}",
    permission=Permission.DELETE_MODEL,
    administrators=True,
    summary="Delete a webhook",
    errors=(NotFound, PreconditionFailed),
)
async def delete_webhook(request: web.Request) -> web.StreamResponse:
    """Deletes a webhook with its deliveries. What waits is not sent."""
    await commands.delete(request, request.match_info["id"], if_match(request.headers))
    return no_content()


@routes.post(
    "/api/v1/webhooks/{id}/rotate-secret",
    permission=Permission.UPDATE_MODEL,
    administrators=True,
    replayable=False,
    body=NewSecret,
    body_bytes_max=SMALL_BODY,
    answers=SecretAnswer,
    summary="Replace the secret of a webhook",
    errors=(NotFound,),
)
async def rotate_webhook_secret(request: web.Request) -> web.StreamResponse:
    """Deliveries are signed with a new secret, which is shown only this once.

    For 24 hours, `webhook-signature` has a second signature by the former secret.
    `Idempotency-Key` is ignored: the answer must not be stored.
    """
    asked = await read_body(request, NewSecret)
    secret = await commands.rotate_secret(request, request.match_info["id"], asked)
    return json_response({"secret": secret}, headers={"Cache-Control": "no-store"})


@routes.post(
    "/api/v1/webhooks/{id}/replay",
    permission=Permission.UPDATE_MODEL,
    administrators=True,
    body=ReplayStart,
    body_bytes_max=SMALL_BODY,
    answers=ReplayAnswer,
    status=202,
    summary="Send events again",
    errors=(NotFound, Conflict, Gone),
)
async def replay_webhook(request: web.Request) -> web.StreamResponse:
    """Sends everything again that happened after a time, in order, as new deliveries.

    What happens meanwhile comes after it. The change feed keeps events for some days; 410 for a
    time before that.
    """
    asked = await read_body(request, ReplayStart)
    await commands.replay(request, request.match_info["id"], asked.after)
    return json_response({"after": asked.after}, status=202)


def _answer(
    request: web.Request, webhook: Webhook, *, status: int = 200, location: str | None = None
) -> web.StreamResponse:
    return versioned_response(
        commands.shown(request.app, webhook), webhook.version, status=status, location=location
    )
