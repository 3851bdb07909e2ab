"""Several servers in one address: the pool is where writes are taken, also when that moves."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from shared.database import Database, addresses, is_read_only
from shared.errors import ServiceUnavailable
from tests.kit.eventually import eventually
from tests.kit.postgres_pair import PostgresPair


@pytest.fixture
def pair() -> Iterator[PostgresPair]:
    folder = Path(tempfile.mkdtemp(prefix="sigma-pair-"))
    folder.chmod(0o755)
    made = PostgresPair(folder, {"fsync": "off"})
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def test_the_pool_leaves_a_primary_that_is_demoted_and_lives(pair: PostgresPair):
    db = Database(pair.url, connections_max=3)
    await db.execute("CREATE TABLE written (what text)")
    first, second = await db.take(), await db.take()
    db.give_back(first)
    apart = await db.connect()

    # Demoted, and alive: whoever only reads notices it, too, and all connections are left at once.
    await asyncio.to_thread(pair.demote_primary)
    await asyncio.to_thread(pair.promote)
    assert await db.fetchval("SELECT count(*) FROM written") == 0
    assert first.is_closed()
    await eventually(apart.is_closed)
    await db.execute("INSERT INTO written VALUES ('after a demotion')")
    third = await db.take()
    # One that is given back late must not make the pool leave the new primary.
    db.give_back(second)
    assert second.is_closed()
    db.give_back(third)
    assert not third.is_closed()
    assert not is_read_only(third)

    await db.close()
    with psycopg.connect(addresses.for_libpq(_bare(pair.url))) as migrating:
        assert migrating.execute("SHOW transaction_read_only").fetchone() == ("off",)


async def test_a_server_that_answers_nothing_does_not_keep_the_pool_from_the_next(
    database_url: str,
):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        db = Database(_after(f"127.0.0.1:{silent.getsockname()[1]}", database_url))
        assert await db.fetchval("SELECT 1") == 1
        await db.close()


async def test_a_server_that_is_not_there_does_not_keep_the_pool_from_the_next(database_url: str):
    db = Database(_after("127.0.0.1:1", database_url))
    assert await db.fetchval("SELECT 1") == 1
    await db.close()


async def test_servers_none_of_which_can_be_used_are_a_503(database_url: str):
    parts = urlsplit(database_url)
    user, _, _ = parts.netloc.rpartition("@")
    url = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:1,127.0.0.1:2"))
    with pytest.raises(ServiceUnavailable) as refused:
        await Database(url).fetchval("SELECT 1")
    assert str(refused.value.__cause__) == "a server cannot be reached"


def _after(host: str, url: str) -> str:
    """The same database behind a server that is asked first."""
    parts = urlsplit(url)
    user, _, there = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}@{host},{there}"))


def _bare(url: str) -> str:
    """Without the parameter that is the default for several servers."""
    return urlunsplit(urlsplit(url)._replace(query=""))
