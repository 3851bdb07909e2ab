"""Examples of searches and saved queries."""

from __future__ import annotations

from typing import Any, Final

from deploy.local import web_shop
from deploy.openapi.schemas import Examples

_QUERY: Final = web_shop.SAVED_QUERIES[0]
_SEARCH: Final = {"criteriaOperator": "and", "criteria": _QUERY["criteria"], "sort": _QUERY["sort"]}
_BY: Final = {"createdBy": "user-admin", "createdAt": "2026-02-01T09:30:00.000Z"}
_SAVED: Final[dict[str, Any]] = {"criteriaOperator": "and", **_QUERY, **_BY}
_NEW: Final[dict[str, Any]] = _SEARCH | {"id": "sq-windproof", "name": "Windproof and expensive"}


def search_examples(page: dict[str, Any]) -> dict[str, Examples]:
    """Those of the routes that search, which all answer such a page."""
    return {
        "listSavedQueries": Examples(answered=[_SAVED]),
        "createSavedQuery": Examples(_NEW, _NEW | _BY),
        "getSavedQuery": Examples(answered=_SAVED),
        "executeSavedQuery": Examples({"limit": 20}, page),
        "searchRecords": Examples(_SEARCH, page),
        "searchTexts": Examples({"query": "coastal wind"}, page),
        "searchTextsByQuery": Examples(answered=page),
    }
