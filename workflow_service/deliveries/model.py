"""A delivery as it is stored and returned."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import Field
from typing_extensions import TypeAliasType

from shared.database.paging import Paged, PageQuery
from shared.http.shapes import Shape

ATTEMPT_DELAYS_S: Final = (0, 10, 60, 300)
"""Before each attempt, after the one before it."""
BODY_SHOWN_MAX: Final = 16 << 10
TEST_EVENT: Final = "webhook.test"

DeliveryStatus = TypeAliasType(
    "DeliveryStatus",
    Annotated[
        Literal["pending", "succeeded", "failed", "dropped"],
        Field(description="Whether a delivery waits, was taken, was given up, or was dropped."),
    ],
)


class DeliveryFilter(PageQuery):
    """Which deliveries a list shows."""

    status: DeliveryStatus | None = None
    """Only those with this status."""


class Attempt(Shape):
    """One request."""

    at: datetime
    """When it was sent."""
    status: int | None = None
    """The status of the answer; left out if there was none."""
    error: str | None = None
    """Why there was no answer, or why the answer is a failure; left out of a success."""
    duration_ms: int = Field(alias="durationMs")
    """How long it took."""


class Delivery(Shape):
    """One event for one webhook."""

    id: str
    """The id: `deliveryId` in the body and `webhook-id` in the headers. It tells repeats."""
    event: str
    """What happened, or `webhook.test`."""
    status: DeliveryStatus
    """What has become of it."""
    attempts: list[Attempt]
    """The requests, oldest first."""
    created_at: datetime = Field(alias="createdAt")
    """When it was created."""


SentHeaders = TypeAliasType(
    "SentHeaders",
    Annotated[
        dict[str, str],
        Field(description="Headers of a request, without what every request has."),
    ],
)


class SentRequest(Shape):
    """The last request."""

    url: str
    """Where it went."""
    headers: SentHeaders
    """Its headers, without what every request has."""
    body: str
    """The body; the first 16 KiB of a longer one."""


class ReceivedAnswer(Shape):
    """The last answer."""

    status: int
    """The status."""
    body: str
    """The body; the first 16 KiB of a longer one."""


class WholeDelivery(Delivery):
    """A delivery with its last request and the answer."""

    request: SentRequest | None
    """The last request; null before the first."""
    answer: ReceivedAnswer | None
    """The last answer; null if there was none."""


class DeliveryPage(Paged):
    """One page of deliveries."""

    items: list[Delivery]
    """The deliveries, newest first."""


def public(row: Any) -> dict[str, Any]:
    """A delivery as a list shows it."""
    return {
        "id": row["id"],
        "event": row["event"],
        "status": row["status"],
        "attempts": row["attempts"],
        "createdAt": row["created_at"],
    }


def payload(
    delivery_id: str, event: str, timestamp: str, workspace_id: str, data: dict[str, Any]
) -> str:
    """The body of a delivery, to the byte as it is sent and signed."""
    return orjson.dumps(
        {
            "deliveryId": delivery_id,
            "event": event,
            "timestamp": timestamp,
            "workspaceId": workspace_id,
            "data": data,
        }
    ).decode()
