"""Answers the fields of the schema from the test shop's products, files and operations."""

# ruff: noqa: A002, N802, N803 - the methods and their arguments have the names of the schema

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    parse,
    validate,
)

from tests.kit.shopify.products import Catalogue, Product, UserError, Variant

SCHEMA = build_schema((Path(__file__).parent / "schema.graphql").read_text())
INPUT_ARRAY_MAX = 250


def _money(value: Any) -> str:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+(\.\d+)?", str(value)):
        raise GraphQLError(f"Invalid money value: {value!r}")
    return str(value)


SCHEMA.type_map["Money"].parse_value = _money  # type: ignore[attr-defined]
SCHEMA.type_map["Node"].resolve_type = (  # type: ignore[attr-defined]
    lambda one, *_: one["__typename"]
)


class Root:
    """The resolvers of queries and mutations: a method for each field."""

    def __init__(self, catalogue: Catalogue, operations: Any, base: str, name: str) -> None:
        self._catalogue = catalogue
        self._operations = operations
        self._base = base
        self._name = name

    def shop(self, _info: Any) -> dict[str, Any]:
        return {
            "id": "gid://shopify/Shop/1",
            "name": self._name,
            "url": f"https://{self._name.lower().replace(' ', '-')}.example",
            "myshopifyDomain": "test-shop.myshopify.com",
            "plan": {
                "publicDisplayName": "Basic",
                "partnerDevelopment": False,
                "shopifyPlus": False,
            },
        }

    def productsCount(self, _info: Any, **_: Any) -> dict[str, Any]:
        return {"count": len(self._catalogue.products), "precision": "EXACT"}

    def product(self, _info: Any, id: str) -> Any:
        return shown(self._catalogue.products.get(id))

    def nodes(self, _info: Any, ids: list[str]) -> list[Any]:
        if len(ids) > INPUT_ARRAY_MAX:
            raise GraphQLError(
                f"The input array size of {len(ids)} is greater than the maximum allowed of 250.",
                extensions={"code": "MAX_INPUT_SIZE_EXCEEDED"},
            )
        return [shown(self._catalogue.products.get(id_)) for id_ in ids]

    def productByIdentifier(self, _info: Any, identifier: dict[str, Any]) -> Any:
        products = self._catalogue.products
        if "customId" in identifier:
            self._check_definition(identifier["customId"])
            return shown(self._catalogue.by_custom_id(identifier["customId"]))
        if "id" in identifier:
            return shown(products.get(identifier["id"]))
        same = (one for one in products.values() if one.values["handle"] == identifier["handle"])
        return shown(next(same, None))

    def products(self, _info: Any, first: int, **asked: Any) -> dict[str, Any]:
        found = sorted(self._catalogue.products.values(), key=lambda product: product.number)
        query = asked.get("query")
        if query:
            behind = re.fullmatch(r"id:>(\d+)", query)
            if not behind:
                raise NotImplementedError(query)
            found = [product for product in found if product.number > int(behind[1])]
        return connection([shown(product) for product in found], first, asked.get("after"))

    def productSet(
        self,
        _info: Any,
        input: dict[str, Any],
        identifier: Any = None,
        **_: Any,
    ) -> dict[str, Any]:
        if identifier and "customId" in identifier:
            self._check_definition(identifier["customId"])
        try:
            product = self._catalogue.set(identifier, input)
        except UserError as error:
            return {"product": None, "userErrors": [error.shown]}
        return {"product": shown(product), "userErrors": []}

    def metafieldDefinitionCreate(self, _info: Any, definition: dict[str, Any]) -> dict[str, Any]:
        key = (definition.get("namespace") or "app", definition["key"])
        if key in self._catalogue.definitions:
            taken = {"code": "TAKEN", "field": ["definition", "key"], "message": "Key is in use."}
            return {"createdDefinition": None, "userErrors": [taken]}
        self._catalogue.definitions[key] = definition["type"]
        made = {
            "__typename": "MetafieldDefinition",
            "id": self._catalogue.new_id("MetafieldDefinition"),
            "name": definition["name"],
            "namespace": key[0],
            "key": key[1],
        }
        return {"createdDefinition": made, "userErrors": []}

    def stagedUploadsCreate(
        self,
        _info: Any,
        input: list[dict[str, Any]],
    ) -> dict[str, Any]:
        targets = [
            {
                "url": f"{self._base}/uploads",
                "resourceUrl": None,
                "parameters": [
                    {"name": "key", "value": self._operations.new_key(one["filename"])},
                    {"name": "Content-Type", "value": one["mimeType"]},
                    {"name": "success_action_status", "value": "201"},
                    {"name": "policy", "value": base64.b64encode(b"signed").decode()},
                ],
            }
            for one in input
        ]
        return {"stagedTargets": targets, "userErrors": []}

    def bulkOperation(self, _info: Any, id: str) -> Any:
        return self._operations.shown(id)

    def bulkOperationRunMutation(
        self,
        _info: Any,
        mutation: str,
        stagedUploadPath: str,
        **_: Any,
    ) -> dict[str, Any]:
        refusal = _refusal_of(mutation) or self._operations.refusal(stagedUploadPath)
        if refusal:
            code, message = refusal
            return {
                "bulkOperation": None,
                "userErrors": [{"code": code, "field": None, "message": message}],
            }
        return {
            "bulkOperation": self._operations.run(mutation, stagedUploadPath),
            "userErrors": [],
        }

    def _check_definition(self, custom_id: dict[str, str]) -> None:
        key = (custom_id.get("namespace") or "app", custom_id["key"])
        if self._catalogue.definitions.get(key) != "id":
            raise GraphQLError(
                "Metafield definition of type 'id' is required when using custom ids.",
                extensions={"code": "NOT_FOUND"},
            )


