"""A database that was restored or copied: who notices, what is told, and how it goes on."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import asyncpg
import pytest

from records_service.app import create_app
from records_service.config import Config
from shared.database import incarnations, restored, schema_version
from shared.database.incarnations import Incarnation
from shared.http.versions import entity_tag
from tests.kit.eventually import eventually
from tests.kit.identities import Keyring
from tests.kit.servers import Servers
from tests.kit.service import PATIENCE_S, RunningService, Services

SERVICE = "records_service"


async def copied(servers: Servers, url: str) -> str:
    """A copy of this database, as a restored backup is one."""
    copy = await servers.postgres.empty_database("copy")
    conn = await asyncpg.connect(servers.postgres.url)
    try:
        name = urlsplit(copy).path.lstrip("/")
        await conn.execute(f'DROP DATABASE "{name}"')
        await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{urlsplit(url).path.lstrip("/")}"')
    finally:
        await conn.close()
    return copy


async def lived_in(servers: Servers, keyring: Keyring) -> str:
    """A database in which a process of records_service has run."""
    url = servers.postgres.new_database(SERVICE)
    async with Services(servers, keyring) as services:
        address = await url
        service = await services.start(create_app, Config, database_url=address)
        assert await readiness(services, service) == (200, "")
    return address


async def readiness(services: Services, service: RunningService) -> tuple[int, str]:
    async with services.session.get(f"{service.internal_url}/readyz") as answer:
        return answer.status, json.loads(await answer.read()).get("message", "")


async def run(monkeypatch: pytest.MonkeyPatch, url: str, *arguments: str) -> int:
    monkeypatch.setenv("SIGMA_DATABASE_URL", url)
    return await asyncio.to_thread(restored.main, arguments)


async def test_a_restored_database_takes_no_traffic_until_it_is_told(
    servers: Servers,
    keyring: Keyring,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    before = await lived_in(servers, keyring)
    url = await copied(servers, before)
    async with Services(servers, keyring) as first:
        service = await first.start(create_app, Config, database_url=url)
        status, told = await readiness(first, service)
        assert status == 503
        assert told == (
            "the database is a restored or copied one: stop all processes of records_service and"
            " run python -m shared.database.restored records_service; if it was moved or upgraded"
            " and has everything, add --nothing-lost"
        )
        capsys.readouterr()
        # What it remembers is of the incarnation before.
        assert await run(monkeypatch, url, SERVICE) == 1
        assert "processes of records_service are running (" in capsys.readouterr().err
    assert await run(monkeypatch, url, SERVICE) == 0
    assert capsys.readouterr().out.startswith("records_service: incarnation ")
    service = await services.start(create_app, Config, database_url=url)
    assert await readiness(services, service) == (200, "")
    # Nothing has become of the first.
    service = await services.start(create_app, Config, database_url=before)
    assert await readiness(services, service) == (200, "")


async def test_the_first_answer_names_the_incarnation(
    services: Services, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schema_version, "FIRST_LOOK_S", PATIENCE_S)
    url = await services.database(SERVICE)
    conn = await asyncpg.connect(url)
    try:
        await incarnations.look(conn)
        begun = await incarnations.begin(conn)
    finally:
        await conn.close()
    await services.start(create_app, Config, database_url=url)
    # Nothing has been awaited since it serves.
    assert entity_tag(7) == f'"7-{begun.number:x}"'


async def test_a_database_that_was_moved_goes_on_as_it_was(
    servers: Servers, keyring: Keyring, services: Services, monkeypatch: pytest.MonkeyPatch
):
    url = await copied(servers, await lived_in(servers, keyring))
    assert await run(monkeypatch, url, SERVICE, "--nothing-lost") == 0
    service = await services.start(create_app, Config, database_url=url)
    assert await readiness(services, service) == (200, "")
    assert await service.database.fetchval("SELECT count(*) FROM incarnations") == 1


async def test_the_wrong_database_and_the_wrong_service_are_refused(
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    url = await services.database("auth_service")
    assert await run(monkeypatch, url, SERVICE) == 1
    assert "this is not the database of records_service" in capsys.readouterr().err
    assert await run(monkeypatch, "postgresql://sigma@127.0.0.1:9/none", SERVICE) == 1
    assert "is SIGMA_DATABASE_URL right?" in capsys.readouterr().err
    assert await run(monkeypatch, "no address", SERVICE) == 2
    with pytest.raises(SystemExit, match="2"):
        await run(monkeypatch, url, "gateway")


async def test_a_standby_that_is_promoted_under_a_process_goes_on(services: Services):
    url = await services.database(SERVICE)
    conn = await asyncpg.connect(url)
    try:
        here = (await incarnations.look(conn)).here
        data, _, timeline = here.rpartition("/")
        assert int(timeline, 16) > 0
        primary = f"{data}/00000000"
        await conn.execute("UPDATE incarnations SET place = $1", primary)
        # Who was not there cannot know what was lost.
        found = await incarnations.look(conn)
        assert not found.is_known
        assert "add --nothing-lost" in (found.complaint(SERVICE) or "")
        assert not (await incarnations.look(conn, "another/1/00000000")).is_known
        assert (await incarnations.look(conn, primary)).is_known
        assert (await incarnations.look(conn)).complaint(SERVICE) is None
    finally:
        await conn.close()


async def test_a_process_knows_a_restore_from_a_failover_by_its_last_beat(services: Services):
    conn = await asyncpg.connect(await services.database(SERVICE))
    try:
        here = (await incarnations.look(conn)).here
        primary = f"{here.rpartition('/')[0]}/00000000"
        first, last = await incarnations.beat(conn), await incarnations.beat(conn)
        assert (first, last) == ((0, 1), (0, 2))

        async def becomes(place: str, beats: int) -> None:
            await conn.execute("UPDATE incarnations SET place = $1, beats = $2", place, beats)

        # A standby that had everything is promoted.
        await becomes(primary, 2)
        assert await incarnations.beat(conn) is None, "nobody has settled that it lives here"
        assert (await incarnations.look(conn, primary, last)).is_known
        # One that had not, or a restore: whoever was there does not go on.
        await becomes(primary, 1)
        found = await incarnations.look(conn, primary, last)
        assert not found.is_known
        told = found.complaint(SERVICE, last) or ""
        assert told.startswith("the database was set back while processes of records_service ran")
        # The volume is rolled back in place.
        await becomes(here, 1)
        found = await incarnations.look(conn, here, last)
        assert found.is_known
        assert found.complaint(SERVICE, last) == told
        assert found.complaint(SERVICE, first) is None, "of what was lost this one knew nothing"
        async with conn.transaction():
            await incarnations.begin(conn)
        assert (await incarnations.look(conn, here, last)).complaint(SERVICE, last) is None
    finally:
        await conn.close()


async def test_a_process_under_which_the_database_was_set_back_takes_no_traffic(
    services: Services, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schema_version, "LOOK_NOW_AND_THEN_S", 0.05)
    service = await services.start(create_app, Config)

    async def beats() -> int:
        found: int = await service.database.fetchval("SELECT beats FROM incarnations")
        return found

    async def has_beaten() -> bool:
        return await beats() > 2

    await eventually(has_beaten)
    await service.database.execute("UPDATE incarnations SET beats = 0")

    async def is_known() -> bool:
        return (await readiness(services, service))[0] == 503

    await eventually(is_known)
    before = await beats()
    status, told = await readiness(services, service)
    assert (status, told.startswith("the database was set back while")) == (503, True)
    assert not service.database.migrated.is_set()
    assert await beats() == before == 0


async def test_the_same_backup_restored_twice_has_two_numbers(services: Services):
    conn = await asyncpg.connect(await services.database(SERVICE))
    try:
        numbers = []
        for seconds in (0, 5):
            async with conn.transaction():
                await incarnations.look(conn)
                begun: Incarnation = await incarnations.begin(conn)
                numbers.append(begun.number + seconds)
        assert numbers[0] > 1_700_000_000
        assert len(set(numbers)) == 2
    finally:
        await conn.close()
