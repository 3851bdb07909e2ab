"""How webhooks are sent while something else happens: to them, to their receiver, to the sender."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from shared.database import Database
from tests.kit.direct import DirectServices, DirectWorkspace
from tests.kit.eventually import always, eventually
from tests.kit.receiver import Receiver, receiving
from tests.kit.service import RunningService
from tests.kit.workspace import entries
from workflow_service.dispatch import bounds
from workflow_service.dispatch.dispatcher import DISPATCHER, Dispatcher
from workflow_service.outbound import resolving
from workflow_service.webhooks import store

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2Vj"
EVENTS = ["entity.created", "entity.updated", "entity.deleted"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sender(direct: DirectServices) -> RunningService:
    """The process that sends."""
    return (await direct.background())["workflow_service"]


@pytest_asyncio.fixture(loop_scope="module")
async def sigma(direct: DirectServices, sender: RunningService) -> DirectWorkspace:
    sigma = await direct.workspace()
    await sigma.attribute("name")
    await sigma.schema("shirt", ["name"])
    return sigma


@pytest_asyncio.fixture(loop_scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def hook(sigma: DirectWorkspace, url: str, webhook: str = "wh-1", **more: Any) -> None:
    body = {"id": webhook, "name": "Shop", "url": url, "events": EVENTS, "secret": SECRET} | more
    (await sigma.admin.post("/webhooks", body)).ok()


async def write(sigma: DirectWorkspace, record: str, count: int = 1, name: str = "x") -> None:
    """Create a record, or change it, so many times."""
    for number in range(count):
        values = {"values": entries({"name": f"{name} {number}"})}
        found = await sigma.admin.put(f"/records/{record}", values)
        if found.status == 404:
            await sigma.record("schema-shirt", {"name": name}, id=record)


def versions(receiver: Receiver, record: str) -> list[int]:
    """Of each delivery, when it came for the first time."""
    first: dict[str, int] = {}
    for one in receiver.received:
        _, about, version = one.about
        if about == record:
            first.setdefault(one.json["deliveryId"], version)
    return list(first.values())


async def due_now(database: Database, sigma: DirectWorkspace) -> None:
    """What waits is due, but for what is being written just now."""
    await database.execute(
        """WITH waiting AS (
               SELECT id FROM webhook_deliveries WHERE workspace_id = $1 AND status = 'pending'
                  FOR UPDATE SKIP LOCKED),
           due AS (
               UPDATE webhook_deliveries AS d SET due_at = now() FROM waiting
                WHERE d.workspace_id = $1 AND d.id = waiting.id RETURNING webhook_id)
           SELECT pg_notify('sigma_webhooks', $1 || ' ' || webhook_id)
             FROM (SELECT DISTINCT webhook_id FROM due) AS of_each""",
        sigma.id,
    )


async def listed(sigma: DirectWorkspace, query: str = "", webhook: str = "wh-1") -> list[Any]:
    items: list[Any] = (await sigma.admin.get(f"/webhooks/{webhook}/deliveries{query}")).ok()[
        "items"
    ]
    return items


async def test_a_webhook_that_is_deleted_during_attempts_leaves_nothing(
    sigma: DirectWorkspace, sender: RunningService, receiver: Receiver
):
    released = asyncio.Event()
    receiver.holds = lambda got: released if got.path == "/gone" else None
    await hook(sigma, f"{receiver.url}/gone")
    await hook(sigma, f"{receiver.url}/stays", "wh-2")
    for number in range(8):
        await write(sigma, f"ent-{number}")
    await eventually(lambda: len(receiver.at("/gone")) == 8)
    (await sigma.admin.delete("/webhooks/wh-1")).ok()
    released.set()
    dispatcher: Dispatcher = sender.app[DISPATCHER]
    await eventually(lambda: (sigma.id, "wh-1") not in dispatcher.lanes)
    await write(sigma, "ent-0")
    await eventually(lambda: len(receiver.at("/stays")) == 9)
    assert len(receiver.at("/gone")) == 8
    rows = await sender.database.fetchval(
        "SELECT count(*) FROM webhook_deliveries WHERE workspace_id = $1 AND webhook_id = 'wh-1'",
        sigma.id,
    )
    assert rows == 0
    # Another one with its id begins anew.
    await hook(sigma, f"{receiver.url}/again")
    await write(sigma, "ent-1")
    await eventually(lambda: [one.about[2] for one in receiver.at("/again")] == [2])


async def test_what_waits_while_the_secret_is_replaced_is_signed_with_the_new_one(
    sigma: DirectWorkspace, sender: RunningService, receiver: Receiver
):
    await hook(sigma, receiver.url)
    released = asyncio.Event()
    receiver.holds = lambda _: released
    receiver.answers = lambda _: 500 if len(receiver.received) == 1 else 200
    await write(sigma, "ent-1", 2)
    await eventually(lambda: receiver.received)
    new = (await sigma.admin.post("/webhooks/wh-1/rotate-secret", {})).ok()["secret"]
    released.set()

    async def both_came() -> bool:
        await due_now(sender.database, sigma)
        return versions(receiver, "ent-1") == [1, 2]

    await eventually(both_came)
    assert receiver.received[0].is_signed_with(SECRET)
    assert all(one.is_signed_with(new) for one in receiver.received[1:])


async def test_a_replay_comes_behind_what_waits(
    sigma: DirectWorkspace, sender: RunningService, receiver: Receiver
):
    await hook(sigma, receiver.url)
    made = await sigma.record("schema-shirt", {"name": "x"}, id="ent-0")
    await eventually(lambda: versions(receiver, "ent-0") == [1])
    receiver.answers = lambda got: 500 if got.about[1] == "ent-1" else 200
    await write(sigma, "ent-1", 3)
    await eventually(lambda: versions(receiver, "ent-1") == [1])
    await eventually(lambda: waiting(sigma, 3))
    after = {"after": made["createdAt"]}
    (await sigma.admin.post("/webhooks/wh-1/replay", after)).ok()
    await write(sigma, "ent-1")
    receiver.answers = lambda _: 200

    async def all_came() -> bool:
        await due_now(sender.database, sigma)
        return versions(receiver, "ent-1") == [1, 2, 3, 1, 2, 3, 4]

    await eventually(all_came)


async def test_a_hundred_webhooks_with_dead_receivers_delay_no_other(
    sigma: DirectWorkspace, receiver: Receiver
):
    receiver.answers = lambda got: 200 if got.path == "/works" else 60.0
    for number in range(99):
        await hook(sigma, f"{receiver.url}/dead-{number}", f"wh-dead-{number}")
    await hook(sigma, f"{receiver.url}/works")
    for number in range(20):
        await write(sigma, f"ent-{number}")
    await eventually(lambda: len(receiver.at("/works")) == 20, within_s=90)
    assert not [one for one in await listed(sigma) if one["status"] == "failed"]


async def test_what_waits_is_bounded_in_bytes_and_nothing_is_lost(
    sigma: DirectWorkspace,
    sender: RunningService,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(bounds, "PENDING_BYTES_MAX", 100_000)
    monkeypatch.setattr(bounds, "PAGE", 5)
    await hook(sigma, receiver.url)
    receiver.answers = lambda _: 500
    text = "x" * 10_000
    for number in range(60):
        await sigma.record("schema-shirt", {"name": f"{number} {text}"}, id=f"ent-{number}")
        if number == 20:
            await eventually(lambda: receiver.received)

    async def stored() -> int:
        size: int = await sender.database.fetchval(
            """SELECT coalesce(sum(octet_length(body)), 0) FROM webhook_deliveries
                WHERE workspace_id = $1 AND status = 'pending'""",
            sigma.id,
        )
        return size

    async def is_full() -> bool:
        return await stored() >= 100_000

    await eventually(is_full)
    # The page that reaches the bound is taken whole.
    await always(lambda: is_within(stored, 100_000 + 5 * 11_000), during_s=0.5)
    receiver.answers = lambda _: 200

    async def all_came() -> bool:
        await due_now(sender.database, sigma)
        return all(versions(receiver, f"ent-{number}") == [1] for number in range(60))

    await eventually(all_came, within_s=90)


async def test_what_came_of_deliveries_is_stored_after_whoever_holds_the_webhook(
    sigma: DirectWorkspace, sender: RunningService, receiver: Receiver
):
    """Whoever pauses a webhook locks it and then what waits: the other way round is a deadlock."""
    answered = asyncio.Event()
    receiver.holds = lambda _: answered
    await hook(sigma, receiver.url)
    await write(sigma, "ent-1")
    await eventually(lambda: receiver.received)

    async def is_pending() -> bool:
        return bool((await listed(sigma))[0]["status"] == "pending")

    async with sender.database.transaction() as conn:
        await store.get(conn, sigma.id, "wh-1", lock=True)
        answered.set()
        await always(is_pending, during_s=0.5)

    async def has_succeeded() -> bool:
        return bool((await listed(sigma))[0]["status"] == "succeeded")

    assert await eventually(has_succeeded)


async def is_within(stored: Any, bound: int) -> bool:
    return bool(await stored() < bound)


async def test_a_process_that_was_away_sends_nothing_before_it_knows_that_it_leads(
    sigma: DirectWorkspace, sender: RunningService, receiver: Receiver
):
    dispatcher: Dispatcher = sender.app[DISPATCHER]
    await hook(sigma, receiver.url)
    around = dispatcher._around
    leads = around.may_send
    object.__setattr__(around, "may_send", lambda: False)
    try:
        await write(sigma, "ent-1", 2)
        await eventually(lambda: waiting(sigma, 2))
        await always(lambda: not receiver.received, during_s=0.3)
    finally:
        object.__setattr__(around, "may_send", leads)
    # It asks the database again within a second, however long this process had to wait.
    await eventually(leads)
    held_at, dispatcher._held_at = dispatcher._held_at, dispatcher._held_at - dispatcher._lease_s
    assert not leads(), "another process may have taken over"
    # It asks again, and the lanes go on.
    await eventually(lambda: versions(receiver, "ent-1") == [1, 2])
    assert dispatcher._held_at > held_at - dispatcher._lease_s


async def waiting(sigma: DirectWorkspace, count: int) -> bool:
    return len(await listed(sigma, "?status=pending")) == count


async def test_a_lost_database_during_attempts_loses_and_reorders_nothing(
    sigma: DirectWorkspace, sender: RunningService, receiver: Receiver
):
    released = asyncio.Event()
    receiver.holds = lambda _: None if released.is_set() else released
    await hook(sigma, receiver.url)
    records = [f"ent-{number}" for number in range(6)]
    for record in records:
        await write(sigma, record, 2)
    await eventually(lambda: len(receiver.received) == len(records))
    # All connections but that of this query.
    await sender.database.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    )
    released.set()
    await eventually(
        lambda: all(versions(receiver, record) == [1, 2] for record in records), within_s=90
    )

    async def all_noted() -> bool:
        return {one["status"] for one in await listed(sigma)} == {"succeeded"}

    await eventually(all_noted)


async def test_a_delivery_whose_host_could_not_be_looked_up_here_has_not_failed(
    sigma: DirectWorkspace, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    await hook(sigma, receiver.url.replace("127.0.0.1", "localhost"))
    monkeypatch.setattr(resolving, "LOOKUPS_MAX", 0)
    await write(sigma, "ent-1", 2)
    await eventually(lambda: waiting(sigma, 2))
    await always(lambda: not receiver.received, during_s=0.3)
    monkeypatch.undo()
    await eventually(lambda: versions(receiver, "ent-1") == [1, 2])
    await eventually(lambda: tried_once(sigma))


async def tried_once(sigma: DirectWorkspace) -> bool:
    return [len(one["attempts"]) for one in await listed(sigma, "?status=succeeded")] == [1, 1]
