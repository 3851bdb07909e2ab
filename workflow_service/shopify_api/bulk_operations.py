"""Bulk operations: a mutation that Shopify runs for each line of a file, without taking points.

The file is uploaded, the operation started, asked for until it has ended, and its results are
downloaded: a line for each line, in any order.

Source: the guide to bulk imports with the GraphQL Admin API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson

from workflow_service.connectors.model import TargetFailed
from workflow_service.shopify_api.answers import text, thing, things
from workflow_service.shopify_api.client import Document, Shop

BULK_BYTES_MAX: Final = 90 << 20
"""Shopify takes files of up to 100 MB."""
POLL_S: Final = 0.5
POLL_S_MAX: Final = 10.0
BULK_S_MAX: Final = 24 * 3_600
"""Shopify ends an operation after 24 hours."""
BUSY_S_MAX: Final = 3_600
"""How long operations of others are waited for."""
_BUSY: Final = frozenset({"OPERATION_IN_PROGRESS", "LIMIT_REACHED"})
_ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELED", "EXPIRED"})

STAGE_UPLOAD: Final = Document(
    """mutation StageUpload($input: [StagedUploadInput!]!) {
      stagedUploadsCreate(input: $input) {
        stagedTargets { url parameters { name value } }
        userErrors { field message }
      }
    }""",
    11,
)

RUN_BULK: Final = Document(
    """mutation RunBulk($mutation: String!, $path: String!) {
      bulkOperationRunMutation(mutation: $mutation, stagedUploadPath: $path) {
        bulkOperation { id }
        userErrors { code field message }
      }
    }""",
    11,
)

BULK: Final = Document(
    """query Bulk($id: ID!) {
      bulkOperation(id: $id) { status errorCode url partialDataUrl }
    }""",
    1,
)


async def start(shop: Shop, mutation: Document, content: bytes) -> str:
    """Upload the variables, one JSON object a line, and run the mutation for each.

    Answers the id of the operation. Raises `TargetFailed`.
    """
    path = await _staged(shop, content)
    waited_s = 0.0
    while True:
        data = await shop.ask(RUN_BULK, {"mutation": mutation.text, "path": path})
        result = thing(data.get("bulkOperationRunMutation"))
        if result.get("bulkOperation"):
            return text(thing(result["bulkOperation"]), "id")
        first = next(iter(things(result.get("userErrors"))), {})
        code = str(first.get("code"))[:100]
        if code not in _BUSY or waited_s >= BUSY_S_MAX:
            raise TargetFailed(f"Shopify does not run a bulk operation ({code})")
        await asyncio.sleep(POLL_S_MAX)
        waited_s += POLL_S_MAX


async def waited(shop: Shop, operation_id: str) -> Mapping[str, Any]:
    """The operation, once it has ended; empty if Shopify does not know it any more."""
    waited_s, pause_s = 0.0, POLL_S
    while True:
        operation = thing((await shop.ask(BULK, {"id": operation_id})).get("bulkOperation"))
        if not operation or operation.get("status") in _ENDED:
            return operation
        if waited_s > BULK_S_MAX:
            raise TargetFailed("Shopify's bulk operation has not ended within 24 hours")
        await asyncio.sleep(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 1.5, POLL_S_MAX)


async def results(shop: Shop, ended: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of results of an operation that has ended, as far as there are any.

    Raises `TargetFailed`.
    """
    url = ended.get("url") or ended.get("partialDataUrl")
    if not isinstance(url, str):
        return []
    try:
        rows = [orjson.loads(line) for line in (await shop.download(url)).splitlines() if line]
    except ValueError:
        raise TargetFailed("The result of Shopify's bulk operation is not JSON Lines") from None
    return [row for row in rows if isinstance(row, dict)]


async def _staged(shop: Shop, content: bytes) -> str:
    data = await shop.ask(
        STAGE_UPLOAD,
        {
            "input": [
                {
                    "resource": "BULK_MUTATION_VARIABLES",
                    "filename": "products.jsonl",
                    "mimeType": "text/jsonl",
                    "httpMethod": "POST",
                }
            ]
        },
    )
    targets = things(thing(data.get("stagedUploadsCreate")).get("stagedTargets"))
    if not targets:
        raise TargetFailed("Shopify gives no place for the file of a bulk operation")
    form = {
        text(parameter, "name"): str(parameter.get("value", ""))
        for parameter in things(targets[0].get("parameters"))
    }
    await shop.upload(text(targets[0], "url"), form, content)
    return text(form, "key")
