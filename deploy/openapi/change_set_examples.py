"""Examples of change sets, for the API description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.local import catalogue
from deploy.openapi.schemas import Examples
from deploy.openapi.session_examples import ADMIN

_CREATED_AT: Final = "2026-02-03T15:00:00.000Z"
_PRICE: Final = {
    "attribute": "price",
    "scope": {"dim-market": "seg-dk"},
    "newValue": 849,
    "confidence": 0.9,
    "reasoning": "Competitors sell it for 849.",
}
_OPERATION: Final = {"id": "op-price", "type": "update", "entityId": "ent-coastal-wb"}
_SOURCE: Final = {
    "type": "agent",
    "name": "pricing-agent",
    "context": {"model": "pricing-2"},
}
PROPOSED: Final[Mapping[str, Any]] = {
    "id": "cs-spring-prices",
    "title": "Prices for spring",
    "description": "As agreed in March.",
    "source": _SOURCE,
    "operations": [{**_OPERATION, "changes": [_PRICE]}],
}
"""What the demo workspace of the tests has."""
_SUMMARY: Final = {
    "id": "cs-spring-prices",
    "title": "Prices for spring",
    "description": "As agreed in March.",
    "status": "draft",
    "source": _SOURCE,
    "operationCount": 1,
    "version": 1,
    "createdAt": _CREATED_AT,
    "updatedAt": _CREATED_AT,
    "createdBy": ADMIN["id"],
}
_SUBMITTED: Final = {
    "status": "pending_approval",
    "version": 2,
    "updatedAt": "2026-02-03T15:02:00.000Z",
    "submittedAt": "2026-02-03T15:02:00.000Z",
}
_STORED: Final[dict[str, Any]] = {
    **_OPERATION,
    "status": "pending",
    "schemaId": catalogue.APPAREL,
    "changes": [{**_PRICE, "oldValue": 899, "currentValue": 899}],
}
_MESSAGE: Final = {
    "id": "msg-7k2m0c2h3v4x5y6z7a8b",
    "text": "Please look at the Danish prices again.",
    "createdBy": ADMIN["id"],
    "createdAt": "2026-02-03T15:10:00.000Z",
}
_ANNOTATION: Final = {
    "id": "ann-too-low",
    "operationId": "op-price",
    "attribute": "price",
    "text": "849",
    "start": 0,
    "end": 3,
    "comment": "Too low for Denmark.",
    "createdBy": ADMIN["id"],
    "createdAt": "2026-02-03T15:05:00.000Z",
}
_WHOLE: Final[dict[str, Any]] = {
    **_SUMMARY,
    "operations": [_STORED],
    "messageCount": 0,
    "messages": [],
    "annotations": [],
}
_FEEDBACK: Final = {
    "rejected": [],
    "ratings": [{"operationId": "op-price", "attribute": "price", "rating": "bad"}],
    "annotations": [_ANNOTATION],
    "messageCount": 1,
    "messages": [_MESSAGE],
}


_RATED: Final = {**_STORED, "changes": [{**_STORED["changes"][0], "rating": "bad"}]}
_DISCUSSED: Final = {
    **_WHOLE,
    "version": 2,
    "operations": [_RATED],
    "messageCount": 1,
    "messages": [_MESSAGE],
}


def _decided(status: str, decision: str, of: dict[str, Any]) -> Examples:
    decided = {**of["operations"][0], "status": decision}
    after = {**_SUBMITTED, "status": status, "version": 3, "operations": [decided]}
    return Examples(answered={**of, **after})


_NEW: Final = {**PROPOSED, "id": "cs-summer-prices", "title": "Prices for summer"}
CHANGE_SETS: Final[Mapping[str, Examples]] = {
    "listChangeSets": Examples(
        answered={"items": [_SUMMARY], "total": 1, "offset": 0, "limit": 50}
    ),
    "countChangeSets": Examples(
        answered={
            "draft": 0,
            "pending": 1,
            "approved": 0,
            "applied": 0,
            "rejected": 0,
            "revisionRequested": 0,
            "partiallyApplied": 0,
        }
    ),
    "createChangeSet": Examples(_NEW, {**_WHOLE, "id": _NEW["id"], "title": _NEW["title"]}),
    "getChangeSet": Examples(answered=_WHOLE),
    "replaceChangeSet": Examples(
        {"title": "Prices for late spring"},
        {**_DISCUSSED, "title": "Prices for late spring", "annotations": [_ANNOTATION]},
    ),
    "submitChangeSet": Examples(answered={**_WHOLE, **_SUBMITTED}),
    "listOperations": Examples(answered={"items": [_STORED], "total": 1, "offset": 0, "limit": 50}),
    "approveChangeSet": _decided("approved", "approved", _WHOLE),
    "rejectChangeSet": _decided("rejected", "rejected", _WHOLE),
    "approveOperation": _decided("approved", "approved", _DISCUSSED),
    "rejectOperation": _decided("rejected", "rejected", _DISCUSSED),
    "applyChangeSet": Examples(
        {"force": False},
        {
            **_WHOLE,
            **_SUBMITTED,
            "status": "applied",
            "version": 4,
            "operations": [{**_STORED, "status": "applied"}],
            "appliedAt": "2026-02-03T16:00:00.000Z",
            "appliedBy": ADMIN["id"],
        },
    ),
    "requestRevision": Examples(
        {"text": _MESSAGE["text"]},
        {
            **_SUMMARY,
            **_SUBMITTED,
            "status": "revision_requested",
            "version": 3,
            "feedback": _FEEDBACK,
        },
    ),
    "getFeedback": Examples(answered=_FEEDBACK),
    "rateChange": Examples({"attribute": "price", "rating": "bad"}, _DISCUSSED),
    "annotateChange": Examples(
        {
            "attribute": "price",
            "text": "849",
            "start": 0,
            "end": 3,
            "comment": "Too low for Denmark.",
        },
        _ANNOTATION,
    ),
    "listMessages": Examples(answered=[_MESSAGE]),
    "postMessage": Examples({"text": _MESSAGE["text"]}, _MESSAGE),
}
