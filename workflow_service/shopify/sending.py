"""Sends products: few with a request each, many as one bulk operation of Shopify."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from workflow_service.connectors.model import Checkpoint, Item, Refused, Sent
from workflow_service.shopify.documents import RECORD_ID, SET_PRODUCT
from workflow_service.shopify.products import ProductInput
from workflow_service.shopify.reading import variant_of
from workflow_service.shopify_api import bulk_operations
from workflow_service.shopify_api.answers import nodes, text, thing, things
from workflow_service.shopify_api.client import Refusal, Shop

ANSWERED_VARIANTS_MAX: Final = 100
"""Variants whose ids an answer tells. Those of others are found by their options next time."""
_ABSENT: Final = frozenset({"PRODUCT_DOES_NOT_EXIST", "NOT_FOUND"})


@dataclass(frozen=True, slots=True)
class Line:
    """One product to send."""

    item: Item
    product: ProductInput

    @property
    def variables(self) -> dict[str, Any]:
        """Of `SET_PRODUCT`. A create that is sent twice finds the product that it made."""
        return {
            "identifier": {"id": self.item.external_id}
            if self.item.external_id
            else {"customId": {**RECORD_ID, "value": self.item.entity_id}},
            "input": self.product.fields,
            "variants": max(1, min(self.product.variants, ANSWERED_VARIANTS_MAX)),
        }

    @property
    def cost(self) -> float:
        """Points that Shopify takes at most, by its formula for `productSet`."""
        answered = min(self.product.variants, ANSWERED_VARIANTS_MAX)
        return 15 + 0.2 * self.product.variants + 5 * answered

    def outcome(self, data: Any) -> Sent | Refused:
        """What the `data` of the mutation's answer says became of it."""
        result = thing(thing(data).get("productSet"))
        errors = things(result.get("userErrors"))
        if errors:
            return self._refused(errors[0])
        product = thing(result.get("product"))
        if not product:
            return self.unknown("Shopify's answer does not say what became of the product")
        variants = product.get("variants")
        found = [variant_of(variant) for variant in nodes(variants)] if variants else []
        return Sent(self.item.entity_id, text(product, "id"), self.product.ids(found))

    def unknown(self, reason: str) -> Refused:
        """No answer, or none that says it: a create may have had its effect."""
        return Refused(self.item.entity_id, reason, is_unknown=self.item.external_id is None)

    def _refused(self, error: Mapping[str, Any]) -> Refused:
        field = error.get("field")
        path = ".".join(map(str, field))[:200] if isinstance(field, list) else ""
        code = str(error.get("code") or "no code")[:100]
        return Refused(
            self.item.entity_id,
            f"Shopify refused the product{f' at {path}' if path else ''} ({code})",
            detail=str(error.get("message") or "")[:500] or None,
            is_gone=code in _ABSENT and self.item.external_id is not None,
        )


async def one_by_one(shop: Shop, lines: Sequence[Line]) -> AsyncIterator[Sent | Refused]:
    """Send each product with a request of its own, within the shop's points."""
    for line in lines:
        try:
            data = await shop.ask(SET_PRODUCT, line.variables, cost=line.cost)
        except Refusal as refusal:
            yield Refused(line.item.entity_id, str(refusal), detail=refusal.detail or None)
        else:
            yield line.outcome(data)


async def in_bulk(
    shop: Shop, lines: Sequence[Line], checkpoint: Checkpoint
) -> AsyncIterator[Sent | Refused]:
    """Send the products as one operation, which Shopify runs without taking points for it.

    Its id is in the checkpoint while it runs.
    """
    content = b"".join(orjson.dumps(line.variables) + b"\n" for line in lines)
    if len(content) > bulk_operations.BULK_BYTES_MAX:
        async for outcome in one_by_one(shop, lines):
            yield outcome
        return
    operation_id = await bulk_operations.start(shop, SET_PRODUCT, content)
    await checkpoint.save(operation_id)
    ended = await bulk_operations.waited(shop, operation_id)
    await checkpoint.save(None)
    left = dict(enumerate(lines))
    for row in await bulk_operations.results(shop, ended):
        line = left.pop(row.get("__lineNumber", -1), None)
        if line is not None:
            yield _outcome(line, row)
    status = str(ended.get("errorCode") or ended.get("status"))[:100]
    for line in left.values():
        yield line.unknown(f"Shopify's bulk operation has no result for it ({status})")


def _outcome(line: Line, row: Mapping[str, Any]) -> Sent | Refused:
    if not row.get("errors"):
        return line.outcome(row.get("data"))
    message = next(iter(things(row["errors"])), {}).get("message")
    return Refused(
        line.item.entity_id,
        "Shopify refused the product (GraphQL error)",
        detail=str(message or "")[:500] or None,
    )
