"""A database, a broker and an HTTP server without a service, for tests of the shelf itself."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from shared.database import Database
from shared.http import Limits, Routes, new_service
from shared.launch import serving
from shared.messaging import inbox, outbox
from shared.messaging.connection import Bus
from shared.messaging.topology import Queue
from shared.process.config import ServiceConfig
from tests.kit.identities import Keyring
from tests.kit.processes import Process
from tests.kit.servers import Servers
from tests.service.shelf.edge import (
    BODY_BYTES_MAX,
    Edge,
    StartEdge,
    new_process,
    routes,
    with_events,
)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A database with an outbox, an inbox and a table in which effects can be counted."""
    database = Database(database_url)
    await database.execute(
        f"""{outbox.SCHEMA}{";".join(outbox.VERSIONS)};{inbox.SCHEMA}
        CREATE TABLE effects (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            subject text NOT NULL,
            version int NOT NULL
        )"""
    )
    yield database
    await database.close()


@pytest.fixture(scope="session")
def amqp_url(servers: Servers) -> Iterator[str]:
    """One virtual host for all of these tests: they use queues and event types of their own."""
    url = servers.rabbit.vhost()
    yield url
    servers.rabbit.drop_vhost(url)


@pytest.fixture
async def queue(amqp_url: str) -> AsyncIterator[Queue]:
    """A queue of this test's own, bound to event types of this test's own: `<name>.#`."""
    name = f"test-{secrets.token_hex(6)}"
    own = Queue(name, (f"{name}.#",))
    yield own
    bus = Bus(amqp_url, "clean up", [])
    bus.start()
    async with (await bus.connection()).channel() as channel:
        await channel.queue_delete(own.name)
        await channel.queue_delete(own.dead)
    await bus.stop()


@pytest.fixture
async def bus(amqp_url: str, queue: Queue) -> AsyncIterator[Bus]:
    """Connected, with `queue` declared."""
    opened = Bus(amqp_url, "test", [queue])
    opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def start_edge(keyring: Keyring) -> AsyncIterator[StartEdge]:
    """`await start_edge(**limits)`: an edge with these limits, until the test ends.

    `wait_seconds` is a setting and no limit.
    """
    async with AsyncExitStack() as exits:

        async def start(*more: Routes, wait_seconds: float = 2.0, **limits: Any) -> Edge:
            config = ServiceConfig(
                port=0,
                internal_port=0,
                amqp_url="amqp://nobody",
                identity_keys=keyring.public,
                drain_seconds=0,
                wait_seconds=wait_seconds,
            )
            bounded = Limits(**{"body_bytes_max": BODY_BYTES_MAX, "check_every_s": 0.02} | limits)
            app = with_events(new_service(config, [routes(), *more], limits=bounded))
            served = await exits.enter_async_context(serving(app))
            session = await exits.enter_async_context(aiohttp.ClientSession())
            return Edge(served, keyring, session)

        yield start


@pytest.fixture
async def edge(start_edge: StartEdge) -> Edge:
    """An edge with the usual limits."""
    return await start_edge()


@pytest.fixture(scope="module")
def edge_process(keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The edge as services run it: a process of its own, on uvloop."""
    process = new_process(keyring, tmp_path_factory.mktemp("edge"))
    process.start()
    process.wait_ready()
    yield process
    process.stop()
