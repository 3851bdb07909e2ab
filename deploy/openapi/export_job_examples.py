"""Examples of export jobs and their runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.openapi.schemas import Examples

EXPORT_JOB: Final[Mapping[str, Any]] = {
    "id": "job-nightly-prices",
    "name": "Prices for the shop",
    "destinationType": "webhook",
    "destinationConfig": {
        "url": "https://shop.example.com/import",
        "headers": {"Authorization": "Bearer 4f6d2c81b7e09a35"},
    },
    "format": "jsonl",
    "compression": "gzip",
    "schedule": "30 2 * * *",
    "timezone": "Europe/Copenhagen",
}
"""What the demo workspace of the tests has."""
_JOB: Final[Mapping[str, Any]] = {
    **EXPORT_JOB,
    "description": None,
    "destinationConfig": {
        "url": "https://shop.example.com/import",
        "headers": {"Authorization": "********9a35"},
    },
    "schemaId": None,
    "catalogId": None,
    "dimensionScope": None,
    "status": "active",
    "createdBy": "user-admin",
    "runsAs": "user-admin",
    "createdAt": "2026-02-04T09:12:07.412Z",
    "updatedAt": "2026-02-04T09:12:07.412Z",
    "lastRunAt": "2026-02-05T01:30:00.218Z",
    "nextRunAt": "2026-02-06T01:30:00.000Z",
}
_RUN: Final[Mapping[str, Any]] = {
    "id": "run-k3v9t2",
    "jobId": EXPORT_JOB["id"],
    "status": "success",
    "startedAt": "2026-02-05T01:30:00.218Z",
    "completedAt": "2026-02-05T01:30:04.951Z",
    "recordCount": 4_812,
    "fileSize": 391_204,
    "replacedCharacters": 0,
    "destinationPath": "https://shop.example.com/import",
    "error": None,
}
_OTHER: Final = "job-weekly-stock"
_WEEKDAYS: Final = "30 2 * * 1-5"
_PAUSED: Final = {**_JOB, "status": "paused", "nextRunAt": None}

EXPORT_JOBS: Final[Mapping[str, Examples]] = {
    "listExportJobs": Examples(answered=[_JOB]),
    "createExportJob": Examples(
        {**EXPORT_JOB, "id": _OTHER}, {**_JOB, "id": _OTHER, "lastRunAt": None}
    ),
    "getExportJob": Examples(answered=_JOB),
    "replaceExportJob": Examples({"schedule": _WEEKDAYS}, {**_JOB, "schedule": _WEEKDAYS}),
    "pauseExportJob": Examples(answered=_PAUSED),
    "resumeExportJob": Examples(answered=_JOB),
    "testDestination": Examples(
        answered={"ok": False, "error": "'shop.example.com' does not resolve to an address"}
    ),
    "listRuns": Examples(answered=[_RUN]),
    "createRun": Examples(
        {},
        {
            **_RUN,
            "status": "running",
            **dict.fromkeys(
                ("completedAt", "recordCount", "fileSize", "replacedCharacters", "destinationPath")
            ),
        },
    ),
}
