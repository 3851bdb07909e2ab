"""An empty database and a virtual host, for tests of the shelf itself."""

from __future__ import annotations

import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from shared.database import Database, listing
from shared.messaging import inbox, outbox
from shared.messaging.connection import Bus
from shared.messaging.topology import Queue
from tests.kit.servers import Servers


@pytest.fixture
async def database_url(servers: Servers) -> AsyncIterator[str]:
    """The address of a new database without a single table."""
    name = f"sigma_test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(servers.postgres.url)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
        yield urlunsplit(urlsplit(servers.postgres.url)._replace(path=f"/{name}"))
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await admin.close()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A database with an outbox, an inbox and a table in which effects can be counted."""
    database = Database(database_url)
    await database.execute(
        f"""{outbox.SCHEMA}{inbox.SCHEMA}
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


@dataclass
class Rendered:
    """How lists were rendered: the number of rows of each piece, and the threads."""

    pieces: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> Rendered:
    """What is noted of lists from now on. The smallest is large enough for a thread."""
    noted = Rendered()
    render = listing._render

    def noting(rows: Any, one: Any) -> bytes:
        noted.pieces.append(len(rows))
        noted.threads.add(threading.get_ident())
        return render(rows, one)

    monkeypatch.setattr(listing, "_render", noting)
    monkeypatch.setattr(listing, "_INLINE_BYTES_MAX", 10)
    return noted
