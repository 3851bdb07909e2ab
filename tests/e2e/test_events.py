"""Every acknowledged write is heard of, once in effect, whoever dies in between."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager

import aio_pika
import aiohttp
import asyncpg
import pytest

from shared.events import Event
from shared.messaging.topology import AUTH_QUEUE, EVENTS, RECORDS_QUEUE, WORKFLOW_QUEUE
from tests.kit.eventually import eventually
from tests.kit.servers import ROOT
from tests.kit.workspace import workflow_body

QUEUE = "listener"
EXAMPLE = ROOT / "docs" / "how-to" / "example_consumer.py"
# Three missed heartbeats of 5 s and a second each, and some time to notice.
HANG_S = 22


@pytest.fixture
async def sigma(breakable_stack):
    sigma = await breakable_stack.workspace(record_limit=1_000)
    await sigma.attribute("sku", validation={"unique": True})
    await sigma.schema("apparel", ["sku"])
    return sigma


@asynccontextmanager
async def connected(stack):
    connection = await aio_pika.connect(stack.amqp_url)
    async with connection:
        yield await connection.channel()


async def listen(stack):
    """A durable queue that keeps every event of records, also while the broker is down."""
    async with connected(stack) as channel:
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.purge()
        await queue.bind(EVENTS, "entity.#")


class Heard:
    """What the queue gave so far: how often each event came, and of which records."""

    def __init__(self, workspace_id):
        self.workspace_id = workspace_id
        self.deliveries = Counter()
        self.subjects = {}

    async def collect(self, stack):
        async with connected(stack) as channel:
            queue = await channel.declare_queue(QUEUE, durable=True, passive=True)
            while (message := await queue.get(fail=False)) is not None:
                event = Event.from_json(message.body)
                await message.ack()
                if event.workspace_id == self.workspace_id:
                    self.deliveries[event.id] += 1
                    self.subjects[event.id] = (event.subject, event.version)


async def create(sigma, n):
    body = {
        "id": f"ent-{n}",
        "schemaId": "schema-apparel",
        "values": {"sku": [{"scope": {}, "value": f"sku-{n}"}]},
    }
    return await sigma.admin.post("/records", body)


async def hear(stack, heard, count):
    async def all_of_them():
        await heard.collect(stack)
        assert len(heard.subjects) == count
        return True

    await eventually(all_of_them, within_s=60)


async def test_no_write_fails_and_no_event_is_lost_while_the_broker_is_stopped(
    breakable_stack, sigma
):
    await listen(breakable_stack)
    rabbit = breakable_stack.servers.rabbit.private
    answers = [await create(sigma, n) for n in range(50)]
    stopping = asyncio.create_task(asyncio.to_thread(rabbit.stop))
    answers += [await create(sigma, n) for n in range(50, 200)]
    await stopping
    assert {answer.status for answer in answers} == {201}
    await asyncio.to_thread(rabbit.start)
    heard = Heard(sigma.id)
    await hear(breakable_stack, heard, 200)
    assert sorted(heard.subjects.values()) == sorted((f"ent-{n}", 1) for n in range(200))


async def forgotten(stack):
    """How often the gateway was told of a change that made it forget a caller."""
    metrics = f"{stack['gateway'].internal_url}/metrics"
    async with aiohttp.ClientSession() as session, session.get(metrics) as answer:
        said = await answer.text()
    return float(re.search(r"^sigma_identity_evictions_total (\S+)", said, re.MULTILINE)[1])


@pytest.mark.slow
async def test_a_broker_that_hangs_finds_everybody_again_when_it_comes_back(breakable_stack, sigma):
    """The relays, the consumers and the gateway's subscription: none stays away, and is ready."""
    await listen(breakable_stack)
    (await create(sigma, 0)).ok()
    pid = breakable_stack.servers.rabbit.private.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        ends = time.monotonic() + HANG_S
        for n in range(1, 40):
            assert (await create(sigma, n)).status == 201
        await asyncio.sleep(ends - time.monotonic())
    finally:
        os.kill(pid, signal.SIGCONT)
    heard = Heard(sigma.id)
    await hear(breakable_stack, heard, 40)
    assert sorted(heard.subjects.values()) == sorted((f"ent-{n}", 1) for n in range(40))

    async def both_are_read():
        async with connected(breakable_stack) as channel:
            for name in (AUTH_QUEUE, RECORDS_QUEUE, WORKFLOW_QUEUE):
                queue = await channel.declare_queue(name, passive=True)
                assert queue.declaration_result.consumer_count == 1
        return True

    await eventually(both_are_read, within_s=60)
    key = await sigma.api_key(["read"])
    (known,) = (await sigma.admin.get("/api-keys")).ok()
    before = await forgotten(breakable_stack)
    (await key.get("/records")).ok()
    (await sigma.admin.post(f"/api-keys/{known['id']}/deactivate")).ok()

    async def the_gateway_hears():
        return await forgotten(breakable_stack) > before

    await eventually(the_gateway_hears, within_s=60)
    for process in breakable_stack.processes:
        await asyncio.to_thread(process.wait_ready)


