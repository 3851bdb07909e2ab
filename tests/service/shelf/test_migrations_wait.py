"""Migrations that run beside the installation of their database wait for it."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from shared.database.migrations import MigrationFailed, main, upgrade

SERVICE = "workflow_service"


def at_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def test_migrations_wait_until_their_database_is_made(servers, database_url):
    """They say once what they wait for, and go on by themselves."""
    later = at_database(database_url, f"{urlsplit(database_url).path[1:]}_later")
    loop, waiting = asyncio.get_running_loop(), asyncio.Event()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        loop.call_soon_threadsafe(waiting.set)

    migrating = asyncio.create_task(asyncio.to_thread(upgrade, SERVICE, later, say, wait_s=60))
    waited = asyncio.create_task(waiting.wait())
    await asyncio.wait({waited, migrating}, return_when=asyncio.FIRST_COMPLETED)
    waited.cancel()
    assert not migrating.done()
    admin = await asyncpg.connect(database_url)
    try:
        await admin.execute(f'CREATE DATABASE "{urlsplit(later).path[1:]}"')
        applied = await migrating
        await admin.execute(f'DROP DATABASE "{urlsplit(later).path[1:]}"')
    finally:
        await admin.close()
    assert applied
    assert [line for line in said if line.startswith("waiting: ")] == said[:1]
    assert "does not exist" in said[0]
    assert said[-1] == f"at {applied[-1]}"


def test_the_wait_is_bounded(database_url):
    nowhere = at_database(database_url, "there_is_none")
    said: list[str] = []
    with pytest.raises(MigrationFailed, match="cannot be reached"):
        upgrade(SERVICE, nowhere, said.append, wait_s=1.5)
    assert len(said) == 1


def test_without_a_wait_one_attempt_decides(database_url):
    said: list[str] = []
    with pytest.raises(MigrationFailed, match="cannot be reached"):
        upgrade(SERVICE, at_database(database_url, "there_is_none"), said.append)
    assert said == []


@pytest.mark.parametrize("sent", ["-1", "3601", "x", "1.5", "٣", "1" * 5000])
def test_a_wait_that_is_no_number_of_seconds_is_refused(sent, capsys):
    with pytest.raises(SystemExit) as ended:
        main([SERVICE, "--wait", sent])
    assert ended.value.code == 2
    assert "expected a whole number from 0 to 3600" in capsys.readouterr().err
