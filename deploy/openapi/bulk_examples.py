"""Examples of bulk calls and imports for the API description, taken from the demo catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from deploy.local import catalogue
from deploy.openapi.import_examples import IMPORTS
from deploy.openapi.job_examples import JOBS
from deploy.openapi.schemas import Examples

_COUNTS: Final = dict.fromkeys(
    ("created", "updated", "unchanged", "skipped", "deleted", "failed"), 0
)
_RESULT: Final = {"index": 0, "version": 1}

BULK: Final[Mapping[str, Examples]] = {
    **IMPORTS,
    **JOBS,
    "bulkWriteRecords": Examples(
        {
            "operations": [
                {
                    "id": "ent-linen-shirt-2",
                    "schemaId": catalogue.APPAREL,
                    "values": {"sku": [{"scope": {}, "value": "LS-902"}]},
                },
                {
                    "id": "ent-coastal-wb",
                    "values": {"price": [{"scope": {"dim-market": "seg-dk"}, "value": -1}]},
                },
            ]
        },
        _COUNTS
        | {
            "created": 1,
            "failed": 1,
            "results": [
                _RESULT | {"outcome": "created", "status": 201, "id": "ent-linen-shirt-2"},
                _RESULT
                | {
                    "index": 1,
                    "outcome": "failed",
                    "status": 400,
                    "id": "ent-coastal-wb",
                    "version": None,
                    "error": "VALIDATION_ERROR",
                    "message": "Value for 'price' must be at least 0, got -1",
                    "pointer": "/values/price/0/value",
                },
            ],
        },
    ),
    "bulkDeleteRecords": Examples(
        {"ids": ["ent-linen-shirt-2", "ent-gone"]},
        _COUNTS
        | {
            "skipped": 1,
            "deleted": 1,
            "results": [
                _RESULT
                | {"outcome": "deleted", "status": 204, "id": "ent-linen-shirt-2", "version": None},
                _RESULT
                | {
                    "index": 1,
                    "outcome": "skipped",
                    "status": 200,
                    "id": "ent-gone",
                    "version": None,
                },
            ],
        },
    ),
    "bulkTransitionRecords": Examples(
        {"ids": ["ent-linen-trs"], "toStateId": catalogue.REVIEW, "comment": "Ready"},
        _COUNTS
        | {
            "updated": 1,
            "results": [
                _RESULT | {"outcome": "updated", "status": 200, "id": "ent-linen-trs", "version": 2}
            ],
        },
    ),
}

OPTIONS: Final = Examples(
    {
        "operations": [
            {"id": "val-teal", "alias": "teal", "label": "Teal", "externalKey": "teal (2027)"},
            {"id": "val-navy", "alias": "red", "label": "Navy"},
        ]
    },
    _COUNTS
    | {
        "created": 1,
        "failed": 1,
        "results": [
            _RESULT | {"outcome": "created", "status": 201, "id": "val-teal", "version": 2},
            _RESULT
            | {
                "index": 1,
                "outcome": "failed",
                "status": 409,
                "id": "val-navy",
                "version": None,
                "error": "CONFLICT",
                "message": "Option value with alias 'red' already exists",
                "pointer": "",
            },
        ],
    },
)