async def test_a_service_killed_between_commit_and_publish_loses_nothing(breakable_stack, sigma):
    await listen(breakable_stack)
    rabbit = breakable_stack.servers.rabbit.private
    await asyncio.to_thread(rabbit.stop)
    for n in range(20):
        (await create(sigma, n)).ok()
    await breakable_stack.kill("records_service")
    await asyncio.to_thread(rabbit.start)
    await breakable_stack.start("records_service")
    heard = Heard(sigma.id)
    await hear(breakable_stack, heard, 20)
    assert sorted(heard.subjects.values()) == sorted((f"ent-{n}", 1) for n in range(20))


async def test_a_service_killed_while_it_publishes_tells_of_everything(breakable_stack, sigma):
    """At least once: what was sent and not yet noted as sent may come again, with the same id."""
    await listen(breakable_stack)
    writes = [asyncio.create_task(create(sigma, n)) for n in range(100)]
    await asyncio.sleep(0.15)
    await breakable_stack.kill("records_service")
    done = await asyncio.gather(*writes, return_exceptions=True)
    await breakable_stack.start("records_service")
    stored = (await sigma.admin.get("/records?limit=500")).ok()["items"]
    acknowledged = {a.body["id"] for a in done if not isinstance(a, Exception) and a.status == 201}
    assert acknowledged <= {item["id"] for item in stored}
    heard = Heard(sigma.id)
    await hear(breakable_stack, heard, len(stored))
    assert {subject for subject, _ in heard.subjects.values()} == {item["id"] for item in stored}


async def test_a_poison_message_ends_in_the_dead_letters_and_holds_nobody_up(
    breakable_stack, sigma
):
    poison = Event(
        type="workflow.updated",
        source="/test",
        workspace_id=sigma.id,
        subject="wf-poison",
        data={"workflowId": "wf-poison", "version": 1},
    )
    await sigma.workflow("behind", ("draft",), [])
    await sigma.schema("bound", [], workflow="wf-behind")
    record = await sigma.record("schema-bound")
    async with connected(breakable_stack) as channel:
        dead = await channel.declare_queue("records_service.dead", passive=True)
        await dead.purge()
        exchange = await channel.get_exchange(EVENTS)
        for body in (poison.to_json(), b"not even an event"):
            await exchange.publish(
                aio_pika.Message(body, message_id="poison"), routing_key="workflow.updated"
            )
        # Behind the poison: a workflow whose change must still arrive.
        longer = workflow_body("behind", ("draft", "done"), [])
        (await sigma.admin.put("/workflows/wf-behind", longer)).ok()

        async def the_change_has_arrived():
            told = (await sigma.admin.get(f"/records/{record['id']}/completeness")).ok()
            return len(told["states"]) == 2

        await eventually(the_change_has_arrived, within_s=60)

        async def both_are_dead():
            again = await channel.declare_queue("records_service.dead", passive=True)
            return again.declaration_result.message_count == 2

        await eventually(both_are_dead, within_s=60)


async def test_the_example_reads_the_existing_records_as_somebody_would_run_it(
    sigma, breakable_stack, servers
):
    ids = {(await sigma.record("schema-apparel", {"sku": f"S-{n}"}))["id"] for n in range(3)}
    key = await sigma.api_key(["read"])
    url = await servers.postgres.new_database("workflow_service")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), "existing", sigma.id),
        env={
            **os.environ,
            "SIGMA_URL": breakable_stack["gateway"].url,
            "SIGMA_API_KEY": key.headers["X-Sigma-ApiKey"],
            "FOLLOWER_DATABASE_URL": url,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert (process.returncode, said) == (0, b"read\n")
    conn = await asyncpg.connect(url)
    rows = await conn.fetch(
        "SELECT workspace_id, record_id, version, deleted FROM followed_records"
    )
    await conn.close()
    assert {tuple(row) for row in rows} == {(sigma.id, one, 0, False) for one in ids}
    await servers.postgres.drop_database(url)
