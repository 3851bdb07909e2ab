"""Examples of channels and their synchronisation, for the API description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.local import catalogue
from deploy.openapi.schemas import Examples
from deploy.openapi.session_examples import ADMIN

_CREATED_AT: Final = "2026-03-01T09:00:00.000Z"
_AT: Final = {
    "startedAt": "2026-03-08T06:00:00.000Z",
    "completedAt": "2026-03-08T06:00:02.000Z",
}
CHANNEL: Final[Mapping[str, Any]] = {
    "id": "ch-webshop",
    "name": "Web shop",
    "alias": "web-shop",
    "type": "custom",
    "description": "The shop for consumers.",
    "config": {
        "url": "https://shop.example.com/products",
        "headers": {"Authorization": "Bearer 3f9c2e71d84b"},
    },
    "fieldMappings": [
        {"sourceAttribute": "product-name", "targetField": "title", "transform": "trim"},
        {"sourceAttribute": "price", "targetField": "variants[0].price"},
    ],
    "schemaId": catalogue.APPAREL,
    "catalogId": catalogue.CATALOG,
    "dimensionScope": {"dim-language": "seg-da"},
    "active": True,
}
"""What the demo workspace of the tests has."""
LOG: Final = "synclog-20260308-001"
_SHOWN: Final = {
    **CHANNEL,
    "fieldMappings": [
        {"transform": None, "optionAs": "label", **each} for each in CHANNEL["fieldMappings"]
    ],
    "config": {**CHANNEL["config"], "headers": {"Authorization": "Bearer********"}},
    "version": 1,
    "createdAt": _CREATED_AT,
    "updatedAt": _CREATED_AT,
}
_NEW: Final = {**CHANNEL, "id": "ch-outlet", "name": "Outlet", "alias": "outlet"}
_LOG: Final[dict[str, Any]] = {
    "id": LOG,
    "channelId": "ch-webshop",
    "direction": "push",
    "status": "success",
    **_AT,
    "startedBy": ADMIN["id"],
    "created": 12,
    "updated": 3,
    "skipped": 485,
    "failed": 0,
    "error": None,
    "errors": [],
    "changes": None,
    "complete": None,
}
_ERROR: Final = {
    "entityId": "ent-coastal-wb",
    "externalId": "4711",
    "message": "The target refused the object: PUT answered 422",
}


def _log(direction: str) -> Examples:
    return Examples(answered={**_LOG, "direction": direction})


CHANNELS: Final[Mapping[str, Examples]] = {
    "listChannels": Examples(answered=[_SHOWN]),
    "getChannel": Examples(answered=_SHOWN),
    "createChannel": Examples(_NEW, {**_SHOWN, **{n: _NEW[n] for n in ("id", "name", "alias")}}),
    "replaceChannel": Examples(
        {**CHANNEL, "name": "Danish web shop"},
        {
            **_SHOWN,
            "name": "Danish web shop",
            "version": 2,
            "updatedAt": "2026-03-01T09:30:00.000Z",
        },
    ),
    "testConnection": Examples(
        answered={
            "ok": True,
            "error": None,
            "shopName": None,
            "shopUrl": "https://shop.example.com/products",
            "plan": None,
            "productCount": None,
        }
    ),
    "syncChannel": _log("bidirectional"),
    "pushChannel": _log("push"),
    "pullChannel": _log("pull"),
    "listSyncLogs": Examples(answered=[_LOG]),
    "getSyncLog": Examples(answered=_LOG),
    "listSyncErrors": Examples(answered={"items": [_ERROR], "total": 1, "offset": 0, "limit": 50}),
    "listSyncMappings": Examples(
        answered=[
            {
                "id": "map-7k2m0c2h3v4x5y6z7a8b",
                "channelId": "ch-webshop",
                "entityId": "ent-coastal-wb",
                "variantId": None,
                "externalId": "4711",
                "checksum": "9b2f5d0c7e41a8836f1d2b90c3e45a7788a6c1f0d4e3b2a1908f7e6d5c4b3a29",
                "lastSyncedAt": _AT["completedAt"],
            }
        ]
    ),
}
