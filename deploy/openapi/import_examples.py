"""Examples of imports, for the API description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.local import catalogue
from deploy.openapi.schemas import Examples
from deploy.openapi.session_examples import ADMIN

_PAGE: Final[Mapping[str, Any]] = {"total": 1, "offset": 0, "limit": 50}
_ROWS: Final = {
    "schemaId": catalogue.APPAREL,
    "columnMapping": {"Name": "product-name", "Price": "price", "In": "_categories"},
    "rows": [{"Name": "Cord jacket", "Price": "899", "In": "webshop/clothing/jackets|ctg-tops"}],
}


_FILE: Final = "_id,_categories\r\nent-coastal-wb,webshop/clothing/jackets|ctg-tops\r\n"
_IMPORT: Final = {
    "id": "imp-spring",
    "status": "queued",
    "format": "csv",
    "fileName": "spring.csv",
    "fileSize": len(_FILE),
    "schemaId": catalogue.APPAREL,
    "total": 1,
    "processed": 0,
    "created": 0,
    "updated": 0,
    "unchanged": 0,
    "skipped": 0,
    "failed": 0,
    "warnings": [],
    "createdAt": "2026-02-01T09:30:00.000Z",
    "createdBy": ADMIN["id"],
}
IMPORTS: Final[Mapping[str, Examples]] = {
    "previewImport": Examples(
        _ROWS,
        {
            "total": 1,
            "valid": 1,
            "invalid": 0,
            "rows": [{"row": 1, "valid": True, "action": "create", "errors": []}],
            "unmappedColumns": [],
        },
    ),
    "executeImport": Examples(
        _ROWS,
        {
            "created": 1,
            "updated": 0,
            "unchanged": 0,
            "failed": 0,
            "errors": [],
            "ids": ["ent-7k2m0c2h3v4x5y6z7a8b"],
            "unmappedColumns": [],
        },
    ),
    "beginImport": Examples(
        {
            "file": _FILE,
            "schemaId": catalogue.APPAREL,
        },
        _IMPORT,
        tried=_IMPORT
        | {"status": "succeeded", "processed": 1, "updated": 1, "complete": True, "errors": []},
    ),
    "listImports": Examples(answered={"items": [_IMPORT], **_PAGE}),
    "getImport": Examples(answered=_IMPORT),
    "listImportErrors": Examples(
        answered={
            "items": [
                {
                    "row": 2,
                    "line": 3,
                    "column": "price",
                    "pointer": "/values/price",
                    "error": "VALIDATION_ERROR",
                    "message": "Value for 'price' must be a number such as 1234.5, got '2,4'",
                }
            ],
            **_PAGE,
        }
    ),
    "cancelImport": Examples(answered=_IMPORT | {"status": "cancelled"}),
    "resumeImport": Examples(answered=_IMPORT),
}
