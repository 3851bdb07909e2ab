"""Channels after rights were taken away: what is hidden is shown, sent and written nowhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.e2e.test_channels import channel, counts, ended, shirts, workspace_of_shirts
from tests.kit.eventually import eventually
from tests.kit.rest_target import RestTarget
from tests.kit.sigma import Caller
from tests.kit.workspace import Workspace

SECRET_PRICE = 987_654_321
NEW_SECRET_PRICE = 987_654_322
ALL = {"attr-title": "write", "attr-price": "write"}


@pytest.fixture
async def target() -> Any:
    async with RestTarget().serve() as served:
        yield served


@pytest.fixture
async def sigma(stack: Any) -> Workspace:
    return await workspace_of_shirts(stack)


async def seller_of(sigma: Workspace) -> Caller:
    await sigma.role("role-seller", {"schema-shirt": ALL}, canExport=True, canImport=True)
    return await sigma.user("role-seller")


async def take_away(sigma: Workspace, **changes: Any) -> None:
    role = (await sigma.admin.get("/roles/role-seller")).ok()
    (await sigma.admin.put("/roles/role-seller", {**role, **changes})).ok()


async def leave_of_prices(sigma: Workspace, seller: Caller, word: str) -> None:
    """From now on the seller may `read` prices, or they are `hidden`."""
    rights = {"schemaId": "schema-shirt", "attributePermissions": ALL | {"attr-price": word}}
    await take_away(sigma, schemaPermissions=[rights])

    async def holds() -> bool:
        change = {"scope": {}, "value": 0}
        return (await seller.patch("/records/ent-0000/values/price", change)).status == 403

    await eventually(holds, within_s=30)


async def price(sigma: Workspace, number: int, value: Any) -> None:
    change = {"scope": {}, "value": value}
    (await sigma.admin.patch(f"/records/ent-{number:04}/values/price", change)).ok()


async def title(sigma: Workspace, number: int, value: str) -> None:
    change = {"scope": {"dim-language": "seg-da"}, "value": value}
    (await sigma.admin.patch(f"/records/ent-{number:04}/values/title", change)).ok()


async def prices(sigma: Workspace) -> dict[str, Any]:
    items = (await sigma.admin.get("/records")).ok()["items"]
    return {
        each["id"]: each["values"]["price"][0]["value"]
        for each in items
        if "price" in each["values"]
    }


async def test_a_push_shows_and_sends_nothing_of_what_is_hidden_by_now(
    sigma: Workspace, target: RestTarget
):
    await shirts(sigma, 2)
    seller = await seller_of(sigma)
    mappings = [
        {"sourceAttribute": "title", "targetField": "title"},
        {"sourceAttribute": "price", "targetField": "price"},
    ]
    (await sigma.admin.post("/channels", channel(target, fieldMappings=mappings))).ok()
    assert counts(await ended(seller, "push")) == ("success", 2, 0, 0, 0)

    await leave_of_prices(sigma, seller, "hidden")
    await price(sigma, 0, SECRET_PRICE)
    await price(sigma, 1, SECRET_PRICE)
    await title(sigma, 1, "Ny")
    new = {
        "id": "ent-0002",
        "schemaId": "schema-shirt",
        "values": {"price": [{"scope": {}, "value": SECRET_PRICE}]},
    }
    (await sigma.admin.post("/records", new)).ok()

    tried = (await seller.having({"Prefer": "dry-run"}).post("/channels/ch-shop/push")).ok()
    # Of a record that has changed in nothing but the hidden attribute, nothing is known.
    assert counts(tried) == ("success", 1, 1, 1, 0)
    assert {one["entityId"]: one["fields"] for one in tried["changes"]} == {
        "ent-0001": {"title": "Ny"},
        "ent-0002": {},
    }
    assert str(SECRET_PRICE) not in str(tried)

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=422, text=await request.text())

    target.interfere = refuse
    refused = await ended(seller, "push")
    assert counts(refused) == ("partial", 0, 0, 1, 2)
    path = f"/channels/ch-shop/sync-logs/{refused['id']}/errors"
    for answer in (refused, (await seller.get(path)).ok(), (await sigma.admin.get(path)).ok()):
        assert str(SECRET_PRICE) not in str(answer)

    target.interfere = None
    assert counts(await ended(seller, "push")) == ("success", 1, 1, 1, 0)
    sent = [body for method, _, body in target.asked if method != "GET"][2:]
    assert len(sent) == 2
    assert all("price" not in body for body in sent)
    assert {each.get("price") for each in target.products.values()} == {0, 1, None}
    # It was hidden, and not emptied: who sees it sends it.
    assert counts(await ended(sigma.admin, "push")) == ("success", 0, 3, 0, 0)
    assert {each["price"] for each in target.products.values()} == {SECRET_PRICE}
    # What others have sent is not shown to who may not see it.
    await price(sigma, 0, NEW_SECRET_PRICE)
    target.interfere = refuse
    of_admin = await ended(sigma.admin, "push")
    assert str(NEW_SECRET_PRICE) in str(of_admin["errors"])
    for path in ("sync-logs", f"sync-logs/{of_admin['id']}", f"sync-logs/{of_admin['id']}/errors"):
        shown = await seller.get(f"/channels/ch-shop/{path}")
        assert str(NEW_SECRET_PRICE) not in str(shown.body)


@pytest.mark.parametrize("word", ["read", "hidden"])
async def test_a_pull_writes_nothing_that_may_not_be_written_by_now(
    sigma: Workspace, target: RestTarget, word: str
):
    await shirts(sigma, 3)
    seller = await seller_of(sigma)
    mappings = [
        {"sourceAttribute": "title", "targetField": "title"},
        {"sourceAttribute": "price", "targetField": "price"},
    ]
    (await sigma.admin.post("/channels", channel(target, fieldMappings=mappings))).ok()
    assert counts(await ended(seller, "push")) == ("success", 3, 0, 0, 0)
    await leave_of_prices(sigma, seller, word)
    for number in (0, 1):
        await price(sigma, number, SECRET_PRICE)
    by_title = {each["title"]: each for each in target.products.values()}
    # One guess is wrong and one is right: they are told alike.
    by_title["Skjorte 0"]["price"] = 5
    by_title["Skjorte 1"]["price"] = SECRET_PRICE
    by_title["Skjorte 2"]["title"] = "Ny"
    target.add(title="Fjerde", price=7)
    expected = {"ent-0000": SECRET_PRICE, "ent-0001": SECRET_PRICE, "ent-0002": 2}

    tried = (await seller.having({"Prefer": "dry-run"}).post("/channels/ch-shop/pull")).ok()
    log = await ended(seller, "pull")
    for answer in (tried, log):
        failed = {each["entityId"]: each["message"] for each in answer["errors"]}
        if word == "hidden":
            assert failed["ent-0000"] == failed["ent-0001"]
            assert (answer["created"], answer["updated"], answer["failed"]) == (0, 1, 3)
            assert str(SECRET_PRICE) not in str(answer)
        assert "ent-0000" in failed
        assert answer["created"] == 0
    assert await prices(sigma) == expected
    titles = [
        each["values"]["title"][-1] for each in (await sigma.admin.get("/records")).ok()["items"]
    ]
    assert [one["value"] for one in titles] == ["Skjorte 0", "Skjorte 1", "Ny"]


async def test_rights_that_are_taken_away_end_a_synchronisation(
    sigma: Workspace, target: RestTarget, stack: Any
):
    await shirts(sigma, 250)
    seller = await seller_of(sigma)
    (await sigma.admin.post("/channels", channel(target))).ok()
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: web.Request) -> None:
        arrived.set()
        await go_on.wait()

    target.interfere = hold
    at_once = seller.having({"Idempotency-Key": "push-once"})
    log = (await at_once.post("/channels/ch-shop/push")).ok()
    await asyncio.wait_for(arrived.wait(), 120)
    await take_away(sigma, canExport=False)

    async def is_refused() -> bool:
        return (await seller.post("/channels/ch-shop/push")).status == 403

    await eventually(is_refused, within_s=30)
    # Another process takes it over, which asks for the rights of now.
    log_file = stack["workflow_service"].log
    before = log_file.stat().st_size
    restarted = asyncio.create_task(stack.restart("workflow_service"))
    await eventually(lambda: b'"draining"' in log_file.read_bytes()[before:])
    target.interfere = None
    go_on.set()
    await restarted

    async def done() -> dict[str, Any] | None:
        found = (await sigma.admin.get(f"/channels/ch-shop/sync-logs/{log['id']}")).ok()
        return None if found["status"] == "running" else found

    found = await eventually(done, within_s=60)
    assert found["error"] == "Permission denied"
    assert len(target.products) <= 100
