"""Examples of jobs, for the API description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from deploy.openapi.schemas import Examples
from deploy.openapi.session_examples import ADMIN

_JOB: Final = {
    "id": "job-unique-sku",
    "kind": "make-unique",
    "status": "running",
    "attributeId": "attr-sku",
    "total": 9,
    "processed": 4,
    "created": 0,
    "updated": 0,
    "unchanged": 3,
    "skipped": 0,
    "failed": 1,
    "samples": [
        {
            "entityId": "ent-linen-shirt",
            "variantId": None,
            "reason": "Has the same value as 'ent-coastal-wb'",
        }
    ],
    "createdAt": "2026-02-01T09:30:00.000Z",
    "startedAt": "2026-02-01T09:30:00.120Z",
    "createdBy": ADMIN["id"],
}
JOBS: Final[Mapping[str, Examples]] = {
    "convertAttribute": Examples(
        {"type": "media", "onFailure": "refuse"},
        _JOB
        | {
            "id": "job-7k2m0c2h3v4x5y6z7a8b",
            "kind": "convert",
            "status": "queued",
            "attributeId": "attr-certificate",
            "total": None,
            "processed": 0,
            "unchanged": 0,
            "failed": 0,
            "samples": [],
            "startedAt": None,
        },
    ),
    "listJobs": Examples(answered={"items": [_JOB], "total": 1, "offset": 0, "limit": 50}),
    "getJob": Examples(answered=_JOB),
    "cancelJob": Examples(
        answered=_JOB
        | {
            "status": "cancelled",
            "error": "The job was cancelled",
            "completedAt": "2026-02-01T09:30:01.400Z",
        }
    ),
}
