"""How people find the demo's products: a catalog, its categories, and a saved query."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.local.catalogue import CATALOG, CLOTHING, SHOES, Body, products

CATALOGS: tuple[Body, ...] = (
    {
        "id": CATALOG,
        "alias": "webshop",
        "name": "Web shop",
        "description": "What is sold on the web, as its visitors find it",
    },
)

SAVED_QUERIES: tuple[Body, ...] = (
    {
        "id": "sq-expensive",
        "name": "Expensive windbreakers",
        "description": "For the spring campaign",
        "criteria": [
            {"attribute": "product-name", "operator": "contains", "value": "wind"},
            {"attribute": "price", "operator": "gte", "value": 100},
        ],
        "sort": [{"attribute": "price", "order": "desc"}],
    },
)


def _category(alias: str, name: str, order: int, parent: str | None = None) -> Body:
    return {
        "id": f"ctg-{alias}",
        "parentId": parent and f"ctg-{parent}",
        "alias": alias,
        "name": name,
        "sortOrder": order,
    }


CATEGORIES: tuple[Body, ...] = (
    _category("clothing", "Clothing", 1),
    *(_category(a, n, i, "clothing") for i, (a, n) in enumerate(CLOTHING.items(), start=1)),
    _category("shoes", "Shoes", 2),
    *(_category(a, n, i, "shoes") for i, (a, n) in enumerate(SHOES.items(), start=1)),
)
"""A category comes after its parent."""


def assignments() -> Mapping[str, list[str]]:
    """Category -> the products in it: those whose attribute `category` says so."""
    found: dict[str, list[str]] = {}
    for body, _ in products():
        for entry in body["values"].get("category", ()):
            category = "ctg-" + entry["value"].removeprefix("val-")
            found.setdefault(category, []).append(body["id"])
    return found
