"""Two processes of each service behind balancers, and the ways in which they are replaced."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.settings import AUTH, DATABASES, HOST, RECORDS, WORKFLOW
from shared.identity import GATEWAY
from tests.kit.eventually import eventually
from tests.kit.processes import Process
from tests.kit.servers import ROOT, Servers
from tests.rolling.balancer import Balancer, Timing
from tests.rolling.keys import Keys
from tests.rolling.load import EMAIL, PASSWORD, WORKSPACE

ORDER = (RECORDS, AUTH, WORKFLOW, GATEWAY)
"""The order of an upgrade, as in docs/operations.md."""
REPLICAS = 2
READY_WITHIN_S = 90.0
Phase = Callable[[str, Callable[[], Awaitable[object]]], Awaitable[None]]
"""Does the work under this title, and returns when all balancers know what has changed."""

BELIEVED_WITHIN_S = 60.0
STOP_BESIDES_DRAIN_S = 25.0
"""What a process may take to stop, besides its drain, before it would be killed."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How one process ended after SIGTERM."""

    name: str
    seconds: float
    exit_code: int


class Fleet:
    """The running system. `url` is the gateway's balancer."""

    def __init__(
        self,
        servers: Servers,
        folder: Path,
        code: Path,
        *,
        timing: Timing,
        drain_s: float,
        seed: int,
    ) -> None:
        self.folder = folder
        self.code = code
        """The tree from which the next process starts."""
        self.keys = Keys()
        self.drain_s = drain_s
        self.stops: list[Stop] = []
        self.amqp_url = servers.rabbit.vhost()
        self.databases: dict[str, str] = {}
        self._servers = servers
        self._min_ready_s = timing.late_s
        self._balancers = {name: Balancer(timing, seed + n) for n, name in enumerate(ORDER)}
        self._replicas: dict[str, list[Process]] = {name: [] for name in ORDER}
        self._all: list[Process] = []
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return self._balancers[GATEWAY].url

    def url_of(self, service: str) -> str:
        """Where the other services reach this one."""
        return self._balancers[service].url

    @property
    def unanswered(self) -> int:
        """Connections that a balancer took and could hand to no replica."""
        return sum(balancer.unanswered for balancer in self._balancers.values())

    @property
    def latest_s(self) -> float:
        """The longest that a balancer sent connections to a process that was stopping."""
        return max(balancer.latest_s for balancer in self._balancers.values())

    async def start(self) -> None:
        """Databases, migrations, and all replicas; returns when every balancer believes in all."""
        for service in DATABASES:
            self.databases[service] = await self._servers.postgres.empty_database(service)
        await self.migrate()
        for balancer in self._balancers.values():
            await balancer.start()
        for service, replicas in self._replicas.items():
            replicas.extend(self._spawn(service) for _ in range(REPLICAS))
        for replica in tuple(self._all):
            await self.ready(replica)
        await self.believed()
        # While nobody was ready yet, the services asked for each other.
        for balancer in self._balancers.values():
            balancer.unanswered = 0

    async def close(self) -> None:
        for balancer in self._balancers.values():
            await balancer.close()
        alive = [replica for replica in self._all if replica.alive]
        await asyncio.gather(*(asyncio.to_thread(replica.kill) for replica in alive))

    async def migrate(self) -> None:
        """Apply the migrations of the present tree, with its own command."""
        # The module had another name in older trees.
        new = (self.code / "shared" / "database" / "migrations.py").exists()
        module = "shared.database.migrations" if new else "shared.migrations"
        for service in DATABASES:
            await self._run(module, service, env={"SIGMA_DATABASE_URL": self.databases[service]})

    async def administer(self, *arguments: str, stdin: str = "") -> None:
        """`python -m auth_service admin ...` of the present tree."""
        env = {"SIGMA_DATABASE_URL": self.databases[AUTH]}
        await self._run(AUTH, "admin", *arguments, env=env, stdin=stdin)

    async def make_workspace(self) -> None:
        """That of the load, with its administrator."""
        await self.administer(
            *("create-workspace", "--id", WORKSPACE, "--name", "Load"),
            *("--record-limit", "1000000"),
        )
        await self.administer(
            *("create-user", "--workspace", WORKSPACE, "--id", "user-ann", "--name", "Ann"),
            *("--email", EMAIL, "--role", "role-admin", "--password-stdin"),
            stdin=PASSWORD,
        )

    async def roll(self, service: str) -> None:
        """Replace the replicas one after the other, as `maxSurge: 1, maxUnavailable: 0` does.

        A replica is asked to stop when its successor has been ready for as long as a balancer may
        be late (`minReadySeconds`): otherwise both former replicas may be gone from a balancer
        before it knows a new one. The next one does not wait for its end. Returns when all of them
        have ended.
        """
        stopping = []
        for replica in tuple(self._replicas[service]):
            successor = self._spawn(service)
            self._replicas[service].append(successor)
            await self.ready(successor)
            await asyncio.sleep(self._min_ready_s)
            self._replicas[service].remove(replica)
            stopping.append(asyncio.create_task(self._stop(service, replica)))
        await asyncio.gather(*stopping)

    async def roll_all(self, services: Iterable[str] = ORDER) -> None:
        """Replace the replicas of all these services at the same time."""
        await asyncio.gather(*(self.roll(service) for service in services))

    async def believed(self) -> None:
        """Return when each balancer believes in all replicas that run."""

        def all_believed() -> bool:
            return all(
                self._balancers[service].believes(replica)
                for service, replicas in self._replicas.items()
                for replica in replicas
            )

        await eventually(all_believed, BELIEVED_WITHIN_S)

    def extra(self, service: str) -> Process:
        """One more replica from the present tree, which need not become ready."""
        return self._spawn(service)

    async def drop(self, service: str, replica: Process) -> None:
        """Stop a replica that `extra` started."""
        await self._stop(service, replica)

    async def ready(self, replica: Process) -> None:
        """Return when it says so itself, whatever its balancer believes."""
        await asyncio.to_thread(replica.wait_ready, READY_WITHIN_S)

    def _spawn(self, service: str) -> Process:
        name = f"{service}-{next(self._numbers)}"
        replica = Process(name, self.folder, module=service, root=self.code)
        replica.configure(self.environment(service))
        replica.start()
        self._all.append(replica)
        self._balancers[service].add(replica)
        return replica

    async def _stop(self, service: str, replica: Process) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._balancers[service].stops(replica)
        within_s = self.drain_s + STOP_BESIDES_DRAIN_S
        try:
            exit_code = await asyncio.to_thread(replica.stop, within_s)
        except AssertionError:
            exit_code = -signal.SIGKILL
        self.stops.append(Stop(replica.name, loop.time() - began, exit_code))
        self._balancers[service].forget(replica)

    def environment(self, service: str) -> dict[str, str]:
        env = {
            "SIGMA_HOST": HOST,
            "SIGMA_AMQP_URL": self.amqp_url,
            "SIGMA_AUTH_URL": self._balancers[AUTH].url,
            "SIGMA_RECORDS_URL": self._balancers[RECORDS].url,
            "SIGMA_WORKFLOW_URL": self._balancers[WORKFLOW].url,
            "SIGMA_DRAIN_SECONDS": str(self.drain_s),
            **self.keys.environment(service),
        }
        if service in self.databases:
            env["SIGMA_DATABASE_URL"] = self.databases[service]
        return env

    async def _run(self, *command: str, env: Mapping[str, str], stdin: str = "") -> None:
        outside = {key: one for key, one in os.environ.items() if not key.startswith("SIGMA_")}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", *command],
            cwd=self.code,
            env={**outside, **env},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)} failed\n{done.stdout}{done.stderr}"


def old_tree(revision: str, folder: Path) -> Path:
    """The files of this git revision, in a folder of their own."""
    tree = folder / "old"
    tree.mkdir()
    archive = folder / "old.tar"
    subprocess.run(["git", "archive", f"--output={archive}", revision], cwd=ROOT, check=True)
    subprocess.run(["tar", "-xf", archive, "-C", tree], check=True)
    return tree