def _refusal_of(mutation: str) -> tuple[str, str] | None:
    try:
        document = parse(mutation)
    except GraphQLError as error:
        return "INVALID_MUTATION", str(error)
    problems = validate(SCHEMA, document)
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    if problems:
        return "INVALID_MUTATION", str(problems[0])
    if len(operations) != 1 or operations[0].operation is not OperationType.MUTATION:
        return "INVALID_MUTATION", "Expected one mutation"
    if len(operations[0].selection_set.selections) != 1:
        return "INVALID_MUTATION", "Expected one field at the top"
    return None


def shown(product: Product | None) -> dict[str, Any] | None:
    """A product as the executor reads it."""
    if product is None:
        return None
    values = product.values
    category = values["category"]
    return {
        **values,
        "__typename": "Product",
        "id": product.id,
        "seo": {"title": None, "description": None} | product.seo,
        "category": {"__typename": "TaxonomyCategory", "id": category} if category else None,
        "createdAt": product.at,
        "updatedAt": product.at,
        "variants": lambda _info, first, after=None: connection(
            [_variant(variant, n) for n, variant in enumerate(product.variants, 1)], first, after
        ),
    }


def _variant(variant: Variant, position: int) -> dict[str, Any]:
    return {
        **variant.values,
        "__typename": "ProductVariant",
        "id": variant.id,
        "position": position,
        "title": " / ".join(variant.options.values()),
        "selectedOptions": [
            {"name": name, "value": value} for name, value in variant.options.items()
        ],
    }


def connection(found: list[Any], first: int, after: str | None) -> dict[str, Any]:
    if not 0 < first <= INPUT_ARRAY_MAX:
        raise GraphQLError("first must be between 1 and 250", extensions={"code": "BAD_REQUEST"})
    start = int(base64.b64decode(after)) if after else 0
    page = found[start : start + first]
    return {
        "nodes": page,
        "edges": [{"cursor": _cursor(start + n), "node": one} for n, one in enumerate(page, 1)],
        "pageInfo": {
            "hasNextPage": len(found) > start + first,
            "hasPreviousPage": start > 0,
            "startCursor": _cursor(start + 1) if page else None,
            "endCursor": _cursor(start + len(page)) if page else None,
        },
    }


def _cursor(number: int) -> str:
    return base64.b64encode(str(number).encode()).decode()


def now() -> str:
    return datetime.now(UTC).isoformat()
