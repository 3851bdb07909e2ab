"""Examples of webhooks and their deliveries, for the API description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.openapi.schemas import Examples
from deploy.openapi.session_examples import ADMIN

_AT: Final = "2026-02-03T15:00:00.000Z"
DELIVERY: Final = "dlv-7k2m0c2h3v4x5y6z7a8b"
_SECRET: Final = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2Vj"  # noqa: S105 - of an example
WEBHOOK: Final[Mapping[str, Any]] = {
    "id": "wh-sync-notify",
    "name": "Notify the shop",
    "description": "Keeps the shop up to date.",
    "url": "https://hooks.example.com/pim",
    "events": ["entity.created", "entity.updated"],
    "secret": _SECRET,
    "active": False,
}
"""What the demo workspace of the tests has; it is paused, so that it sends nothing."""
_WHOLE: Final = {
    **WEBHOOK,
    "secret": "********c2Vj",
    "version": 1,
    "createdAt": _AT,
    "updatedAt": _AT,
    "createdBy": ADMIN["id"],
}
_DELIVERY: Final = {
    "id": DELIVERY,
    "event": "entity.updated",
    "status": "succeeded",
    "attempts": [{"at": _AT, "status": 200, "durationMs": 12}],
    "createdAt": _AT,
}
_SENT: Final = {
    "url": WEBHOOK["url"],
    "headers": {"Content-Type": "application/json", "webhook-id": DELIVERY},
    "body": '{"deliveryId":"dlv-7k2m0c2h3v4x5y6z7a8b","event":"entity.updated"}',
}
_TEST: Final = {**_DELIVERY, "event": "webhook.test", "status": "pending", "attempts": []}
_NEW: Final = {**WEBHOOK, "id": "wh-lifecycle", "name": "Tell the team", "active": False}

WEBHOOKS: Final[Mapping[str, Examples]] = {
    "listWebhooks": Examples(answered=[_WHOLE]),
    "createWebhook": Examples(_NEW, {**_WHOLE, "id": _NEW["id"], "name": _NEW["name"]}),
    "getWebhook": Examples(answered=_WHOLE),
    "replaceWebhook": Examples(
        {"events": ["entity.created", "entity.updated", "entity.deleted"]},
        {**_WHOLE, "events": ["entity.created", "entity.updated", "entity.deleted"], "version": 2},
    ),
    "rotateWebhookSecret": Examples({}, {"secret": "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0"}),
    "replayWebhook": Examples({"after": _AT}, {"after": _AT}),
    "listDeliveries": Examples(
        answered={"items": [_DELIVERY], "total": 1, "offset": 0, "limit": 50}
    ),
    "getDelivery": Examples(
        answered={**_DELIVERY, "request": _SENT, "answer": {"status": 200, "body": "ok"}}
    ),
    "redeliver": Examples(answered={**_DELIVERY, "status": "pending"}),
    "tryWebhook": Examples(answered=_TEST),
}
