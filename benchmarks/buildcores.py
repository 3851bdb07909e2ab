"""The catalogue buildcores-opendb as a data model and as rows: 30 schemas, 47,551 records.

Read from a folder that the caller names; it is not part of the repository. Objects are flattened to
attributes named after their path; what is no text, number, truth or list of one of them is kept as
JSON text.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

KEY, PRICE = "opendb_id", "list-price"
_UNSENT = ("_category", "_file")


@dataclass
class Category:
    """One schema: its attributes by path, each with its type, and its products, flattened."""

    name: str
    types: dict[str, tuple[str, bool]] = field(default_factory=dict)
    products: list[dict[str, Any]] = field(default_factory=list)

    def alias(self, path: str) -> str:
        """The alias of the attribute; the unique key is that of all schemas."""
        return path if path in (KEY, PRICE) else f"{self.name}.{path}".lower()


def categories(folder: Path) -> list[Category]:
    """All products of the catalogue, by category."""
    found = []
    for file in sorted((folder / "products").glob("*.jsonl.gz")):
        category = Category(file.name.removesuffix(".jsonl.gz"))
        with gzip.open(file) as lines:
            for line in lines:
                product = dict(_flat(orjson.loads(line), ""))
                category.products.append(product)
                for path, value in product.items():
                    kind = _kind(value)
                    known = category.types.setdefault(path, kind)
                    if known != kind:
                        category.types[path] = ("text", False)
        found.append(category)
    return found


def rows(found: list[Category]) -> list[bytes]:
    """One row a product, as NDJSON."""
    return [
        orjson.dumps(
            {
                "id": product[KEY],
                "schemaId": f"schema-{category.name.lower()}",
                "values": {
                    category.alias(path): [{"scope": {}, "value": _as(category.types[path], value)}]
                    for path, value in product.items()
                },
            }
        )
        for category in found
        for product in category.products
    ]


def prices(found: list[Category], price: float) -> list[bytes]:
    """One row a product that sets its price."""
    return [
        orjson.dumps({"id": product[KEY], "values": {PRICE: [{"scope": {}, "value": price}]}})
        for category in found
        for product in category.products
    ]


async def model(workspace: Any, found: list[Category]) -> None:
    """Make the attributes and schemas in a workspace."""
    await workspace.attribute(KEY, validation={"unique": True, "required": True})
    await workspace.attribute(PRICE, type="number", validation={"min": 0})
    for category in found:
        for path, (kind, multiple) in category.types.items():
            if path != KEY:
                await workspace.attribute(
                    category.alias(path),
                    type=kind,
                    multiple=multiple,
                    validation={"required": True} if path == "metadata.name" else {},
                )
        aliases = [category.alias(path) for path in category.types]
        await workspace.schema(category.name.lower(), [*aliases, PRICE])


def _flat(value: dict[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, whole in value.items():
        path = f"{before}{name}"
        part = whole
        if isinstance(whole, list):
            part = [each for each in whole if each not in (None, "")]
        if path in _UNSENT or part in (None, "", []):
            continue
        if isinstance(part, dict):
            yield from _flat(part, f"{path}.")
        else:
            yield path, part


def _kind(value: Any) -> tuple[str, bool]:
    if isinstance(value, list):
        if any(isinstance(each, (dict, list)) for each in value):
            return "text", False
        kinds = {_kind(each) for each in value}
        (kind, multiple), *others = kinds
        return ("text", False) if others or multiple or kind == "boolean" else (kind, True)
    if isinstance(value, bool):
        return "boolean", False
    return ("number" if isinstance(value, (int, float)) else "text"), False


def _as(kind: tuple[str, bool], value: Any) -> Any:
    if kind == ("text", False) and not isinstance(value, str):
        return orjson.dumps(value).decode()
    return value
