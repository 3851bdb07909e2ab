"""The four services in containers, on private servers that are made for them and removed again."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.image.container import Container, once
from deploy.image.first_record import answers, first_record
from deploy.local import databases
from deploy.local.failure import StartFailed
from deploy.local.servers import PrivatePostgres, PrivateRabbit
from deploy.local.settings import HOST, SERVICES, Keys, Ports, environment
from shared.identity import GATEWAY

DRAIN_S = 2
STOPS_WITHIN_S = DRAIN_S + 25
READY_WITHIN_S = 90.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Backing:
    """What the services stand on: addresses of databases and broker, and keys."""

    databases: Mapping[str, str]
    amqp_url: str
    keys: Keys
    folder: Path


@contextmanager
def private_servers() -> Iterator[Backing]:
    """PostgreSQL with the three databases, and RabbitMQ; both are gone when the block ends."""
    # Not below a closed home: the servers run as users of their own.
    folder = Path(tempfile.mkdtemp(prefix="sigma-check-"))
    folder.chmod(0o711)
    servers = [PrivatePostgres(folder / "postgres"), PrivateRabbit(folder / "rabbitmq")]
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda server: server.start(), servers))
        keys = Keys.kept_in(folder / "keys.json")
        postgres, rabbit = servers
        addresses = databases.prepare(postgres.url, keys.passwords)
        yield Backing(addresses, rabbit.url, keys, folder)
    finally:
        for server in servers:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


class System:
    """Containers of all services, in the network of this machine."""

    def __init__(self, image: str, backing: Backing, ports: Ports) -> None:
        self._image, self._backing, self._ports = image, backing, ports
        self._containers: dict[str, Container] = {}

    def environment(self, service: str) -> dict[str, str]:
        """The settings of a service, and nothing of this machine's environment."""
        backing = self._backing
        made = environment(service, backing.keys, self._ports, backing.databases, backing.amqp_url)
        ours = {name: value for name, value in made.items() if name.startswith("SIGMA_")}
        return ours | {"SIGMA_DRAIN_SECONDS": str(DRAIN_S)}

    def migrate(self) -> None:
        """Bring all databases to the image's version."""
        for service, url in self._backing.databases.items():
            self.command(service, "shared.database.migrations", service, SIGMA_DATABASE_URL=url)

    def command(self, what: str, *arguments: str, stdin: str = "", **environment: str) -> str:
        """Run a command of operators in the image; what it printed."""
        done = once(self._image, *arguments, environment=environment, network="host", stdin=stdin)
        if done.returncode != 0:
            raise StartFailed(what, f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[None]:
        """All four services, ready; removed at the end."""
        with ExitStack() as stack:
            for service in SERVICES:
                container = Container.create(
                    *(self._image, service),
                    folder=self._backing.folder,
                    environment=self.environment(service),
                    network="host",
                )
                self._containers[service] = stack.enter_context(container)
                container.start()
            for service in SERVICES:
                self._wait_ready(service)
            yield

    def first_record(self) -> str:
        """Make a workspace and a user, and create a record through the gateway; its id."""

        def administer(*arguments: str, stdin: str = "") -> str:
            url = self._backing.databases["auth_service"]
            command = ("auth_service", "admin", *arguments)
            return self.command("admin", *command, stdin=stdin, SIGMA_DATABASE_URL=url)

        return first_record(self._ports.url(GATEWAY), administer)

    def stop(self) -> float:
        """SIGTERM to all; the seconds until the last has ended. Every one has to exit with 0."""
        began = time.monotonic()
        for container in self._containers.values():
            container.ask_to_end()
        for service, container in self._containers.items():
            code = container.wait(max(1.0, began + STOPS_WITHIN_S - time.monotonic()))
            if code != 0:
                how = "still runs" if code is None else f"exited with {code}"
                raise StartFailed(service, f"it {how} {STOPS_WITHIN_S} s after SIGTERM")
        return time.monotonic() - began

    def _wait_ready(self, service: str) -> None:
        url = f"http://{HOST}:{self._ports.internal(service)}/readyz"
        ends = time.monotonic() + READY_WITHIN_S
        while not answers(url):
            container = self._containers[service]
            if time.monotonic() > ends or not container.running:
                raise StartFailed(service, f"it is not ready:\n{container.output[-4000:]}")
            time.sleep(_POLL_S)
