"""An empty database, errors as Citus makes them, how lists are rendered, and servers for files."""

from __future__ import annotations

import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from records_service import lists
from shared.database import Database, listing
from shared.http import probes
from shared.messaging import consuming, relay
from tests.kit import citus
from tests.kit.direct import DirectServices
from tests.kit.file_servers import AzureServer, S3Server, SftpServer, sshd_or_skip
from tests.kit.identities import Keyring
from tests.kit.npm_modules import AZURITE, install_modules
from tests.kit.servers import Servers, run_now
from tests.kit.service import PATIENCE_S, Services
from tests.kit.sql import recording

STOPS_WITHIN_S = 8.0
"""Some tests stop a service that cannot finish: they wait for so long."""


@pytest.fixture(autouse=True)
def errors_as_citus_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the names of constraints, in every test of this folder; tests/e2e has them."""
    citus.patch_errors(monkeypatch)


@pytest.fixture(scope="session", autouse=True)
def patient_with_a_busy_machine() -> Iterator[None]:
    """Nothing is refused or done in another way because a statement took long.

    A test of such a limit sets its own.
    """
    with pytest.MonkeyPatch.context() as patient:
        limits = Database.__init__.__kwdefaults__
        patient.setitem(limits, "statement_timeout_s", PATIENCE_S)
        patient.setitem(limits, "lock_timeout_s", PATIENCE_S)
        # A list that is not quick is read a second time, and its workspace's lists are slow then.
        patient.setattr(lists, "QUICK_S", PATIENCE_S)
        patient.setattr(probes, "READY_WITHIN_S", PATIENCE_S)
        # What is at hand is finished before a process ends.
        patient.setattr(relay, "STOP_WAIT_S", STOPS_WITHIN_S)
        patient.setattr(consuming, "STOP_WAIT_S", STOPS_WITHIN_S)
        yield


@pytest.fixture(scope="session", autouse=True)
def recorded_sql() -> Iterator[recording.Recorder]:
    """Every statement of the services is judged by the rules for SQL on Citus."""
    recorder = recording.Recorder()
    with pytest.MonkeyPatch.context() as monkeypatch:
        recording.patch(recorder, monkeypatch)
        yield recorder


@pytest.fixture(autouse=True)
def sql_runs_on_citus(recorded_sql: recording.Recorder) -> Iterator[None]:
    """The first test that executes a statement fails if it breaks a rule."""
    yield
    broken = list(recorded_sql.broken)
    recorded_sql.broken.clear()
    assert not broken, "\n\n".join(broken)


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def direct(servers: Servers, keyring: Keyring) -> AsyncIterator[DirectServices]:
    """All services with data, the same for all tests of a file, which run in their loop."""
    async with Services(servers, keyring) as services:
        opened = DirectServices(services)
        await opened.start()
        yield opened


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


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    server = SftpServer(tmp_path_factory.mktemp("sftp"), sshd_or_skip())
    yield server
    server.close()


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    run_now(install_modules(AZURITE))
    server = AzureServer(tmp_path_factory.mktemp("azure"))
    yield server
    server.close()
