"""Channels: records are sent to a target and brought in from it, once, with somebody's rights."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from tests.kit.eventually import eventually
from tests.kit.rest_target import RestTarget, cut_off
from tests.kit.sigma import Caller, error
from tests.kit.workspace import Workspace

TITLE = {"sourceAttribute": "title", "targetField": "title"}
PRICE = {"sourceAttribute": "price", "targetField": "variants[0].price"}


@pytest.fixture
async def target() -> Any:
    async with RestTarget().serve() as served:
        yield served


@pytest.fixture
async def sigma(stack: Any) -> Workspace:
    return await workspace_of_shirts(stack, variantEnabled=True)


async def workspace_of_shirts(stack: Any, **schema: Any) -> Workspace:
    sigma: Workspace = await stack.workspace(record_limit=5_000)
    await sigma.dimension("language", ["en", "da"])
    await sigma.attribute("title", dimensionIds=["dim-language"])
    await sigma.attribute("price", "number")
    await sigma.schema("shirt", ["title", "price"], **schema)
    return sigma


async def shirts(sigma: Workspace, count: int) -> None:
    rows = [
        {
            "id": f"ent-{number:04}",
            "schemaId": "schema-shirt",
            "values": {
                "title": [
                    {"scope": {}, "value": f"Shirt {number}"},
                    {"scope": {"dim-language": "seg-da"}, "value": f"Skjorte {number}"},
                ],
                "price": [{"scope": {}, "value": number}],
            },
        }
        for number in range(count)
    ]
    answer = (await sigma.admin.post("/records/bulk", {"operations": rows})).ok()
    assert answer["created"] == count


def channel(target: RestTarget, **more: Any) -> dict[str, Any]:
    return {
        "id": "ch-shop",
        "name": "Shop",
        "alias": "shop",
        "type": "custom",
        "config": {"url": target.url, "headers": {"X-Token": "token-of-the-shop-0123"}},
        "fieldMappings": [TITLE, PRICE],
        "schemaId": "schema-shirt",
        "dimensionScope": {"dim-language": "seg-da"},
    } | more


async def ended(caller: Caller, path: str, channel_id: str = "ch-shop") -> dict[str, Any]:
    """The log of a synchronisation, once it has ended."""
    log = (await caller.post(f"/channels/{channel_id}/{path}")).ok()

    async def done() -> dict[str, Any] | None:
        found = (await caller.get(f"/channels/{channel_id}/sync-logs/{log['id']}")).ok()
        return None if found["status"] == "running" else found

    return await eventually(done, within_s=60)


def counts(log: dict[str, Any]) -> tuple[Any, ...]:
    return log["status"], log["created"], log["updated"], log["skipped"], log["failed"]


async def test_a_push_sends_what_has_changed_and_nothing_twice(
    sigma: Workspace, target: RestTarget
):
    await shirts(sigma, 120)
    (await sigma.admin.post("/channels", channel(target))).ok()
    tested = (await sigma.admin.post("/channels/ch-shop/test-connection")).ok()
    assert (tested["ok"], tested["shopUrl"]) == (True, target.url)

    tried = await sigma.admin.having({"Prefer": "dry-run"}).post("/channels/ch-shop/push")
    assert tried.headers["Preference-Applied"] == "dry-run"
    assert counts(tried.ok()) == ("success", 120, 0, 0, 0)
    assert tried.ok()["changes"][0] == {
        "action": "create",
        "target": "channel",
        "entityId": "ent-0000",
        "externalId": None,
        "fields": {"title": "Skjorte 0", "variants[0].price": 0},
    }
    assert (len(tried.ok()["changes"]), tried.ok()["complete"]) == (100, True)
    assert target.products == {}
    assert (await sigma.admin.get("/channels/ch-shop/sync-logs")).ok() == []

    first = await ended(sigma.admin, "push")
    assert counts(first) == ("success", 120, 0, 0, 0)
    assert first["errors"] == []
    sent = [body for method, _, body in target.asked if method == "POST"]
    assert {"title": "Skjorte 7", "variants": [{"price": 7}]} in sent
    assert target.headers[-1]["X-Token"] == "token-of-the-shop-0123"
    assert len(target.products) == 120

    assert counts(await ended(sigma.admin, "push")) == ("success", 0, 0, 120, 0)
    change = {"scope": {}, "value": 700}
    (await sigma.admin.patch("/records/ent-0007/values/price", change)).ok()
    empty = {"scope": {}, "value": None}
    (await sigma.admin.patch("/records/ent-0008/values/price", empty)).ok()
    assert counts(await ended(sigma.admin, "push")) == ("success", 0, 2, 118, 0)
    updates = [(path, body) for method, path, body in target.asked if method == "PUT"]
    bodies = [body for _, body in updates]
    assert {"title": "Skjorte 7", "variants": [{"price": 700}]} in bodies
    assert {"title": "Skjorte 8", "variants": [{"price": None}]} in bodies
    assert len(target.products) == 120
    logs = (await sigma.admin.get("/channels/ch-shop/sync-logs")).ok()
    assert [one["updated"] for one in logs] == [2, 0, 0]
    mappings = (await sigma.admin.get("/channels/ch-shop/sync-mappings?limit=50")).ok()
    assert len(mappings) == 50
    assert mappings[0].keys() == {
        *("id", "channelId", "entityId", "variantId", "externalId", "checksum", "lastSyncedAt")
    }


async def test_variants_go_with_their_records(sigma: Workspace, target: RestTarget):
    await shirts(sigma, 2)
    (await sigma.admin.post("/channels", channel(target))).ok()
    await ended(sigma.admin, "push")
    for number in (1, 2):
        draft = {"id": f"var-{number}", "values": {"price": [{"scope": {}, "value": 90 + number}]}}
        (await sigma.admin.post("/records/ent-0001/variants", draft)).ok()
    (await sigma.admin.post("/records/ent-0001/variants", {"id": "var-3", "values": {}})).ok()
    assert counts(await ended(sigma.admin, "push")) == ("success", 0, 1, 1, 0)
    prices = [{"price": 91}, {"price": 92}, {"price": 1}]
    assert target.asked[-1][2] == {"title": "Skjorte 1", "variants": prices}


async def test_what_is_hidden_from_who_starts_a_push_is_not_sent(
    sigma: Workspace, target: RestTarget
):
    await shirts(sigma, 3)
    words = {"schema-shirt": {"attr-title": "read", "attr-price": "hidden"}}
    await sigma.role("role-seller", words, canExport=True)
    seller = await sigma.user("role-seller")
    (await sigma.admin.post("/channels", channel(target))).ok()
    assert counts(await ended(seller, "push")) == ("success", 3, 0, 0, 0)
    assert all("variants" not in each for each in target.products.values())
    assert (await seller.post("/channels/ch-shop/pull")).status == 403
    assert (await seller.post("/channels/ch-shop/sync")).status == 403
    assert (await seller.post("/channels/ch-shop/test-connection")).status == 403
    # Who sees all sends the rest; what the seller does not see is no change for them.
    assert counts(await ended(sigma.admin, "push")) == ("success", 0, 3, 0, 0)
    assert counts(await ended(seller, "push")) == ("success", 0, 0, 3, 0)
    prices = [each["variants"] for each in target.products.values()]
    assert sorted(each["price"] for [each] in prices) == [0, 1, 2]


async def test_a_pull_creates_and_updates_by_mapping(sigma: Workspace, target: RestTarget):
    await shirts(sigma, 2)
    (await sigma.admin.post("/channels", channel(target))).ok()
    await ended(sigma.admin, "push")
    new = target.add(title="Ny", variants=[{"price": "12.50"}], other="x")
    target.products["1001"]["title"] = "Andet"
    tried = await sigma.admin.having({"Prefer": "dry-run"}).post("/channels/ch-shop/pull")
    assert counts(tried.ok()) == ("success", 1, 1, 1, 0)
    assert (await sigma.admin.get("/records")).ok()["total"] == 2
    assert counts(await ended(sigma.admin, "pull")) == ("success", 1, 1, 1, 0)
    record = (await sigma.admin.get("/records/ent-0001")).ok()
    assert record["values"]["title"] == [
        {"scope": {}, "value": "Shirt 1"},
        {"scope": {"dim-language": "seg-da"}, "value": "Andet"},
    ]
    mappings = (await sigma.admin.get("/channels/ch-shop/sync-mappings")).ok()
    made = next(one["entityId"] for one in mappings if one["externalId"] == new)
    record = (await sigma.admin.get(f"/records/{made}")).ok()
    assert record["values"] == {
        "title": [{"scope": {"dim-language": "seg-da"}, "value": "Ny"}],
        "price": [{"scope": {}, "value": 12.5}],
    }
    assert counts(await ended(sigma.admin, "pull")) == ("success", 0, 0, 3, 0)
    both = await ended(sigma.admin, "sync")
    # The shop has the price as a text: it gets the number once.
    assert (both["status"], both["created"], both["failed"]) == ("success", 0, 0)
    assert counts(await ended(sigma.admin, "sync")) == ("success", 0, 0, 6, 0)
    target.products[new]["variants"] = [{"price": "cheap"}]
    log = await ended(sigma.admin, "pull")
    assert counts(log) == ("partial", 0, 0, 2, 1)
    assert log["errors"][0]["externalId"] == new
    assert "cheap" in log["errors"][0]["message"]


async def test_a_pull_writes_where_a_push_reads(sigma: Workspace, target: RestTarget):
    await shirts(sigma, 1)
    english = {"dim-language": "seg-en"}
    own = {"scope": english, "value": "Ours"}
    (await sigma.admin.patch("/records/ent-0000/values/title", own)).ok()
    (await sigma.admin.post("/channels", channel(target, dimensionScope={}))).ok()
    await ended(sigma.admin, "push")
    assert target.products["1000"]["title"] == "Ours"
    target.products["1000"]["title"] = "Theirs"
    await ended(sigma.admin, "sync")
    # English is the default: a value without scope would be hidden by it, and be sent back.
    assert target.products["1000"]["title"] == "Theirs"
    values = (await sigma.admin.get("/records/ent-0000")).ok()["values"]["title"]
    assert {"scope": english, "value": "Theirs"} in values
    assert {"scope": {}, "value": "Shirt 0"} in values


async def test_a_create_whose_answer_was_lost_makes_no_second_product(sigma: Workspace):
    await shirts(sigma, 10)
    async with RestTarget(keeps_keys=False).serve() as target:
        (await sigma.admin.post("/channels", channel(target))).ok()
        lost = 0

        async def lose(request: web.Request) -> web.StreamResponse | None:
            nonlocal lost
            if request.method == "POST" and lost < 3:
                lost += 1
                return await cut_off(request)
            return None

        target.after = lose
        log = await ended(sigma.admin, "push")
        assert counts(log) == ("partial", 7, 0, 0, 3)
        page = (await sigma.admin.get(f"/channels/ch-shop/sync-logs/{log['id']}/errors")).ok()
        assert page["total"] == 3
        assert {one["entityId"] for one in page["items"]} <= {f"ent-{n:04}" for n in range(10)}
        assert counts(await ended(sigma.admin, "push")) == ("success", 0, 0, 10, 0)
        assert len(target.products) == 10


async def test_a_push_goes_on_after_its_process_was_killed(sigma: Workspace, stack: Any):
    await shirts(sigma, 400)
    worker = await stack.apart("workflow_service")
    async with RestTarget(keeps_keys=False).serve() as target:
        (await sigma.admin.post("/channels", channel(target))).ok()
        halfway = asyncio.Event()

        async def slowly(_: web.Request) -> None:
            if len(target.products) >= 250 and not halfway.is_set():
                halfway.set()
                await asyncio.sleep(30)

        target.after = slowly
        log = (await sigma.admin.post("/channels/ch-shop/push")).ok()
        assert log["status"] == "running"
        await asyncio.wait_for(halfway.wait(), 120)
        taken = await sigma.admin.post("/channels/ch-shop/push")
        assert taken.outcome == error(
            409, "CONFLICT", "Channel 'ch-shop' is being synchronised at the moment"
        )
        await asyncio.to_thread(worker.kill)
        conn = await asyncpg.connect(stack.databases["workflow_service"])
        # Nobody has renewed the lease; here it ends at once.
        await conn.execute("UPDATE sync_runs SET due_at = now() WHERE id = $1", log["id"])
        began = await conn.fetchval("SELECT now()")
        await stack.another("workflow_service", role="worker")

        async def done() -> dict[str, Any] | None:
            found = (await sigma.admin.get(f"/channels/ch-shop/sync-logs/{log['id']}")).ok()
            return None if found["status"] == "running" else found

        found = await eventually(done, within_s=60)
        assert (found["status"], found["failed"]) == ("success", 0)
        assert len(target.products) == 400
        titles = {each["title"] for each in target.products.values()}
        assert len(titles) == 400
        assert counts(await ended(sigma.admin, "push")) == ("success", 0, 0, 400, 0)

        async def is_analysed() -> bool:
            # Without it, PostgreSQL may read all mappings of the channel for each page.
            tables = "pg_stat_user_tables WHERE relname = 'sync_mappings'"
            return await conn.fetchval(f"SELECT last_analyze > $1 FROM {tables}", began) is True

        await eventually(is_analysed, within_s=30)
        await conn.close()


async def test_a_target_that_asks_to_wait_is_waited_for(sigma: Workspace, target: RestTarget):
    await shirts(sigma, 5)
    (await sigma.admin.post("/channels", channel(target))).ok()
    refused = 0

    async def throttle(request: web.Request) -> web.StreamResponse | None:
        nonlocal refused
        if request.method == "POST" and refused < 6:
            refused += 1
            return web.Response(status=429, headers={"Retry-After": "0"})
        return None

    target.interfere = throttle
    assert counts(await ended(sigma.admin, "push")) == ("success", 5, 0, 0, 0)

    async def never(_: web.Request) -> web.StreamResponse | None:
        return web.Response(status=429, headers={"Retry-After": "3600"})

    target.interfere = never
    change = {"scope": {}, "value": 50}
    (await sigma.admin.patch("/records/ent-0001/values/price", change)).ok()
    log = await ended(sigma.admin, "push")
    assert log["status"] == "failed"
    assert "429" in log["error"]
    target.interfere = None
    assert counts(await ended(sigma.admin, "push")) == ("success", 0, 1, 4, 0)


async def test_a_dead_target_ends_its_own_synchronisation_alone(
    sigma: Workspace, target: RestTarget
):
    await shirts(sigma, 5)
    async with RestTarget().serve() as dead:
        body = channel(dead, id="ch-dead", alias="dead")
        (await sigma.admin.post("/channels", body)).ok()
    (await sigma.admin.post("/channels", channel(target))).ok()
    waiting = asyncio.create_task(ended(sigma.admin, "push", "ch-dead"))
    assert counts(await ended(sigma.admin, "push")) == ("success", 5, 0, 0, 0)
    log = await waiting
    assert counts(log)[:1] == ("failed",)
    assert "refuses the connection" in log["error"]
    tested = (await sigma.admin.post("/channels/ch-dead/test-connection")).ok()
    assert tested["ok"] is False
    assert "refuses the connection" in tested["error"]


async def test_of_two_starts_one_is_told_of_the_other(sigma: Workspace, target: RestTarget):
    await shirts(sigma, 60)
    (await sigma.admin.post("/channels", channel(target))).ok()

    told = asyncio.Event()

    async def wait(_: web.Request) -> None:
        await told.wait()

    target.interfere = wait
    answers = await asyncio.gather(*(sigma.admin.post("/channels/ch-shop/push") for _ in range(5)))
    told.set()
    assert sorted(each.status for each in answers) == [200, 409, 409, 409, 409]
    inactive = channel(target, active=False)
    (await sigma.admin.put("/channels/ch-shop", inactive)).ok()
    answer = await sigma.admin.post("/channels/ch-shop/push")
    assert answer.outcome == error(409, "CONFLICT", "Channel 'ch-shop' is not active")
