"""A request that is one transaction holds a connection, and waits for nobody who may want one."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from records_service.app import create_app
from records_service.bulk.calls import CALLS, CALLS_OF_WORKSPACE
from records_service.catalogs.categories.commands import TREE_CHANGE_SLOTS
from records_service.config import Config
from records_service.model_objects.commands import MODEL_CHANGE_SLOTS
from records_service.previews.walk import PREVIEW_SLICES, PREVIEWS
from records_service.writes.attempts import CHANGE_SLOTS, RECORD_SLOTS
from records_service.writes.create_batching import WRITE_SLOTS
from shared.errors import ServiceUnavailable
from shared.process.waiting import KeyedSemaphore
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.service import RunningService, Services

KEY = {"Idempotency-Key": "once"}
VALUES = {"sku": [{"scope": {}, "value": "B"}]}
OPERATIONS = [{"id": "ent-a", "schemaId": "schema-x", "values": VALUES}]


@pytest.fixture
async def service(services: Services) -> RunningService:
    return await services.start(create_app, Config, wait_seconds=0.1)


@pytest.fixture
async def workspace(service: RunningService) -> RecordsWorkspace:
    workspace = RecordsWorkspace(service, service, "ws-test")
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    await workspace.record("schema-x", {"sku": "A"}, id="ent-a")
    (await workspace.admin.post("/catalogs", {"id": "cat-a", "name": "A", "alias": "a"})).ok()
    return workspace


async def take_all(held: AsyncExitStack, slots: KeyedSemaphore, key: Any) -> None:
    """As other requests hold them while they wait for a connection."""
    while True:
        try:
            await held.enter_async_context(slots.of(key))
        except ServiceUnavailable:
            return


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/records/ent-a/values/sku", {"value": "B"}),
        ("POST", "/records", {"schemaId": "schema-x", "values": VALUES}),
        ("POST", "/records/bulk", {"operations": OPERATIONS}),
        ("DELETE", "/records/ent-a", None),
        ("POST", "/attributes", {"name": "Size", "alias": "size", "type": "text"}),
        ("POST", "/catalogs/cat-a/categories", {"name": "B", "alias": "b"}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_a_request_with_a_key_takes_no_slot_while_it_holds_a_connection(
    service: RunningService, workspace: RecordsWorkspace, method: str, path: str, body: Any
):
    app, workspace_id = service.app, workspace.id
    async with AsyncExitStack() as held:
        for slots, keys in (
            (WRITE_SLOTS, [workspace_id]),
            (RECORD_SLOTS, [(workspace_id, "ent-a")]),
            (CHANGE_SLOTS, [(workspace_id, kind) for kind in ("change", "transition")]),
            (MODEL_CHANGE_SLOTS, [workspace_id]),
            (TREE_CHANGE_SLOTS, [(workspace_id, "cat-a")]),
            (CALLS_OF_WORKSPACE, [workspace_id]),
            (CALLS, [None]),
            (PREVIEWS, [workspace_id]),
            (PREVIEW_SLICES, [None]),
        ):
            for key in keys:
                await take_all(held, app[slots], key)
        if path != "/records":  # Creates that arrive together are one statement, and take none.
            refused = await workspace.admin.ask(method, path, body)
            assert refused.status == 503, "otherwise the test holds the wrong slots"
        (await workspace.admin.ask(method, path, body, headers=KEY)).ok()
