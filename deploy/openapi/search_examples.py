"""Examples of searches and saved queries."""

from __future__ import annotations

from typing import Any, Final

from deploy.openapi.schemas import Examples

_SEARCH: Final[dict[str, Any]] = {
    "criteriaOperator": "and",
    "criteria": [
        {"attribute": "product-name", "operator": "contains", "value": "wind"},
        {"attribute": "price", "operator": "gte", "value": 100},
    ],
    "sort": [{"attribute": "price", "order": "desc"}],
}
_QUERY: Final[dict[str, Any]] = {
    "id": "sq-expensive",
    "name": "Expensive windbreakers",
    "description": "For the spring campaign",
    **_SEARCH,
}
_SAVED: Final[dict[str, Any]] = {
    **_QUERY,
    "createdBy": "user-admin",
    "createdAt": "2026-02-01T09:30:00.000Z",
}


def search_examples(page: dict[str, Any]) -> dict[str, Examples]:
    """Those of the routes that search, which all answer such a page."""
    return {
        "listSavedQueries": Examples(answered=[_SAVED]),
        "createSavedQuery": Examples(_QUERY, _SAVED),
        "getSavedQuery": Examples(answered=_SAVED),
        "executeSavedQuery": Examples({"limit": 20}, page),
        "searchRecords": Examples(_SEARCH, page),
        "searchTexts": Examples({"query": "coastal wind"}, page),
        "searchTextsByQuery": Examples(answered=page),
    }
