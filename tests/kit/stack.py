"""All four services as real processes, and a workspace of its own for whoever tests with them."""

from __future__ import annotations

import asyncio
import base64
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from auth_service.sessions.passwords import hashed
from auth_service.users import commands as users
from auth_service.workspaces import commands as workspaces
from shared.database import Database
from shared.identity import GATEWAY
from tests.kit.identities import Keyring
from tests.kit.processes import Process
from tests.kit.servers import ROOT, Servers
from tests.kit.service import PATIENCE_S
from tests.kit.sigma import Caller
from tests.kit.workspace import Workspace

AUTH, RECORDS, WORKFLOW = "auth_service", "records_service", "workflow_service"
WITH_DATABASE = (AUTH, RECORDS, WORKFLOW)
SERVICES = (*WITH_DATABASE, GATEWAY)


class Stack:
    """The running system. One lives as long as the test run; what a test breaks is healed after it.

    `stack.url` is the gateway; `stack["records_service"]` is a `Process` with `.url`,
    `.internal_url`, `.stop()`, `.kill()`, `.start()`, `.wait_ready()`, `.log`.
    """

    def __init__(
        self,
        servers: Servers,
        folder: Path,
        code: Path = ROOT,
        *,
        beside: Stack | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`code`: the tree from which the services run; `settings`: more, of all processes.

        `beside`: another installation of the same operator, whose tokens and secrets this one
        takes.
        """
        self._settings = dict(settings or {})
        self.servers = servers
        self.folder = folder
        self.code = code
        self.keyring = Keyring(AUTH, WORKFLOW)
        self.amqp_url = servers.rabbit.vhost()
        self.databases = {name: servers.postgres.database(name) for name in WITH_DATABASE}
        self._secret_keys = f"test={base64.b64encode(secrets.token_bytes(32)).decode()}"
        self._token_keys = f"test={base64.b64encode(secrets.token_bytes(32)).decode()}"
        if beside is not None:
            self._secret_keys, self._token_keys = beside._secret_keys, beside._token_keys
        self._processes: dict[str, Process] = {}
        self._extra: list[Process] = []
        self.password = f"password-{secrets.token_hex(6)}"
        self._password_hash = hashed(self.password)
        self._session: aiohttp.ClientSession
        self.auth_database: Database
        for name in SERVICES:
            self._processes[name] = Process(name, folder, root=code)
        for name, process in self._processes.items():
            process.configure(self.environment(name))
            process.start()

    def __getitem__(self, service: str) -> Process:
        return self._processes[service]

    @property
    def url(self) -> str:
        """The gateway's address."""
        return self[GATEWAY].url

    @property
    def processes(self) -> tuple[Process, ...]:
        return (*self._processes.values(), *self._extra)

    def environment(self, service: str) -> dict[str, str]:
        """What a process of this service is configured with, but for its ports."""
        env = {
            "SIGMA_HOST": "127.0.0.1",
            "SIGMA_AMQP_URL": self.amqp_url,
            "SIGMA_IDENTITY_KEYS": self.keyring.public,
            "SIGMA_AUTH_URL": self[AUTH].url,
            "SIGMA_RECORDS_URL": self[RECORDS].url,
            "SIGMA_WORKFLOW_URL": self[WORKFLOW].url,
            "SIGMA_DRAIN_SECONDS": "0",
            "SIGMA_WAIT_SECONDS": str(PATIENCE_S),
            "SIGMA_LOG_LEVEL": "info",
        }
        if service in WITH_DATABASE:
            env["SIGMA_DATABASE_URL"] = self.databases[service]
            env["SIGMA_DATABASE_CONNECTIONS_MAX"] = "8"
        if service in (GATEWAY, AUTH, WORKFLOW):
            env["SIGMA_IDENTITY_SIGNING_KEY"] = self.keyring.signing_key(service)
        if service == WORKFLOW:
            env["SIGMA_SECRET_KEYS"] = self._secret_keys
            # Where the tests' receivers are.
            env["SIGMA_OUTBOUND_ALLOW"] = "127.0.0.1"
        if service in (GATEWAY, AUTH):
            env["SIGMA_TOKEN_KEYS"] = self._token_keys
        return env | self._settings

    def wait_ready(self) -> None:
        for process in self.processes:
            process.wait_ready()

    async def restart(self, service: str, **env: str) -> None:
        """Stop it politely, start it again (with more settings if given), wait until it serves."""
        await asyncio.to_thread(self[service].stop)
        await self.start(service, **env)

    async def kill(self, service: str) -> None:
        """SIGKILL; `start` brings it back."""
        await asyncio.to_thread(self[service].kill)

    async def start(self, service: str, **env: str) -> None:
        """Start what was stopped or killed, and wait until it serves."""
        self[service].start(**env)
        await asyncio.to_thread(self[service].wait_ready)

    async def another(self, service: str, role: str = "all", **env: str) -> Process:
        """One more process of this service, until the test ends: a second gateway, say."""
        name = f"{service}-{len(self._extra) + 2}-{secrets.token_hex(2)}"
        process = Process(name, self.folder, module=service, role=role, root=self.code)
        process.configure(self.environment(service))
        self._extra.append(process)
        process.start(**env)
        await asyncio.to_thread(process.wait_ready)
        return process

    async def apart(self, service: str) -> Process:
        """One process of this service answers, another works, until the test ends; the latter."""
        await asyncio.to_thread(self[service].stop)
        self[service].start(role="api")
        await asyncio.to_thread(self[service].wait_ready)
        return await self.another(service, role="worker")

    async def workspace(self, record_limit: int = 500) -> Workspace:
        """A new workspace with an administrator, as the administration command makes them.

        In this process: starting the command twice for each test would take longer than the test.
        """
        workspace = Workspace(self, f"ws-{secrets.token_hex(6)}")
        await workspaces.create(self.auth_database, workspace.id, "Test", record_limit)
        workspace.admin = await workspace.user("role-admin", user_id="user-admin")
        return workspace

    async def create_user(self, workspace_id: str, user_id: str, email: str, role_id: str) -> None:
        """A user whose password is `stack.password`."""
        await users.create(
            self.auth_database,
            workspace_id=workspace_id,
            user_id=user_id,
            email=email,
            name=user_id,
            role_id=role_id,
            password_hash=self._password_hash,
            quick_login=False,
        )

    async def administer(self, command: str, *arguments: str, stdin: str = "") -> str:
        """`python -m auth_service admin <command> ...`, and what it printed."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", AUTH, "admin", command, *arguments],
            cwd=ROOT,
            env=self.environment(AUTH) | {"SIGMA_PORT": "0", "SIGMA_INTERNAL_PORT": "0"},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"admin {command} failed\n{done.stdout}{done.stderr}"
        return done.stdout

    def caller(self, **headers: str) -> Caller:
        """Somebody at the gateway with these headers; nobody in particular without any."""
        return Caller(self._session, self.url, headers)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Stack]:
        """To one test; afterwards everything runs again as before."""
        self.auth_database = Database(self.databases[AUTH], connections_max=2)
        try:
            async with aiohttp.ClientSession() as self._session:
                yield self
        finally:
            await self.auth_database.close()
            await asyncio.to_thread(self._heal)

    def close(self) -> None:
        """Stop every process, all at once; their databases go with the run."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(Process.stop, self.processes))
        self.servers.rabbit.drop_vhost(self.amqp_url)

    def _heal(self) -> None:
        while self._extra:
            self._extra.pop().kill()
        for server in (self.servers.postgres.private, self.servers.rabbit.private):
            if server is not None and not server.running:
                server.start()
        for name, process in self._processes.items():
            process.resume()
            if process.changed or not process.alive:
                process.stop()
                process.configure(self.environment(name))
                process.start()
        self.wait_ready()
