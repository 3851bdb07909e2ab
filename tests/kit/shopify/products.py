"""The products of the test shop, and what `productSet` does to them.

It creates or updates; fields that are not sent stay, lists that are sent are the whole list: a
variant or metafield that is not in it is deleted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

OPTIONS_MAX = 3
VARIANTS_MAX = 2_048
PLAIN = (
    "category",
    "descriptionHtml",
    "productType",
    "status",
    "tags",
    "templateSuffix",
    "title",
    "vendor",
)
OF_VARIANT = ("barcode", "compareAtPrice", "inventoryPolicy", "price", "sku", "taxable")


class UserError(Exception):
    """What `userErrors` of a payload say."""

    def __init__(self, code: str, field_: list[str] | None, message: str) -> None:
        super().__init__(message)
        self.shown = {"code": code, "field": field_, "message": message}


@dataclass
class Variant:
    id: str
    options: dict[str, str]
    values: dict[str, Any]


@dataclass
class Product:
    id: str
    values: dict[str, Any]
    seo: dict[str, Any] = field(default_factory=dict)
    metafields: dict[tuple[str, str], str] = field(default_factory=dict)
    variants: list[Variant] = field(default_factory=list)
    at: str = ""

    @property
    def number(self) -> int:
        return int(self.id.rpartition("/")[2])


class Catalogue:
    """All products, by id."""

    def __init__(self) -> None:
        self.products: dict[str, Product] = {}
        self.definitions: dict[tuple[str, str], str] = {}
        self.writes: list[str] = []
        """The id of the product of every `productSet` that had an effect, in their order."""
        self._numbers = count(1_001)
        self._by_custom_id: dict[tuple[str, str, str], str] = {}
        self._by_handle: dict[str, str] = {}

    def new_id(self, kind: str) -> str:
        return f"gid://shopify/{kind}/{next(self._numbers)}"

    def by_custom_id(self, custom_id: dict[str, str]) -> Product | None:
        key = (custom_id.get("namespace") or "app", custom_id["key"], custom_id["value"])
        return self.products.get(self._by_custom_id.get(key, ""))

    def set(self, identifier: dict[str, Any] | None, sent: dict[str, Any]) -> Product:
        """Create or update; raises `UserError`, and then nothing has changed."""
        product, metafields = self._addressed(identifier, sent)
        is_new = product.id not in self.products
        if (is_new or "title" in sent) and not (sent.get("title") or "").strip():
            raise UserError("INVALID_PRODUCT", ["input", "title"], "Title can't be blank")
        handle = self._handle(product, sent)
        variants = self._variants(product, sent)
        product.values |= {name: sent[name] for name in PLAIN if name in sent}
        product.values["handle"] = handle
        product.seo |= sent.get("seo") or {}
        if "metafields" in sent:
            product.metafields = {
                (one.get("namespace") or "app", one["key"]): one["value"]
                for one in sent["metafields"]
            }
        product.metafields |= metafields
        for (namespace, key), value in product.metafields.items():
            self._by_custom_id[namespace, key, value] = product.id
        self._by_handle[handle] = product.id
        product.variants = variants
        product.at = datetime.now(UTC).isoformat()
        self.products[product.id] = product
        self.writes.append(product.id)
        return product

    def _addressed(self, identifier, sent) -> tuple[Product, dict[tuple[str, str], str]]:
        if identifier and sent.get("id"):
            raise UserError(
                "ID_NOT_ALLOWED", ["input", "id"], "The id field is not allowed with an identifier."
            )
        product_id = (identifier or {}).get("id") or sent.get("id")
        if product_id:
            if product_id not in self.products:
                raise UserError("PRODUCT_DOES_NOT_EXIST", ["identifier"], "Product does not exist")
            return self.products[product_id], {}
        custom_id = (identifier or {}).get("customId")
        metafields = {}
        if custom_id:
            key = (custom_id.get("namespace") or "app", custom_id["key"])
            metafields = {key: custom_id["value"]}
            listed = [
                (one.get("namespace") or "app", one.get("key"), one.get("value"))
                for one in sent.get("metafields") or ()
            ]
            if listed and (*key, custom_id["value"]) not in listed:
                raise UserError(
                    "METAFIELD_MISMATCH",
                    ["input", "metafields"],
                    "Must contain the customId value.",
                )
            there = self.by_custom_id(custom_id)
            if there:
                return there, metafields
        return Product(self.new_id("Product"), dict(_NEW)), metafields

    def _handle(self, product: Product, sent: dict[str, Any]) -> str:
        if sent.get("handle"):
            if self._is_taken(sent["handle"], product):
                raise UserError("HANDLE_NOT_UNIQUE", ["input", "handle"], "Handle already in use.")
            return str(sent["handle"])
        if product.values.get("handle"):
            return str(product.values["handle"])
        made = re.sub(r"[^a-z0-9]+", "-", sent["title"].lower()).strip("-") or "product"
        names = (made if n == 0 else f"{made}-{n}" for n in count())
        return next(name for name in names if not self._is_taken(name, product))

    def _is_taken(self, handle: str, product: Product) -> bool:
        other = self._by_handle.get(handle)
        return other in self.products and other != product.id

    def _variants(self, product: Product, sent: dict[str, Any]) -> list[Variant]:
        if "variants" not in sent:
            if "productOptions" in sent:
                raise UserError(
                    "VARIANTS_INPUT_MISSING", ["input"], "Must specify variants with options."
                )
            return product.variants or [
                Variant(
                    self.new_id("ProductVariant"), {"Title": "Default Title"}, dict(_NEW_VARIANT)
                )
            ]
        if "productOptions" not in sent:
            raise UserError(
                "PRODUCT_OPTIONS_INPUT_MISSING", ["input"], "Must specify options with variants."
            )
        options = _options(sent["productOptions"])
        if len(sent["variants"]) > VARIANTS_MAX:
            raise UserError(
                "VARIANTS_OVER_LIMIT", ["input", "variants"], "Exceeds the limit of variants."
            )
        known = {variant.id: variant for variant in product.variants}
        variants: list[Variant] = []
        for n, one in enumerate(sent["variants"]):
            place = ["input", "variants", str(n)]
            chosen = _chosen(one["optionValues"], options, place)
            if any(chosen == variant.options for variant in variants):
                raise UserError(
                    "INVALID_VARIANT", place, f"The variant '{' / '.join(chosen.values())}' exists."
                )
            if one.get("id") and one["id"] not in known:
                raise UserError(
                    "PRODUCT_VARIANT_DOES_NOT_EXIST", [*place, "id"], "Variant does not exist."
                )
            if one.get("price") is not None and float(one["price"]) < 0:
                raise UserError(
                    "INVALID_VARIANT", [*place, "price"], "Price must be greater than or equal to 0"
                )
            there = known.get(one.get("id"))
            variants.append(
                Variant(
                    one.get("id") or self.new_id("ProductVariant"),
                    chosen,
                    (dict(there.values) if there else dict(_NEW_VARIANT))
                    | {name: one[name] for name in OF_VARIANT if name in one},
                )
            )
        return variants


def _options(sent: list[dict[str, Any]]) -> dict[str, list[str]]:
    place = ["input", "productOptions"]
    if len(sent) > OPTIONS_MAX:
        raise UserError("OPTIONS_OVER_LIMIT", place, "Over the limit of 3 options.")
    options: dict[str, list[str]] = {}
    for option in sent:
        values = [value["name"] for value in option.get("values") or ()]
        if not values:
            raise UserError("OPTION_VALUES_MISSING", place, "Each option must have a value.")
        if option["name"] in options:
            raise UserError("DUPLICATED_OPTION_NAME", place, "Duplicated option name.")
        if len(set(values)) < len(values):
            raise UserError("DUPLICATED_OPTION_VALUE", place, "Duplicated option value.")
        options[option["name"]] = values
    return options


def _chosen(sent, options: dict[str, list[str]], place: list[str]) -> dict[str, str]:
    chosen = {}
    for one in sent:
        name = one.get("optionName")
        if name not in options:
            raise UserError("OPTION_DOES_NOT_EXIST", place, "Option does not exist.")
        if one.get("name") not in options[name]:
            raise UserError("OPTION_VALUE_DOES_NOT_EXIST", place, "Option value does not exist.")
        chosen[name] = one["name"]
    for name in options:
        if name not in chosen:
            raise UserError("INVALID_VARIANT", place, f"You need to add option values for {name}")
    return {name: chosen[name] for name in options}


_NEW: dict[str, Any] = {
    "descriptionHtml": "",
    "productType": "",
    "status": "ACTIVE",
    "tags": [],
    "templateSuffix": None,
    "vendor": "Test shop",
    "category": None,
    "title": "",
}
_NEW_VARIANT: dict[str, Any] = {
    "barcode": None,
    "compareAtPrice": None,
    "inventoryPolicy": "DENY",
    "price": "0.00",
    "sku": "",
    "taxable": True,
}
