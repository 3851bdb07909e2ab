"""The order of events and of the history where ids do not rise: nodes draw them from own ranges."""

from __future__ import annotations

from itertools import cycle

import pytest

from records_service.app import create_app
from records_service.config import Config
from records_service.permissions import store as roles
from shared.messaging import outbox_reading
from tests.kit import identities
from tests.kit.node_ranges import NodeRanges
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller
from tests.service.records.apparel import NO_OTHER_SERVICES, apparel, create, everywhere

DOWNWARDS = (2, 1, 0)


class Writer:
    """Writes one record; every change draws its ids on another node than the one before."""

    def __init__(self, admin: Caller, ranges: NodeRanges) -> None:
        self._admin = admin
        self._ranges = ranges
        self._nodes = cycle(DOWNWARDS)

    async def create(self, sku: str) -> None:
        await self._ranges.draw_on(next(self._nodes))
        await create(self._admin, "ent-a", sku=sku)

    async def update(self, *prices: int) -> None:
        for price in prices:
            await self._ranges.draw_on(next(self._nodes))
            values = {"values": {"price": everywhere(price)}}
            (await self._admin.put("/records/ent-a", values)).ok()

    async def delete(self) -> None:
        await self._ranges.draw_on(next(self._nodes))
        (await self._admin.delete("/records/ent-a")).ok()


@pytest.fixture
async def service(services: Services) -> RunningService:
    return await services.start(create_app, Config, **NO_OTHER_SERVICES)


@pytest.fixture
async def admin(service: RunningService) -> Caller:
    return await apparel(service)


@pytest.fixture
async def writer(service: RunningService, admin: Caller) -> Writer:
    return Writer(admin, NodeRanges(service.database, "audit", "outbox"))


def lines_of(page: dict) -> list[str]:
    return [
        f"{entry['action']} {change['newValue']}"
        for entry in page["items"]
        for change in entry["changes"]
        if change["attribute"] == "price" or entry["action"] != "update"
    ]


async def test_events_and_history_of_a_record_are_in_the_order_of_its_versions(
    service: RunningService, admin: Caller, writer: Writer
):
    await writer.create("AB-101")
    await writer.update(1, 2, 3, 4, 5)
    async with service.database.acquire() as conn:
        rows, _ = await outbox_reading.read(conn)
    assert [row["version"] for row in rows if row["subject"] == "ent-a"] == [1, 2, 3, 4, 5, 6]
    newest_first = ["update 5", "update 4", "update 3", "update 2", "update 1", "create AB-101"]
    for path in ("/records/ent-a/audit", "/audit", "/audit?entityId=ent-a"):
        assert lines_of((await admin.get(path)).ok()) == newest_first, path
    paged = [(await admin.get(f"/audit?offset={n}&limit=2")).ok() for n in (0, 2, 4)]
    assert [line for page in paged for line in lines_of(page)] == newest_first


async def test_nobody_with_a_role_sees_an_earlier_life_where_ids_do_not_rise(
    service: RunningService, admin: Caller, writer: Writer
):
    document = {
        "id": "role-editor",
        "version": 1,
        "schemaPermissions": [
            {"schemaId": "schema-apparel", "attributePermissions": {"*": "write"}}
        ],
    }
    async with service.database.acquire() as conn:
        await roles.upsert(conn, "ws-test", "role-editor", 1, document)
    editor = service.as_(identities.user())
    await writer.create("AB-101")
    await writer.update(1, 2, 3)
    await writer.delete()
    await writer.create("AB-102")
    await writer.update(4, 5)
    whole = (await admin.get("/records/ent-a/audit")).ok()
    assert whole["total"] == 8
    assert lines_of(whole)[:3] == ["update 5", "update 4", "create AB-102"]
    shown = (await editor.get("/records/ent-a/audit")).ok()
    assert (shown["total"], shown["items"]) == (3, whole["items"][:3])
