"""Everything that `make run` starts on this machine, in order, looked after until the end.

PostgreSQL and RabbitMQ (those of `SIGMA_POSTGRES_URL` and `SIGMA_AMQP_URL` when they are set),
migrations, the processes of the four services, and a demo workspace. Everything that is kept stands
in the folder: data, keys, logs. What this started, it ends; it touches nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local import databases, demo
from deploy.local.binaries import (
    AMQP_URL,
    POSTGRES_URL,
    check_installable,
    ensure_postgres,
    ensure_rabbit,
    find_postgres,
    find_rabbit,
)
from deploy.local.child_process import ChildProcess
from deploy.local.failure import StartFailed
from deploy.local.folder import BROKER, ROOT, Running, forget_running, write_running
from deploy.local.instances import Instance, connections_max, instances
from deploy.local.listening import is_free, listens
from deploy.local.private_server import PrivateServer
from deploy.local.progress import step
from deploy.local.servers import (
    PrivatePostgres,
    PrivateRabbit,
    answer_a_query,
    declare_a_queue,
)
from deploy.local.settings import (
    HOST,
    SERVICES,
    Keys,
    Ports,
    environment,
    port_max,
    write_closed,
)
from deploy.local.watch import Part, Watch
from shared.database import migrations
from shared.identity import GATEWAY

READY_WITHIN_S = 60.0
PORTS_APART = 10
PORT_SETS_TRIED = 50
LOOK_S = 0.5
ENDED_WITHIN_S = 40.0
_POLL_S = 0.1


class System:
    """Everything that runs, in the order in which it was started."""

    def __init__(self, folder: Path, ports: Ports, processes: Mapping[str, int]) -> None:
        """`processes`: how many of a service, where it is more than one."""
        self.folder = folder
        self.logs = folder / "logs"
        self.ports = ports
        self._processes = processes
        self.keys = Keys.kept_in(folder / "keys.json")
        self._servers: list[PrivateServer] = []
        self._services: dict[Instance, ChildProcess] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._elsewhere: list[Running] = []

    @property
    def started(self) -> bool:
        """Whether there is, or was, anything to end."""
        return bool(self._servers or self._services)

    def start(self) -> None:
        """Start all of it; `StartFailed` says what did not."""
        postgres_url, amqp_url = self._start_servers()
        with step("Databases"):
            addresses = databases.prepare(postgres_url, self.keys.passwords)
            write_closed(self.folder / databases.ADDRESSES, json.dumps(addresses))
            write_closed(self.folder / BROKER, f"{amqp_url}\n")
        self._migrate(addresses)
        self._environments = environments = {
            service: environment(service, self.keys, self.ports, addresses, amqp_url)
            | demo.SETTINGS.get(service, {})
            for service in SERVICES
        }
        for instance in instances(self._processes):
            _set_aside(self._log_of(instance))
            self._services[instance] = self._spawn(instance)
        self._tell_what_runs()
        for instance in self._services:
            with step(instance.name):
                self._wait_ready(instance)
        with step("Demo workspace") as current_step:
            current_step.outcome = demo.seed(
                demo.Place(
                    url=self.ports.url(GATEWAY),
                    auth_environment=environments["auth_service"],
                    done=self.folder / "demo-seeded",
                )
            )

    def watch(self) -> None:
        """Return never; start again what ended, and raise when it ends again and again."""
        watch = Watch(
            [
                *(self._watched_service(instance) for instance in self._services),
                *(self._watched_server(server) for server in self._servers),
            ]
        )
        while True:
            time.sleep(LOOK_S)
            watch.look()

    def _watched_service(self, instance: Instance) -> Part:
        def start() -> None:
            self._services[instance].end(signal.SIGKILL, 0)  # Its guard is still there.
            self._services[instance] = self._spawn(instance)
            self._tell_what_runs()

        return Part(
            name=instance.name,
            log=self._log_of(instance),
            exit_code=lambda: self._services[instance].exit_code,
            start=start,
            ready=lambda: self._answer_of(instance) == "",
        )

    def _watched_server(self, server: PrivateServer) -> Part:
        def start() -> None:
            server.start()
            self._tell_what_runs()

        return Part(
            name=server.part,
            log=server.log,
            exit_code=lambda: server.exit_code,
            start=start,
            ready=lambda: True,  # `start` returns when it is.
        )

    def _tell_what_runs(self) -> None:
        """For `make status`."""
        services = [
            Running(
                name=instance.name,
                service=instance.service,
                pid=process.pid,
                port=self.ports.api(instance.service),
                probes=self.ports.internal(instance.service, instance.number),
                log=str(self._log_of(instance)),
            )
            for instance, process in self._services.items()
        ]
        servers = [
            Running(server.part, server.part, server.pid, server.port, None, str(server.log))
            for server in self._servers
        ]
        write_running(self.folder, [*services, *servers, *self._elsewhere])

    def stop(self) -> None:
        """End everything, the last one first. The services finish what is in flight."""
        for process in self._services.values():
            process.ask_to_end()
        for process in reversed(self._services.values()):
            process.end(signal.SIGTERM, ENDED_WITHIN_S)
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda server: server.stop(), self._servers))
        (self.folder / databases.ADDRESSES).unlink(missing_ok=True)
        (self.folder / BROKER).unlink(missing_ok=True)
        forget_running(self.folder)

    def _start_servers(self) -> tuple[str, str]:
        postgres_url, amqp_url = os.environ.get(POSTGRES_URL), os.environ.get(AMQP_URL)
        wanted: dict[str, Callable[[], Path | None]] = {}
        if not postgres_url:
            wanted["postgresql"] = find_postgres
        if not amqp_url:
            wanted["rabbitmq-server"] = find_rabbit
        check_installable(wanted)
        # What is missing is installed before anything is started, one after the other.
        if not postgres_url:
            ensure_postgres()
        if not amqp_url:
            ensure_rabbit()
        connections = str(connections_max(self._processes))
        postgres = PrivatePostgres(self.folder / "postgres", {"max_connections": connections})
        rabbit = PrivateRabbit(self.folder / "rabbitmq")
        named = ((postgres, postgres_url), (rabbit, amqp_url))
        self._servers = [server for server, url in named if not url]
        self._elsewhere = [
            Running(server.part, server.part, None, urlsplit(url).port or 0, None, "")
            for server, url in named
            if url
        ]
        with ThreadPoolExecutor() as threads:
            starting = {server.part: threads.submit(server.start) for server in self._servers}
            for part, variable, url, answers in (
                (postgres.part, POSTGRES_URL, postgres_url, answer_a_query),
                (rabbit.part, AMQP_URL, amqp_url, declare_a_queue),
            ):
                if url:
                    starting[part] = threads.submit(_check_named, part, variable, url, answers)
            try:
                for part in (postgres.part, rabbit.part):
                    with step(part):
                        _wait_for(starting[part].done)
                        starting[part].result()
            except BaseException:
                # Ends the waiting of whatever has not started yet.
                for server in self._servers:
                    server.kill()
                raise
        return postgres_url or postgres.url, amqp_url or rabbit.url

    def _migrate(self, addresses: Mapping[str, str]) -> None:
        applied = 0
        with step("Migrations") as current_step:
            for service, address in addresses.items():
                try:
                    applied += len(migrations.upgrade(service, address))
                except migrations.MigrationFailed as error:
                    raise StartFailed(f"Migrations of {service}", str(error)) from error
            current_step.outcome = f"{applied} applied" if applied else "nothing to do"

    def _log_of(self, instance: Instance) -> Path:
        return self.logs / f"{instance.name}.log"

    def _spawn(self, instance: Instance) -> ChildProcess:
        command = [sys.executable, "-m", instance.service]
        settings = self._environments[instance.service] | instance.settings(self.ports)
        return ChildProcess(command, settings, self._log_of(instance), cwd=ROOT)

    def _wait_ready(self, instance: Instance) -> None:
        process, log = self._services[instance], self._log_of(instance)
        ends = time.monotonic() + READY_WITHIN_S
        while (answer := self._answer_of(instance)) != "":
            if not process.running:
                why = f"it exited during start (exit code {process.exit_code})"
                raise StartFailed(instance.name, why, log=log)
            if time.monotonic() > ends:
                why = f"it was not ready within {READY_WITHIN_S:.0f} s ({answer})"
                raise StartFailed(instance.name, why, log=log)
            time.sleep(_POLL_S)

    def _answer_of(self, instance: Instance) -> str:
        """Empty when our own process is ready; otherwise what is in the way."""
        probes = self.ports.internal(instance.service, instance.number)
        for port in (probes, self.ports.api(instance.service)):
            if not listens(self._services[instance].pid, port):
                taken = "" if is_free(HOST, port) else ", another program has it"
                return f"it does not listen on port {port}{taken}"
        return _asked(f"http://{HOST}:{probes}/readyz")


def choose_ports(asked: Ports, processes: Mapping[str, int] | None = None) -> Ports:
    """Those that were asked for, or the next that are all free; `StartFailed` if there are none.

    `processes`: how many of a service, where it is more than one.
    """
    processes = processes or {}
    for further in range(PORT_SETS_TRIED):
        ports = Ports(asked.first + further * PORTS_APART)
        if ports.first > port_max(processes):
            break
        if taken_port(ports, processes) is None:
            return ports
    service, port = taken_port(asked, processes) or (GATEWAY, asked.first)
    why = f"port {port} is taken by another program, and the next sets of ports are not free either"
    raise StartFailed(service, why, "Choose another port: make run PORT=<number>")


def taken_port(ports: Ports, processes: Mapping[str, int]) -> tuple[str, int] | None:
    """The first port of these that is not free, the gateway's before the others."""
    for service in (GATEWAY, *SERVICES):
        numbers = range(1, processes.get(service, 1) + 1)
        for port in (ports.api(service), *(ports.internal(service, n) for n in numbers)):
            if not is_free(HOST, port):
                return service, port
    return None


def _set_aside(log: Path) -> None:
    if log.exists():
        shutil.move(log, log.with_suffix(".log.1"))


def _check_named(part: str, variable: str, url: str, answers: Callable[[str], None]) -> None:
    try:
        answers(url)
    except Exception as error:
        # Not the address itself: it holds a password.
        why = f"the server that {variable} names does not answer ({error})"
        advice = f"Start it, or correct {variable}, or unset it to have a private one."
        raise StartFailed(part, why, advice) from error


def _asked(url: str) -> str:
    """Empty when it is ready; otherwise what it said instead."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  an address of ours
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return error.read(300).decode(errors="replace")
    except OSError as error:
        return str(error)


def _wait_for(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(_POLL_S)
