"""PostgreSQL and RabbitMQ for one test run, and a fresh database or virtual host for whoever asks.

The servers are those that the environment names (`SIGMA_POSTGRES_URL`, `SIGMA_AMQP_URL`), or
private ones in a temporary folder that end with the run. A service's migrations run once; every
test then gets a copy of that database, which takes some 50 ms.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from deploy.local.servers import PrivatePostgres, PrivateRabbit
from deploy.local.settings import HOST
from shared.database import migrations

T = TypeVar("T")
ServerT = TypeVar("ServerT", "Postgres", "Rabbit")

ROOT = Path(__file__).resolve().parents[2]
RABBITMQCTL = "SIGMA_RABBITMQCTL"
VHOSTS_AT_ONCE = 6


def run_now(work: Coroutine[Any, Any, T]) -> T:
    """Await it from a fixture that is not async, whatever loop is running around it."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class Postgres:
    """One server, and the databases that this run made on it."""

    def __init__(self, url: str, private: PrivatePostgres | None = None) -> None:
        self.url = url
        self.private = private
        self._run = secrets.token_hex(4)
        self._templates: dict[str, str] = {}
        self._made: list[str] = []

    def database(self, service: str) -> str:
        """The address of a new database with this service's migrations applied, and no rows."""
        return run_now(self.new_database(service))

    async def new_database(self, service: str) -> str:
        """As `database`, from a test or an async fixture."""
        template = self._templates.get(service) or await self._migrated(service)
        name = f"sigma_test_{self._run}_{service}_{secrets.token_hex(4)}"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self._made.append(name)
        return self._address(name)

    async def empty_database(self, name: str) -> str:
        """The address of a new database without any migration."""
        name = f"sigma_test_{self._run}_{name}_{secrets.token_hex(4)}"
        await self._execute(f'CREATE DATABASE "{name}"')
        self._made.append(name)
        return self._address(name)

    async def drop_database(self, url: str) -> None:
        """Drop one of ours, whoever is still connected."""
        name = urlsplit(url).path.lstrip("/")
        self._made.remove(name)
        await self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def close(self) -> None:
        """Drop what this run made, or the whole server when it is our own."""
        if self.private is not None:
            self.private.stop()
            return
        for name in self._made:
            run_now(self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    async def _migrated(self, service: str) -> str:
        name = f"sigma_test_{self._run}_{service}"
        await self._execute(f'CREATE DATABASE "{name}"')
        self._made.append(name)
        await migrations.apply(service, self._address(name))
        self._templates[service] = name
        return name

    def _address(self, name: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    async def _execute(self, statement: str) -> None:
        conn = await asyncpg.connect(self.url)
        try:
            await conn.execute(statement)
        finally:
            await conn.close()


class Rabbit:
    """One broker, and the virtual hosts that this run made on it."""

    def __init__(self, url: str, private: PrivateRabbit | None = None) -> None:
        self.url = url
        self.private = private
        self._is_new = private is not None
        self._spare: list[str] = []

    def vhost(self) -> str:
        """The address of a new, empty virtual host.

        On a broker of the environment it takes the command in `SIGMA_RABBITMQCTL`; without that,
        the virtual host which the address names is used as it is.
        """
        if self._is_new:
            # Nobody has used the one that a broker begins with, and making one takes seconds.
            self._is_new = False
            return self.url
        name = f"sigma-test-{secrets.token_hex(4)}"
        if self.private is not None:
            if not self._spare:
                # Several, because the program that makes them takes seconds to start.
                names = (f"{name}-{number}" for number in range(VHOSTS_AT_ONCE))
                self._spare += self.private.add_vhosts(*names)
            return self._spare.pop()
        if RABBITMQCTL in os.environ:
            self._control("add_vhost", name)
            user = urlsplit(self.url).username or "guest"
            self._control("set_permissions", "-p", name, user, ".*", ".*", ".*")
        else:
            return self.url
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def control_command(self, folder: Path) -> Path:
        """A program in this folder that does to our private broker what `rabbitmqctl` would do."""
        assert self.private is not None
        program = folder / "rabbitmqctl"
        program.write_text(
            # Of a shell: the path of an interpreter may hold a space, the first line may not.
            f"#!/bin/sh\n"
            f"exec {shlex.quote(sys.executable)} - \"$@\" <<'END'\n"
            f"import sys\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            f"from pathlib import Path\n"
            f"from deploy.local.servers import PrivateRabbit\n"
            f"broker = PrivateRabbit(Path({str(self.private.folder)!r}))\n"
            f"broker.settle_in()\n"
            f"sys.stdout.write(broker.control(*sys.argv[1:]))\n"
            f"END\n"
        )
        program.chmod(0o755)
        return program

    def drop_vhost(self, url: str) -> None:
        """Delete one of ours on a broker of the environment; a private broker ends with the run."""
        if self.private is None and url != self.url:
            self._control("delete_vhost", urlsplit(url).path.lstrip("/"))

    def _control(self, *command: str) -> None:
        control = shlex.split(os.environ[RABBITMQCTL])
        subprocess.run([*control, *command], check=True, capture_output=True)

    def close(self) -> None:
        if self.private is not None:
            self.private.stop()


class Servers:
    """Both servers, each opened when somebody first asks for it."""

    def __init__(
        self,
        *,
        own: bool = False,
        postgres: Mapping[str, str] | None = None,
        also_on: Sequence[str] = (),
    ) -> None:
        """`own`: private ones whatever the environment says, because a test will stop them.

        `postgres` are settings of a private server. Private servers listen `also_on` these
        addresses.
        """
        self._also_on = also_on
        self._settings = {
            **({"listen_addresses": ",".join((HOST, *also_on))} if also_on else {}),
            **(postgres or {}),
        }
        self._postgres_url = None if own else os.environ.get("SIGMA_POSTGRES_URL")
        self._amqp_url = None if own else os.environ.get("SIGMA_AMQP_URL")
        self._opened: list[Postgres | Rabbit] = []
        self._folder: Path | None = None

    @property
    def may_be_stopped(self) -> bool:
        """Whether both are ours alone."""
        return self._postgres_url is None and self._amqp_url is None

    @cached_property
    def postgres(self) -> Postgres:
        if self._postgres_url is not None:
            return self._kept(Postgres(self._postgres_url))
        server = PrivatePostgres(self._private_folder() / "postgres", self._settings)
        server.start()
        return self._kept(Postgres(server.url, server))

    @cached_property
    def rabbit(self) -> Rabbit:
        if self._amqp_url is not None:
            return self._kept(Rabbit(self._amqp_url))
        server = PrivateRabbit(self._private_folder() / "rabbit", also_on=self._also_on)
        server.start()
        return self._kept(Rabbit(server.url, server))

    def close(self) -> None:
        for server in reversed(self._opened):
            server.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _kept(self, server: ServerT) -> ServerT:
        self._opened.append(server)
        return server

    def _private_folder(self) -> Path:
        if self._folder is None:
            # The servers run as users of their own, who must be able to reach their folder.
            self._folder = Path(tempfile.mkdtemp(prefix="sigma-servers-"))
            self._folder.chmod(0o755)
        return self._folder
