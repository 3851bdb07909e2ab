"""A record as the input of `productSet`, which creates or updates a product with its variants.

`productSet` deletes the variants that its input does not name. What is at the shop is therefore
read first, and named again: only variants that we made, and that are gone here, are left out.

Source: the pages of `productSet`, `ProductSetInput` and `ProductSetUserErrorCode`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.errors import truncated
from workflow_service.connectors.model import Item
from workflow_service.shopify.fields import PRODUCT, TEXT, VARIANT, Unfit, converted

OPTIONS_MAX: Final = 3
VARIANTS_MAX: Final = 2_048
_DEFAULT: Final[Mapping[str, str]] = {"Title": "Default Title"}
"""The option of a product without options, and the value of its only variant."""


@dataclass(frozen=True, slots=True)
class Present:
    """A variant that the product has at the shop."""

    id: str
    options: Mapping[str, str]


@dataclass(slots=True)
class _Row:
    """A variant as it is to be; the record's own values, where it has no variants."""

    values: dict[str, Any]
    options: dict[str, str]
    variant_id: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ProductInput:
    """The `input` of `productSet`, and which options tell our variants at the shop."""

    fields: dict[str, Any]
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Variant id -> its option values."""

    @property
    def variants(self) -> int:
        """How many variants the product will have, as far as it is said here."""
        return len(self.fields.get("variants", ()))

    def ids(self, present: Iterable[Present]) -> dict[str, str]:
        """Variant id -> its id at the shop, for those of our variants that the product has."""
        found = {_key(variant.options): variant.id for variant in present}
        return {
            variant_id: found[_key(options)]
            for variant_id, options in self.options.items()
            if _key(options) in found
        }


def product_input(item: Item, present: Sequence[Present] = ()) -> ProductInput:
    """What to send for this record; `present` are the variants that the product has by now.

    Raises `Unfit` for what Shopify cannot have.
    """
    fields = converted(item.fields, PRODUCT)
    variants = item.fields.get("variants")
    if not isinstance(variants, list) or not variants:
        return ProductInput(fields)
    rows = _rows(item, variants)
    kept = _matched(item, rows, present)
    _complete_options(rows, present, kept)
    _check(rows, kept)
    options: dict[str, dict[str, None]] = {}
    for variant in (*(row.options for row in rows), *(variant.options for variant in kept)):
        for name, value in variant.items():
            options.setdefault(name, {})[value] = None
    fields["productOptions"] = [
        {"name": name, "values": [{"name": value} for value in values]}
        for name, values in options.items()
    ]
    fields["variants"] = [
        {**({"id": row.id} if row.id else {}), "optionValues": _named(row.options), **row.values}
        for row in rows
    ] + [{"id": variant.id, "optionValues": _named(variant.options)} for variant in kept]
    return ProductInput(
        fields, {row.variant_id: row.options for row in rows if row.variant_id is not None}
    )


def _rows(item: Item, variants: Sequence[Any]) -> list[_Row]:
    rows = []
    variant_ids = item.variant_ids or (None,)
    for variant_id, variant in zip(variant_ids, variants, strict=False):
        values = variant if isinstance(variant, Mapping) else {}
        options = values.get("options")
        texts = {
            name: TEXT.read(value, f"variants[0].options.{name}")
            for name, value in (options if isinstance(options, Mapping) else {}).items()
        }
        rows.append(
            _Row(
                converted(values, VARIANT, "variants[0]."),
                {name: text for name, text in texts.items() if text},
                variant_id,
            )
        )
    return rows


def _matched(item: Item, rows: Sequence[_Row], present: Sequence[Present]) -> list[Present]:
    """Give the rows the ids of their variants at the shop; answers the variants of others."""
    removed = {
        external
        for variant_id, external in item.variants.items()
        if variant_id not in item.variant_ids
    }
    left = {variant.id: variant for variant in present if variant.id not in removed}
    for row in rows:
        known = item.variants.get(row.variant_id or "")
        if known in left:
            row.id = left.pop(known).id
    by_options = {_key(variant.options): variant.id for variant in left.values()}
    for row in rows:
        same = by_options.get(_key(row.options))
        if row.id is None and same in left:
            row.id = left.pop(same).id
    if not item.variant_ids and rows and rows[0].id is None and left:
        # A record without variants is the first variant of its product.
        rows[0].id = left.pop(next(iter(left))).id
    # Shopify's own variant of a product without options gives way to real ones.
    return [variant for variant in left.values() if variant.options != _DEFAULT]


def _complete_options(
    rows: Sequence[_Row], present: Sequence[Present], kept: Sequence[Present]
) -> None:
    """Without mapped options a variant keeps those that it has; a product's only one needs none."""
    if any(row.options for row in rows):
        return
    at_shop = {variant.id: variant.options for variant in present}
    for row in rows:
        if row.id is not None:
            row.options = dict(at_shop[row.id])
        elif len(rows) == 1 and not kept:
            row.options = dict(_DEFAULT)


def _check(rows: Sequence[_Row], kept: Sequence[Present]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row.options))
    if not names:
        raise Unfit(
            "Several variants need an option that tells them apart:"
            " map an attribute to variants[0].options.<option name>"
        )
    if len(names) > OPTIONS_MAX:
        raise Unfit(f"A product has at most {OPTIONS_MAX} options, got {len(names)}")
    if len(rows) + len(kept) > VARIANTS_MAX:
        raise Unfit(f"A product has at most {VARIANTS_MAX} variants, got {len(rows) + len(kept)}")
    taken = {_key(variant.options) for variant in kept}
    for row in rows:
        missing = [name for name in names if name not in row.options]
        whose = f"Variant '{row.variant_id}'" if row.variant_id else "The record"
        if missing:
            raise Unfit(f"{whose} has no value for the option '{truncated(missing[0])}'")
        if _key(row.options) in taken:
            raise Unfit(f"{whose} has the same option values as another variant of the product")
        taken.add(_key(row.options))
    others = next((variant for variant in kept if set(variant.options) != set(names)), None)
    if others:
        raise Unfit(
            f"The product has variants with the options {truncated(', '.join(others.options))}"
            f" at the shop, the mapping gives {truncated(', '.join(names))}"
        )


def _named(options: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"optionName": name, "name": value} for name, value in options.items()]


def _key(options: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(options.items())
