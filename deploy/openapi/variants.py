"""Examples of the endpoints of variants, taken from the demo catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.local import catalogue
from deploy.openapi.schemas import Examples

_Json = dict[str, Any]

_TIMES: Final = {
    "createdAt": "2026-02-01T09:30:00.000Z",
    "updatedAt": "2026-02-03T14:05:12.480Z",
}
_PRODUCT: Final[_Json] = next(body for body, _ in catalogue.products())
_SMALL: Final[_Json] = next(body for _, body in catalogue.variants())
_FOR_DRAFT: Final = ["product-name", "sku"]


def _variant(body: _Json, version: int = 1) -> _Json:
    return {
        "entityId": _PRODUCT["id"],
        "level": 1,
        "version": version,
        "createdBy": "user-admin",
        "updatedBy": "user-admin",
        **_TIMES,
        **body,
    }


def _everywhere(value: Any) -> list[_Json]:
    return [{"scope": {}, "value": value}]


def _complete(state: str) -> _Json:
    return {
        "stateId": state,
        "score": 100,
        "filled": _FOR_DRAFT,
        "missing": [],
        "missingIn": [],
    }


_NEW: Final[_Json] = {
    "id": "var-cw-xl",
    "parentId": _PRODUCT["id"],
    "values": {"sku": _everywhere("CW-154"), "sizes": _everywhere(["val-xl"])},
}
_NEW_VALUES: Final[_Json] = {"sizes": _everywhere(["val-xs", "val-s"])}
_CHANGED: Final = _SMALL | {"values": _SMALL["values"] | _NEW_VALUES}
_SWEDISH: Final[_Json] = {"scope": {catalogue.MARKET: "seg-se"}, "value": 1299}
_PRICES: Final = [
    _SWEDISH if entry["scope"] == _SWEDISH["scope"] else entry
    for entry in _SMALL["values"]["price"]
]
_PRICED: Final = _SMALL | {"values": _SMALL["values"] | {"price": _PRICES}}
_INHERITED: Final = {
    alias: entries
    for alias, entries in _PRODUCT["values"].items()
    if alias not in {"sku", "gtin", *_SMALL["values"]}
}
_RESOLVED: Final = _variant(_SMALL) | {
    "effectiveValues": _INHERITED | _SMALL["values"],
    "overriddenAttributes": ["sku", "sizes", "price"],
    "inheritedAttributes": list(_INHERITED),
}
_COMPLETENESS: Final = {
    "entityId": _PRODUCT["id"],
    "variantId": _SMALL["id"],
    "required": len(_FOR_DRAFT),
    **_complete(catalogue.DRAFT),
    "states": [
        _complete(state) for state in (catalogue.DRAFT, catalogue.REVIEW, catalogue.PUBLISHED)
    ],
}
_PAGE: Final = {
    "items": [_variant(_SMALL)],
    "total": 1,
    "offset": 0,
    "limit": 50,
    "nextCursor": None,
}

VARIANTS: Final[Mapping[str, Examples]] = {
    "listVariants": Examples(answered=_PAGE),
    "listVariantsOfRecord": Examples(answered=_PAGE),
    "createVariant": Examples(_NEW, _variant(_NEW)),
    "getVariant": Examples(answered=_variant(_SMALL)),
    "getResolvedVariant": Examples(answered=_RESOLVED),
    "getVariantCompleteness": Examples(answered=_COMPLETENESS),
    "updateVariant": Examples({"values": _NEW_VALUES}, _variant(_CHANGED, 2)),
    "setVariantValue": Examples(_SWEDISH, _variant(_PRICED, 3)),
}
