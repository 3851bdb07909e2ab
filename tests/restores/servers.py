"""Three PostgreSQL servers, one for each service, that can be set back to any moment.

servers = ThreeServers()
stack = Stack(servers, folder)              # each service has its database on a server of its own
servers.postgres.back_up()                  # base backups, one after the other, under writes
servers.postgres.set_back(moment)           # from these and the archives, all to the same moment
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import asyncpg

from deploy.local.binaries import ensure_postgres
from deploy.local.failure import StartFailed
from deploy.local.private_server import plain_environment, run_apart
from deploy.local.servers import PrivatePostgres
from tests.kit.servers import Postgres, Servers

ARCHIVED_WITHIN_S = 60.0
RECOVERED_WITHIN_S = 120.0
POLL_S = 0.05


class Archiving(PrivatePostgres):
    """A server that archives its write-ahead log."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._log_settings = self._settings | {"archive_mode": "on"}

    def _start(self) -> None:
        archive = self.folder / "archive"
        if not archive.exists():
            archive.mkdir()
            self._own(archive, 0o700)
            self._settings = self._log_settings | {"archive_command": f"cp %p {archive}/%f"}
        super()._start()

    def back_up(self) -> None:
        """A base backup, while others write."""
        base = self.folder / "base"
        command = [str(ensure_postgres() / "pg_basebackup"), "-D", str(base), "-d", self.url]
        done = subprocess.run(
            [*command, "-X", "stream", "-c", "fast"],
            env=plain_environment(),
            capture_output=True,
            text=True,
            check=False,
            **self._as_user(),
        )
        if done.returncode != 0:
            raise StartFailed(self.part, f"pg_basebackup failed:\n{done.stderr.strip()}")

    def archive_all(self) -> None:
        """Return when all that was committed is in the archive."""
        segment = run_apart(_ask(self.url, "SELECT pg_walfile_name(pg_switch_wal())"))
        ends = time.monotonic() + ARCHIVED_WITHIN_S
        while not (self.folder / "archive" / segment).exists():
            assert time.monotonic() < ends, f"{segment} was not archived"
            time.sleep(POLL_S)

    def set_back(self, moment: datetime) -> None:
        """As docs/operations.md says: base backup, archive, a time; return when it takes writes."""
        self.kill()
        data, base = self.folder / "data", self.folder / "base"
        shutil.rmtree(data)
        subprocess.run(["cp", "-a", str(base), str(data)], check=True, **self._as_user())
        (data / "recovery.signal").touch()
        self._own(data / "recovery.signal", 0o600)
        usual = self._settings
        self._settings = usual | {
            "restore_command": f"cp {self.folder}/archive/%f %p",
            "recovery_target_time": moment.isoformat(),
            "recovery_target_action": "promote",
        }
        self.start()
        ends = time.monotonic() + RECOVERED_WITHIN_S
        while run_apart(_ask(self.url, "SELECT pg_is_in_recovery()")):
            assert time.monotonic() < ends, "the recovery does not end"
            time.sleep(POLL_S)
        self._settings = usual


class ThreePostgres:
    """Stands where one server is expected: each service gets a database on a server of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.servers: dict[str, Archiving] = {}
        self._named: dict[str, Postgres] = {}

    @property
    def private(self) -> ThreePostgres:
        return self

    @property
    def running(self) -> bool:
        return all(server.running for server in self.servers.values())

    def start(self) -> None:
        for server in self.servers.values():
            server.start()

    def database(self, service: str) -> str:
        if service not in self.servers:
            self.servers[service] = Archiving(self._folder / service)
            self.servers[service].start()
            self._named[service] = Postgres(self.servers[service].url, self.servers[service])
        return self._named[service].database(service)

    def back_up(self) -> None:
        for server in self.servers.values():
            server.back_up()

    def set_back(self, moment: datetime) -> None:
        for server in self.servers.values():
            server.archive_all()
        for server in self.servers.values():
            server.set_back(moment)

    def close(self) -> None:
        for server in self.servers.values():
            server.kill()


class ThreeServers(Servers):
    """As `Servers`, but each service has a PostgreSQL of its own."""

    def __init__(self) -> None:
        super().__init__(own=True)

    @cached_property
    def postgres(self) -> Any:
        three = ThreePostgres(self._private_folder() / "postgres")
        self._opened.append(three)  # type: ignore[arg-type]
        return three


async def _ask(url: str, query: str, settings: Mapping[str, str] | None = None) -> Any:
    conn = await asyncpg.connect(url, timeout=10, server_settings=dict(settings or {}))
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close()
