"""What leaves the system, and what is told of it, is the same whatever is hidden.

As in `test_hidden_tells_nothing.py`, with webhooks, export jobs and channels: the payloads and
files that somebody's rights make, and all that they are answered about those of an administrator.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.kit import identities
from tests.kit.direct import DirectServices
from tests.kit.eventually import eventually
from tests.kit.receiver import Receiver, receiving
from tests.kit.rest_target import RestTarget
from tests.kit.sigma import Caller
from tests.kit.workspace import entries
from tests.service.hidden_worlds import (
    DRY,
    FLAGS,
    ONE,
    PROBLEMS,
    SCHEMA,
    TWO,
    Ask,
    World,
    compare,
    masked,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = {"sourceAttribute": "name", "targetField": "title"}
HIDDEN = [
    {"sourceAttribute": "margin", "targetField": "margin"},
    {"sourceAttribute": "memo", "targetField": "memo"},
    {"sourceAttribute": "code", "targetField": "code"},
]
CHANNELS = {
    "ch-all": {"fieldMappings": [NAME, *HIDDEN]},
    "ch-own": {"fieldMappings": [NAME, *HIDDEN]},
    "ch-plain": {"fieldMappings": [NAME], "catalogId": "cat-open"},
    "ch-hidden": {"fieldMappings": [NAME]},
}
"""`ch-own` is synchronised by who does not see all; `ch-hidden` has the records of a catalog that
they may not view."""
EVENTS = ["entity.created", "entity.updated", "entity.deleted", "variant.updated"]


@dataclass(frozen=True)
class Outside:
    """A workspace, what it sends to, and two who have something sent."""

    world: World
    receiver: Receiver
    others: RestTarget
    target: RestTarget
    """That of `ch-own`."""
    porter: Caller

    @property
    def admin(self) -> Caller:
        return self.world.workspace.admin

    async def build(self) -> None:
        w = self.world.workspace
        await w.services.running["auth_service"].database.execute(
            """INSERT INTO users (workspace_id, id, email, name, role_id, password_hash, active,
                                  quick_login, version, created_at, updated_at)
               VALUES ($1, 'user-porter', $1, 'Porter', 'role-porter', 'none', true, false, 1,
                       now(), now())""",
            w.id,
        )
        for channel, more in CHANNELS.items():
            config = {"url": (self.target if channel == "ch-own" else self.others).url}
            body = {"id": channel, "name": channel, "alias": channel, "type": "custom"}
            body |= {"config": config, "schemaId": SCHEMA, **more}
            if channel == "ch-hidden":
                body["catalogId"] = f"cat-{self.world.catalog}"
            (await self.admin.post("/channels", body)).ok()
        for job, caller in (("job-admin", self.admin), ("job-own", self.porter)):
            body = {"id": job, "name": job, "format": "xml", "schedule": "0 0 1 1 *"}
            body |= {"destinationType": "webhook"}
            body |= {"destinationConfig": {"url": f"{self.receiver.url}/{job}"}}
            (await caller.post("/export-jobs", body)).ok()
        hook = {"id": "wh-1", "name": "Hook", "url": f"{self.receiver.url}/hook", "events": EVENTS}
        (await self.admin.post("/webhooks", hook)).ok()
        # As one whose owner had another role when it was made.
        await w.services.running["workflow_service"].database.execute(
            """WITH changed AS (
                   UPDATE webhooks SET runs_as = 'user-porter', runs_as_kind = 'user',
                                       version = version + 1
                    WHERE workspace_id = $1)
               SELECT pg_notify('sigma_webhooks', $1 || ' wh-1')""",
            w.id,
        )

    async def synchronise(self, caller: Caller, channel: str, way: str) -> None:
        log = (await caller.post(f"/channels/{channel}/{way}")).ok()

        async def ended() -> bool:
            path = f"/channels/{channel}/sync-logs/{log['id']}"
            return bool((await caller.get(path)).ok()["status"] != "running")

        await eventually(ended, within_s=60)

    async def run(self, job: str) -> None:
        (await self.porter.post(f"/export-jobs/{job}/runs")).ok()

        async def ended() -> bool:
            runs = (await self.admin.get(f"/export-jobs/{job}/runs")).ok()
            assert [one["error"] for one in runs] == [None]
            return bool(runs[0]["status"] == "success")

        await eventually(ended, within_s=60)

    async def change(self) -> None:
        """Change what is hidden, what is not, and both."""
        margin = 41 if self.world.values is ONE else 43
        for body in ({"margin": margin}, {"name": "Other"}, {"margin": 7, "name": "Third"}):
            sent = {"values": entries(body)}
            (await self.admin.put("/records/ent-1", sent)).ok()
        (await self.admin.put("/records/ent-1/variants/var-1", {"values": {}})).ok()
        new = {"name": "New", "margin": margin, "secret": f"word {margin}"}
        await self.world.workspace.record(SCHEMA, new, id="ent-9")
        (await self.admin.delete("/records/ent-9")).ok()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def outside(direct: DirectServices) -> AsyncIterator[tuple[Outside, Outside]]:
    """With processes that send, and what an administrator has sent already."""
    made: list[Outside] = []
    async with AsyncExitStack() as exits:
        for values, catalog, assigned in (
            (ONE, "closed", ("ent-1", "ent-3")),
            (TWO, "shut", ("ent-2",)),
        ):
            world = World(await direct.workspace(), values, catalog, assigned)
            await world.build()
            role, flags = "role-porter", FLAGS["role-porter"]
            who = identities.user(world.workspace.id, role, flags=flags, user_id="user-porter")
            receiver = await exits.enter_async_context(receiving())
            others = await exits.enter_async_context(RestTarget().serve())
            target = await exits.enter_async_context(RestTarget().serve())
            made.append(Outside(world, receiver, others, target, direct.caller(who)))
        await direct.background()
        one, two = made
        await both(one.build(), two.build())
        for each in made:
            # Pushed again after a change, of which one workspace has another than the other.
            await each.synchronise(each.admin, "ch-all", "push")
            if each is one:
                changed = {"values": entries({"margin": 77})}
                (await each.admin.put("/records/ent-3", changed)).ok()
            else:
                (
                    await each.admin.put(
                        "/records/ent-3", {"values": entries({"grade": "val-low"})}
                    )
                ).ok()
            for channel in ("ch-all", "ch-plain", "ch-hidden"):
                await each.synchronise(each.admin, channel, "push")
        yield one, two


async def both(one: Awaitable[None], two: Awaitable[None]) -> None:
    await asyncio.gather(one, two)


def reads() -> list[Ask]:
    """Everything that tells of what was sent for others."""
    paths = [
        *("/webhooks", "/webhooks/wh-1", "/webhooks/wh-1/deliveries"),
        *("/webhooks/wh-1/deliveries?status=succeeded", "/export-jobs"),
        *(f"/export-jobs/job-{one}{more}" for one in ("admin", "own") for more in ("", "/runs")),
        "/channels/ch-all",
        *(f"/channels/{one}/sync-logs{more}" for one in CHANNELS for more in ("", "?limit=1")),
        *(f"/channels/{one}/sync-mappings" for one in CHANNELS if one != "ch-plain"),
        *(f"/channels/{one}/sync-mappings?entityId=ent-{n}" for one in CHANNELS for n in (1, 3)),
    ]
    return [("GET", path, None, headers) for path in paths for headers in ({}, PROBLEMS)]


def trials() -> list[Ask]:
    """Everything that tries something out, or is for others to start."""
    after = {"after": "2026-01-01T00:00:00Z"}
    asks: list[Ask] = [
        ("POST", "/webhooks/wh-1/replay", after, {}),
        ("POST", "/webhooks/wh-1/test", None, {}),
        ("PUT", "/webhooks/wh-1", {"name": "x"}, {}),
        ("POST", "/export-jobs/job-admin/test-connection", None, {}),
    ]
    for channel in CHANNELS:
        asks.append(("POST", f"/channels/{channel}/test-connection", None, {}))
        asks.append(("POST", f"/channels/{channel}/push", None, DRY))
    asks.append(("POST", "/channels/ch-own/pull", None, DRY))
    asks.append(("POST", "/channels/ch-own/sync", None, DRY))
    return asks


async def nothing_waits(outside: tuple[Outside, Outside]) -> bool:
    """Whether what came of each delivery is stored."""
    path = "/webhooks/wh-1/deliveries?status=pending"
    return not any([(await each.admin.get(path)).ok()["items"] for each in outside])


async def compared(outside: tuple[Outside, Outside], asks: list[Ask]) -> set[int]:
    one, two = outside
    await eventually(lambda: nothing_waits(outside), within_s=60)
    return await compare((one.porter, two.porter), asks)


async def test_the_runs_and_files_of_others_tell_nothing_and_own_files_are_the_same(
    outside: tuple[Outside, Outside],
):
    for each in outside:
        for job in ("job-admin", "job-own"):
            await each.run(job)
    for job in ("job-admin", "job-own"):
        path = f"/export-jobs/{job}/runs"
        (seen,), (known,) = [
            (await caller.get(path)).ok() for caller in (outside[0].porter, outside[0].admin)
        ]
        assert known["recordCount"] == 3 and known["fileSize"] > 100
        assert seen["recordCount"] == (3 if job == "job-own" else None)
    await compared(outside, reads())
    files = [each.receiver.at("/job-own")[0].body.decode() for each in outside]
    whole = [each.receiver.at("/job-admin")[0].body.decode() for each in outside]
    assert masked(files[0]) == masked(files[1]) and "Bag 1" in files[0]
    assert masked(whole[0]) != masked(whole[1])


async def test_a_payload_has_nothing_hidden(outside: tuple[Outside, Outside]):
    await both(*(each.change() for each in outside))
    payloads = []
    for each in outside:

        def all_came(each: Outside = each) -> Any:
            got = list(each.receiver.at("/hook"))
            gone = any(one.json["event"] == "entity.deleted" for one in got)
            third = any(b"Third" in one.body for one in got)
            return gone and third

        await eventually(all_came, within_s=60)
        await eventually(lambda: nothing_waits(outside), within_s=60)
        got = list(each.receiver.at("/hook"))
        got.sort(key=lambda one: one.about[1:])
        payloads.append([masked(one.body.decode()) for one in got])
    assert payloads[0] == payloads[1]
    assert "Third" in str(payloads) and "margin" not in str(payloads)
    assert await compared(outside, reads()) == {200, 403}


async def test_logs_and_mappings_of_others_are_told_to_who_sees_what_is_mapped(
    outside: tuple[Outside, Outside],
):
    assert await compared(outside, reads()) == {200, 403}
    for each in outside:
        for channel, count in (("ch-all", 0), ("ch-plain", 1), ("ch-hidden", 0)):
            path = f"/channels/{channel}/sync-logs"
            logs = (await each.admin.get(path)).ok()
            assert len(logs) > 0
            assert len((await each.porter.get(path)).ok()) == count
            mappings = (await each.porter.get(f"/channels/{channel}/sync-mappings")).ok()
            assert len(mappings) == (2 if count else 0)
            for more in ("", "/errors"):
                one = await each.porter.get(f"{path}/{logs[0]['id']}{more}")
                assert one.status == (200 if count else 404)
    counts = [
        [one["updated"] for one in (await each.admin.get("/channels/ch-all/sync-logs")).ok()]
        for each in outside
    ]
    assert counts[0] != counts[1], "there is something to be told"


async def test_a_push_and_a_pull_tell_nothing_hidden(outside: tuple[Outside, Outside]):
    assert await compared(outside, trials()) == {200, 403, 404}
    for each in outside:
        await each.synchronise(each.porter, "ch-own", "push")
        sent = [product for product in each.target.products.values() if "margin" not in product]
        assert len(sent) >= 3
    await compared(outside, trials())
    for each in outside:
        # One of the codes is taken in one workspace, and each of them is hidden.
        for code in ("AAA", "XXX", "new"):
            each.target.add(title=f"Found {code}", code=code)
        for product in each.target.products.values():
            if product.get("title") == "Bag 2":
                product["margin"] = 2
    await compared(outside, trials())
    for each in outside:
        await each.synchronise(each.porter, "ch-own", "pull")
    await compared(outside, reads())
    log = (await outside[0].porter.get("/channels/ch-own/sync-logs")).ok()[0]
    assert log["failed"] >= 3
