"""Takes events for a webhook out of the change feed, as its owner may see them.

The feed is where events wait for a webhook that has enough to send: a delivery is made only when it
is soon to be sent. Deliveries and the position behind them are stored in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiohttp import web
from prometheus_client import Counter

from shared.database import DATABASE
from shared.errors import PermissionDenied, truncated
from shared.ids import new_id
from workflow_service import acting
from workflow_service.clients import RECORDS
from workflow_service.deliveries import store as deliveries
from workflow_service.deliveries.model import payload
from workflow_service.webhooks import store as webhooks
from workflow_service.webhooks.model import Webhook

IDENTITY_S: Final = 5.0
"""A role that was changed counts after this."""

TAKEN: Final = Counter("sigma_webhook_events_total", "Events that were taken for webhooks")
LOST: Final = Counter(
    "sigma_webhook_gaps_total", "Webhooks for which the change feed no longer had all events"
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken: the position behind it, and whether there is more."""

    deliveries: list[deliveries.New]
    position: int
    more: bool


class OwnerGone(Exception):
    """Nobody's rights decide what the webhook may send; the message says why."""


class Identities:
    """The identities of owners, each asked for again before it expires."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], tuple[float, str]] = {}

    async def of(self, app: web.Application, webhook: Webhook) -> str:
        """A signed identity. Raises `OwnerGone`, or what `acting.identity_of` raises."""
        key = (webhook.workspace_id, webhook.runs_as_kind, webhook.runs_as)
        until, token = self._known.get(key, (0.0, ""))
        now = time.monotonic()
        if until > now:
            return token
        found = await acting.identity_of(app, *key)
        if isinstance(found, acting.Gone):
            raise OwnerGone(found.reason)
        self._known = {known: one for known, one in self._known.items() if one[0] > now}
        self._known[key] = (now + IDENTITY_S, found)
        return found


async def take(
    app: web.Application, identities: Identities, webhook: Webhook, limit: int
) -> Taken | None:
    """Make deliveries of some events, at most `limit`; None if the webhook was changed meanwhile.

    Raises `OwnerGone`, and `ApiError` while another service cannot be asked.
    """
    token = await identities.of(app, webhook)
    try:
        page = await app[RECORDS].request(
            "POST",
            "/internal/changes/page",
            json={"after": webhook.position, "limit": limit},
            identity_token=token,
            reads=True,
        )
    except PermissionDenied:
        if webhook.runs_as_kind == "user":
            # Every user may read; the role was being replaced.
            raise
        raise OwnerGone(
            f"The API key '{truncated(webhook.runs_as)}', for whom this runs,"
            " lacks the permission 'read'"
        ) from None
    if page["lost"]:
        LOST.inc()
        log.error("webhook_events_lost", workspace_id=webhook.workspace_id, webhook_id=webhook.id)
    wanted = set(webhook.events)
    found = [_delivery(webhook, event) for event in page["events"] if event["type"] in wanted]
    position: int = page["position"]
    if position != webhook.position:
        async with app[DATABASE].transaction() as conn:
            if not await webhooks.move(conn, webhook, position):
                return None
            if found:
                await deliveries.insert(conn, webhook.workspace_id, webhook.id, found)
    TAKEN.inc(len(found))
    return Taken(found, position, page["more"])


def _delivery(webhook: Webhook, event: Mapping[str, Any]) -> deliveries.New:
    delivery_id, data = new_id("dlv"), event["data"]
    body = payload(delivery_id, event["type"], event["time"], webhook.workspace_id, data)
    # What is about no record waits for none.
    about = data.get("entityId", event["subject"])
    return deliveries.New(delivery_id, event["type"], about, body, event.get("traceparent"))
