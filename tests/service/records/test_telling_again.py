"""The operator's command that publishes events of the feed again, on a real broker."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aio_pika
import orjson
import pytest

from deploy.workspaces import fence
from deploy.workspaces.databases import open_one
from records_service.app import create_app
from records_service.config import Config
from records_service.feed import telling_again
from shared.messaging.topology import EVENTS
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller
from tests.kit.workspace import entries, schema_body


class Bus:
    """Hears all that is published, in its order, and the queue of one consumer."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.channel: aio_pika.abc.AbstractChannel

    def told(self, workspace_id: str) -> list[tuple[str, str, str]]:
        """Id, type and subject of what was heard of this workspace."""
        return [
            (one["id"], one["type"], one["subject"])
            for one in self.heard
            if one["workspaceid"] == workspace_id
        ]


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Bus]:
    bus = Bus()
    async with await aio_pika.connect(url) as connection:
        bus.channel = await connection.channel()
        exchange = await bus.channel.declare_exchange(
            EVENTS, aio_pika.ExchangeType.TOPIC, durable=True
        )
        queue = await bus.channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "#")

        async def hear(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            event = orjson.loads(message.body)
            assert message.message_id == event["id"]
            assert message.type == event["type"]
            if event["type"] != "records.job":
                bus.heard.append(event)

        await queue.consume(hear, no_ack=True)
        yield bus


def by_subject(told: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The events of each subject in their order, one subject after the other."""
    return sorted(told, key=lambda event: event[2])


async def records_of(service: RunningService, workspace_id: str, count: int) -> Caller:
    """A workspace with so many records, each of which was changed once."""
    admin = service.as_(identities.admin(workspace_id))
    attribute = {"id": "attr-name", "alias": "name", "name": "Name", "type": "text"}
    (await admin.post("/attributes", attribute)).ok()
    (await admin.post("/schemas", schema_body("x", ["name"]))).ok()
    for number in range(count):
        # Whose document the history has, and the feed does not.
        values = entries({"name": secrets.token_hex(500)})
        body = {"id": f"r{number}", "schemaId": "schema-x", "values": values}
        (await admin.post("/records", body)).ok()
        changed = {"values": entries({"name": f"n{number}"})}
        (await admin.put(f"/records/r{number}", changed)).ok()
    return admin


async def test_events_are_told_again_as_they_were(  # noqa: PLR0915 - one broker for all of it
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    amqp_url = await services.broker()
    service = await services.start(create_app, Config, "all", amqp_url=amqp_url)
    monkeypatch.setenv("SIGMA_AMQP_URL", amqp_url)
    monkeypatch.setenv("SIGMA_DATABASE_URL", service.config.database_url.get_secret_value())
    one, other = f"ws-a{secrets.token_hex(4)}", f"ws-b{secrets.token_hex(4)}"

    async def run(*arguments: str) -> tuple[int, list[str], str]:
        code = await asyncio.to_thread(telling_again.main, ["--per-second", "5000", *arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    async with listening(amqp_url) as bus:
        await records_of(service, one, 3)
        await eventually(lambda: len(bus.told(one)) == 8)
        between = datetime.now(UTC).isoformat()
        admin = await records_of(service, other, 1)
        await eventually(lambda: len(bus.told(other)) == 4)
        first = {workspace_id: bus.told(workspace_id) for workspace_id in (one, other)}
        whole = {event["id"]: event for event in bus.heard}

        async def heard_again(*arguments: str) -> list[dict[str, Any]]:
            bus.heard.clear()
            code, said, _ = await run(*arguments)
            assert code == 0
            count = int(said[-1].split()[0])
            await eventually(lambda: len(bus.heard) == count)
            assert all(whole[event["id"]] == event for event in bus.heard)
            return list(bus.heard)

        for workspace_id in (one, other):
            await heard_again("--workspace", workspace_id)
            told = bus.told(workspace_id)
            assert by_subject(told) == by_subject(first[workspace_id])
            # Between subjects the order is that of the feed, which need not be that of the bus.
            first[workspace_id] = told
        await heard_again()
        assert (bus.told(one), bus.told(other)) == (first[one], first[other])
        await heard_again("--since", between)
        assert (bus.told(one), bus.told(other)) == ([], first[other])
        await heard_again("--until", between)
        assert (bus.told(one), bus.told(other)) == (first[one], [])
        assert [e["data"]["version"] for e in await heard_again("--subject", "r1")] == [1, 2]
        assert len(await heard_again("--type", "entity.*", "--workspace", one)) == 6
        assert await heard_again("--subject", "nothing-of-this-name") == []

        # The feed has no event twice.
        page = (await admin.get("/changes")).ok()
        assert (await admin.get(f"/changes?after={page['next']}")).ok()["items"] == []

        # For one queue, and no other; from where a run before was interrupted.
        queue = await bus.channel.declare_queue(f"lost-{secrets.token_hex(4)}", durable=True)
        monkeypatch.setattr(telling_again, "PAGE", 3)
        bus.heard.clear()
        code, said, _ = await run("--workspace", one, "--queue", queue.name)
        assert (code, said[-1]) == (0, "8 told")
        place = said[0].partition(" go on with --from ")[2]
        code, said, _ = await run("--queue", queue.name, "--from", place, "--workspace", one)
        assert (code, said[-1]) == (0, "5 told")
        code, said, _ = await run("--queue", queue.name, "--from", place)
        assert (code, said[-1]) == (0, "9 told")
        ids = [(await queue.get()).message_id for _ in range(22)]
        of_one = [each for each, _, _ in first[one]]
        of_other = [each for each, _, _ in first[other]]
        assert ids == [*of_one, *of_one[3:], *of_one[3:], *of_other]
        assert bus.heard == []

        for wrong, why in (
            (("--queue", "no-such-queue"), "RabbitMQ has no queue 'no-such-queue'"),
            (("--workspace", "ws-none"), "workspace 'ws-none' has no events"),
            (("--from", place, "--workspace", other), f"--from is of workspace '{one}'"),
        ):
            code, _, err = await run(*wrong)
            assert (code, err.startswith(why)) == (1, True), err


async def test_a_workspace_that_has_moved_is_told_where_it_is_now(
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    amqp_url = await services.broker()
    service = await services.start(create_app, Config, "all", amqp_url=amqp_url)
    url = service.config.database_url.get_secret_value()
    monkeypatch.setenv("SIGMA_AMQP_URL", amqp_url)
    monkeypatch.setenv("SIGMA_DATABASE_URL", url)
    moves, stays = f"ws-a{secrets.token_hex(4)}", f"ws-b{secrets.token_hex(4)}"
    for workspace_id in (moves, stays):
        await records_of(service, workspace_id, 0)

    async def run(*arguments: str) -> tuple[int, list[str], str]:
        code = await asyncio.to_thread(telling_again.main, ["--per-second", "5000", *arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    async def is_placed() -> bool:
        code, said, _ = await run()
        return (code, said[-1]) == (0, "4 told")

    await eventually(is_placed)
    database = await open_one("records_service", url)
    await fence.raise_fence(database, moves)
    # It may come back from here.
    assert (await run())[1][-1] == "4 told"
    for phase, before in ((fence.CLOSED, fence.OPEN), (fence.MOVED, fence.CLOSED)):
        assert await fence.enter(database, moves, phase, before=(before,), for_s=None)
    await database.conn.close()
    why = f"workspace '{moves}' has moved to another installation"
    code, _, err = await run("--workspace", moves)
    assert (code, err) == (1, f"{why}: tell its events again there\n")
    code, said, _ = await run()
    assert (code, said[0], said[-1]) == (0, f"{why}: left out", "2 told")


def test_wrong_arguments_are_told():
    for usage in (("--since", "yesterday"), ("--from", "x"), ("--per-second", "0")):
        with pytest.raises(SystemExit, match="2"):
            telling_again.main(usage)
