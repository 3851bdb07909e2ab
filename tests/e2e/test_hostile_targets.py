"""Channels whose targets or owners mean no good: nothing leaks, is lost, or goes on for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from tests.e2e.test_channels import (
    PRICE,
    TITLE,
    channel,
    counts,
    ended,
    shirts,
    workspace_of_shirts,
)
from tests.kit.eventually import eventually
from tests.kit.rest_target import RestTarget, cut_off
from tests.kit.workspace import Workspace

SECRET = "token-of-the-shop-0123"


@pytest.fixture
async def target() -> Any:
    async with RestTarget().serve() as served:
        yield served


@pytest.fixture
async def sigma(stack: Any) -> Workspace:
    return await workspace_of_shirts(stack, variantEnabled=True)


async def test_a_secret_behind_its_mask_goes_to_no_other_host(sigma: Workspace, target: RestTarget):
    (await sigma.admin.post("/channels", channel(target))).ok()
    draft = {**(await sigma.admin.get("/channels/ch-shop")).ok()}
    for name in ("version", "createdAt", "updatedAt"):
        del draft[name]
    async with RestTarget().serve() as other:
        config = draft["config"]
        moved = draft | {"config": config | {"url": other.url}}
        refused = await sigma.admin.put("/channels/ch-shop", moved)
        assert refused.status == 400
        assert "config.headers.X-Token" in refused.body["message"]
        assert SECRET not in str(refused.body)
        (await sigma.admin.post("/channels/ch-shop/test-connection")).ok()
        assert other.headers == []

        elsewhere = draft | {"config": config | {"url": f"{target.url}?shop=2"}}
        (await sigma.admin.put("/channels/ch-shop", elsewhere)).ok()
        known = config | {"url": other.url, "headers": {"X-Token": "another-token-0123456"}}
        (await sigma.admin.put("/channels/ch-shop", draft | {"config": known})).ok()


async def test_what_was_confirmed_is_kept_beside_a_refusal_with_a_nul(
    sigma: Workspace, target: RestTarget
):
    await shirts(sigma, 8)
    (await sigma.admin.post("/channels", channel(target))).ok()

    async def refuse_one(request: web.Request) -> web.StreamResponse | None:
        if b"Skjorte 7" in await request.read():
            return web.Response(status=422, body=b"bad \x00 value")
        return None

    target.interfere = refuse_one
    log = await ended(sigma.admin, "push")
    assert (counts(log), log["error"]) == (("partial", 7, 0, 0, 1), None)
    assert log["errors"][0]["message"].endswith("bad \N{REPLACEMENT CHARACTER} value")


async def test_a_target_that_repeats_what_it_was_sent_reveals_no_secret(
    sigma: Workspace, target: RestTarget
):
    await shirts(sigma, 1)
    (await sigma.admin.post("/channels", channel(target))).ok()

    async def echo(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=422, text=f"you sent {request.headers['X-Token']}, no")

    target.interfere = echo
    log = await ended(sigma.admin, "push")
    assert log["errors"][0]["message"].endswith("you sent ********, no")


async def test_one_object_that_is_too_deep_fails_alone(sigma: Workspace, target: RestTarget):
    (await sigma.admin.post("/channels", channel(target))).ok()
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    target.add(title=deep)
    target.add(title="Hat", variants=[{"price": 3}])
    target.add(title="NUL \x00", variants=[{"price": 3}])
    log = await ended(sigma.admin, "pull")
    assert counts(log) == ("partial", 1, 0, 0, 2)
    assert "levels" in log["errors"][0]["message"]


async def test_a_target_that_knows_no_pages_is_not_read_for_ever(
    sigma: Workspace, target: RestTarget
):
    (await sigma.admin.post("/channels", channel(target))).ok()
    target.add(title="Hat")

    async def always(request: web.Request) -> web.StreamResponse | None:
        return web.json_response(list(target.products.values()))

    target.interfere = always
    log = await ended(sigma.admin, "pull")
    assert counts(log) == ("partial", 1, 0, 0, 0)
    assert log["error"] == (
        "Page 2 of the list is the same as page 1: expected an empty array behind the last page;"
        " does the target know the parameter 'page'?"
    )


async def test_a_page_is_asked_for_once_however_many_objects_it_has(
    sigma: Workspace, target: RestTarget
):
    (await sigma.admin.post("/channels", channel(target))).ok()
    for number in range(250):
        target.add(title=f"Hat {number}")

    async def one_page(request: web.Request) -> web.StreamResponse | None:
        first = request.query["page"] == "1"
        return web.json_response(list(target.products.values()) if first else [])

    target.interfere = one_page
    assert counts(await ended(sigma.admin, "pull")) == ("success", 250, 0, 0, 0)
    assert target.counts["GET"] == 2


async def test_a_deleted_record_comes_back_whole(sigma: Workspace, target: RestTarget):
    await shirts(sigma, 1)
    draft = channel(target, fieldMappings=[TITLE, PRICE])
    (await sigma.admin.post("/channels", draft)).ok()
    await ended(sigma.admin, "push")
    (await sigma.admin.delete("/records/ent-0000")).ok()
    next(iter(target.products.values()))["variants"] = [{"price": 77}]
    assert counts(await ended(sigma.admin, "pull")) == ("success", 1, 0, 0, 0)
    values = (await sigma.admin.get("/records/ent-0000")).ok()["values"]
    assert values["title"][0]["value"] == "Skjorte 0"
    assert values["price"][0]["value"] == 77


async def test_a_connection_test_does_not_wait_for_ever(sigma: Workspace, target: RestTarget):
    (await sigma.admin.post("/channels", channel(target))).ok()

    async def hang(request: web.Request) -> web.StreamResponse | None:
        await asyncio.sleep(600)
        return None

    async def throttle(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=429, headers={"Retry-After": "200"})

    for interfere, reason in ((throttle, "asks to wait (429)"), (hang, "within 8 seconds")):
        target.interfere = interfere
        tested = (await sigma.admin.post("/channels/ch-shop/test-connection")).ok()
        assert tested["ok"] is False
        assert reason in tested["error"]
        tried = await sigma.admin.having({"Prefer": "dry-run"}).post("/channels/ch-shop/pull")
        assert tried.ok()["complete"] is False


async def test_a_synchronisation_ends_when_its_channel_is_deactivated(
    sigma: Workspace, target: RestTarget
):
    await shirts(sigma, 1)
    draft = channel(target)
    (await sigma.admin.post("/channels", draft)).ok()

    async def throttle(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=429, headers={"Retry-After": "200"})

    target.interfere = throttle
    log = (await sigma.admin.post("/channels/ch-shop/push")).ok()
    assert log["status"] == "running"
    (await sigma.admin.put("/channels/ch-shop", draft | {"active": False})).ok()

    async def done() -> dict[str, Any] | None:
        found = (await sigma.admin.get(f"/channels/ch-shop/sync-logs/{log['id']}")).ok()
        return None if found["status"] == "running" else found

    found = await eventually(done, within_s=60)
    assert (found["status"], found["error"]) == ("failed", "The channel was deactivated")


async def test_a_target_that_asks_to_wait_gives_its_place_to_others(
    sigma: Workspace, target: RestTarget, stack: Any
):
    await shirts(sigma, 12)
    asked = 0

    async def throttle(request: web.Request) -> web.StreamResponse | None:
        nonlocal asked
        asked += 1
        # What is on its way beside a refusal is carried out.
        return web.Response(status=429, headers={"Retry-After": "200"}) if asked > 3 else None

    async def wake(channel_id: str, pauses: int) -> None:
        conn = await asyncpg.connect(stack.databases["workflow_service"])
        try:

            async def waits() -> bool:
                where = "workspace_id = $1 AND channel_id = $2 AND holder IS NULL AND pauses > 0"
                change = f"UPDATE sync_runs SET due_at = now(), pauses = $3 WHERE {where}"
                return await conn.execute(change, sigma.id, channel_id, pauses) == "UPDATE 1"

            await eventually(waits, within_s=30)
        finally:
            await conn.close()

    async def log_of(channel_id: str) -> dict[str, Any] | None:
        (found,) = (await sigma.admin.get(f"/channels/{channel_id}/sync-logs")).ok()
        return None if found["status"] == "running" else found

    async with RestTarget(keeps_keys=False).serve() as slow:
        slow.interfere = throttle
        for name in ("one", "two"):
            draft = channel(slow) | {"id": f"ch-{name}", "alias": name}
            (await sigma.admin.post("/channels", draft)).ok()
            at_once = sigma.admin.having({"Idempotency-Key": f"push-{name}"})
            (await at_once.post(f"/channels/ch-{name}/push")).ok()
        (await sigma.admin.post("/channels", channel(target))).ok()
        assert counts(await ended(sigma.admin, "push")) == ("success", 12, 0, 0, 0)
        assert (await log_of("ch-one"), await log_of("ch-two")) == (None, None)

        await wake("ch-two", 20)
        ended_two = await eventually(lambda: log_of("ch-two"), within_s=30)
        assert ended_two["error"] == (
            "The target asks to wait (429) for 200 seconds, time 21 in a row"
        )
        slow.interfere = None
        await wake("ch-one", 1)
        ended_one = await eventually(lambda: log_of("ch-one"), within_s=30)
        assert counts(ended_one) == ("success", 12, 0, 0, 0)
        # What was not sent is not looked for at the target, and nothing is there twice.
        assert slow.counts["GET"] == 0
        assert len(slow.products) == 12 + ended_two["created"]


async def test_nothing_is_created_again_while_the_list_that_would_show_it_is_away(
    sigma: Workspace,
):
    await shirts(sigma, 1)
    async with RestTarget(keeps_keys=False).serve() as target:
        (await sigma.admin.post("/channels", channel(target))).ok()
        target.after = cut_off
        assert counts(await ended(sigma.admin, "push")) == ("failed", 0, 0, 0, 1)

        async def no_list(request: web.Request) -> web.StreamResponse | None:
            return web.Response(status=500) if request.method == "GET" else None

        target.after, target.interfere = None, no_list
        log = await ended(sigma.admin, "push")
        assert (log["status"], len(target.products)) == ("failed", 1)
        assert log["error"] == "Page 1 of the list: GET answered 500, expected an array"
        target.interfere = None
        assert counts(await ended(sigma.admin, "push")) == ("success", 0, 0, 1, 0)
        assert len(target.products) == 1


async def test_endless_lists_let_the_third_channel_of_their_workspace_through(
    sigma: Workspace, target: RestTarget
):
    pages = 0

    async def endless(request: web.Request) -> web.StreamResponse | None:
        nonlocal pages
        pages += 1
        await asyncio.sleep(0.2)
        return web.json_response([{"id": f"{pages}"}])

    async with RestTarget().serve() as slow:
        slow.interfere = endless
        for number in (1, 2):
            draft = channel(slow) | {"id": f"ch-slow-{number}", "alias": f"slow-{number}"}
            (await sigma.admin.post("/channels", draft)).ok()
            (await sigma.admin.post(f"/channels/ch-slow-{number}/pull")).ok()
        (await sigma.admin.post("/channels", channel(target))).ok()
        assert counts(await ended(sigma.admin, "pull")) == ("success", 0, 0, 0, 0)
        for number in (1, 2):
            logs = (await sigma.admin.get(f"/channels/ch-slow-{number}/sync-logs")).ok()
            assert [one["status"] for one in logs] == ["running"]
            (await sigma.admin.delete(f"/channels/ch-slow-{number}")).ok()
