"""The connector: what a channel of the type `shopify` does at its shop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from workflow_service.connectors.model import (
    Checkpoint,
    Interrupted,
    Item,
    Page,
    Refused,
    Sent,
    TargetFailed,
    Tested,
)
from workflow_service.shopify.documents import DEFINE_RECORD_ID, RECORD_ID, TEST
from workflow_service.shopify.fields import Unfit
from workflow_service.shopify.products import product_input
from workflow_service.shopify.reading import by_record_id, page, present
from workflow_service.shopify.sending import Line, in_bulk, one_by_one
from workflow_service.shopify_api.answers import thing, things
from workflow_service.shopify_api.bulk_operations import waited
from workflow_service.shopify_api.client import Refusal, Shop

BULK_FROM: int = 50
"""Products from which on a bulk operation is quicker than requests within the shop's points."""


class ShopifyConnector:
    """A connection to one shop."""

    def __init__(self, shop: Shop, checkpoint: Checkpoint) -> None:
        self._shop = shop
        self._checkpoint = checkpoint
        self._is_defined = False

    async def test(self) -> Tested:
        """Name, address, plan and number of products of the shop."""
        try:
            data = await self._shop.ask(TEST, {})
        except Refusal as refusal:
            raise TargetFailed(str(refusal)) from None
        shop = thing(data.get("shop"))
        count = thing(data.get("productsCount")).get("count")
        name, url = shop.get("name"), shop.get("url")
        plan = thing(shop.get("plan")).get("publicDisplayName")
        return Tested(
            name if isinstance(name, str) else None,
            url if isinstance(url, str) else None,
            plan if isinstance(plan, str) else None,
            count if isinstance(count, int) else None,
        )

    async def find(self, lost: Sequence[Interrupted]) -> Mapping[str, str]:
        """The creates that the shop has had, by the ids that their products carry there."""
        try:
            await self._settle()
            return await by_record_id(self._shop, [create.entity_id for create in lost])
        except Refusal as refusal:
            # Nothing has ever been created while the shop does not know such ids.
            if refusal.code == "NOT_FOUND":
                return {}
            raise TargetFailed(str(refusal)) from None

    async def push(self, items: Sequence[Item]) -> AsyncIterator[Sent | Refused]:
        """Create and update products."""
        try:
            async for outcome in self._push(items):
                yield outcome
        except Refusal as refusal:
            raise TargetFailed(str(refusal)) from None

    async def pull(self, after: str | None) -> Page:
        """Products behind the one with this number."""
        try:
            return await page(self._shop, after)
        except Refusal as refusal:
            raise TargetFailed(str(refusal)) from None

    async def _push(self, items: Sequence[Item]) -> AsyncIterator[Sent | Refused]:
        await self._settle()
        if not all(item.external_id for item in items):
            await self._define_record_id()
        at_shop = await present(
            self._shop,
            [
                item.external_id
                for item in items
                if item.external_id and item.fields.get("variants")
            ],
        )
        lines = []
        for item in items:
            variants = at_shop.get(item.external_id or "")
            if variants is None and item.external_id and item.fields.get("variants"):
                yield Refused(
                    item.entity_id, "The shop does not have the product any more", is_gone=True
                )
                continue
            try:
                lines.append(Line(item, product_input(item, variants or ())))
            except Unfit as error:
                yield Refused(item.entity_id, str(error))
        sending = (
            one_by_one(self._shop, lines)
            if len(lines) < BULK_FROM
            else in_bulk(self._shop, lines, self._checkpoint)
        )
        async for outcome in sending:
            yield outcome

    async def _settle(self) -> None:
        """Wait for the operation of a process that has died: what it makes is then found."""
        if self._checkpoint.value:
            await waited(self._shop, self._checkpoint.value)
            await self._checkpoint.save(None)

    async def _define_record_id(self) -> None:
        """Tell the shop that the ids of our records are unique there; once is enough."""
        if not self._is_defined:
            data = await self._shop.ask(
                DEFINE_RECORD_ID,
                {
                    "definition": {
                        **RECORD_ID,
                        "name": "Sigma PIM record",
                        "ownerType": "PRODUCT",
                        "type": "id",
                    }
                },
            )
            created = thing(data.get("metafieldDefinitionCreate"))
            codes = [error.get("code") for error in things(created.get("userErrors"))]
            if any(code != "TAKEN" for code in codes):
                raise TargetFailed(
                    "The shop does not take the metafield that marks our products"
                    f" ({str(codes[0])[:100]})"
                )
            self._is_defined = True
