"""Runs the whole system on this machine until Ctrl-C: what `make run` starts.

    .venv/bin/python -m deploy.local [--port 8080] [--folder .run]

PostgreSQL and RabbitMQ (those of `SIGMA_POSTGRES_URL` and `SIGMA_AMQP_URL` when they are set),
migrations, the four services, and a demo workspace. Everything that is kept stands in the folder:
data, keys, logs. What this started, it ends; it touches nothing else.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
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
from types import FrameType

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
from deploy.local.listening import is_free, listens
from deploy.local.private_server import PrivateServer
from deploy.local.progress import say, step
from deploy.local.servers import (
    PrivatePostgres,
    PrivateRabbit,
    answer_a_query,
    declare_a_queue,
)
from deploy.local.settings import (
    HOST,
    PORT,
    PORT_MAX,
    SERVICES,
    Keys,
    Ports,
    environment,
    write_closed,
)
from deploy.local.watch import Part, Watch
from shared.database import migrations
from shared.identity import GATEWAY

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".run"
BROKER = "broker-url"
"""In the folder: the broker's address with its password, while it is there."""
READY_WITHIN_S = 60.0
PORTS_APART = 10
PORT_SETS_TRIED = 50
LOOK_S = 0.5
ENDED_WITHIN_S = 40.0
_POLL_S = 0.1


class Interrupted(BaseException):
    """Somebody asked for the end; like KeyboardInterrupt, nothing on the way may take it."""


class System:
    """Everything that runs, in the order in which it was started."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.ports = ports
        self.keys = Keys.kept_in(folder / "keys.json")
        self._servers: list[PrivateServer] = []
        self._services: dict[str, ChildProcess] = {}
        self._environments: dict[str, dict[str, str]] = {}

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
        for service in SERVICES:
            self._set_log_aside(service)
            self._services[service] = self._spawn(service)
        for service in SERVICES:
            with step(service):
                self._wait_ready(service)
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
                *(self._watched_service(service) for service in self._services),
                *(self._watched_server(server) for server in self._servers),
            ]
        )
        while True:
            time.sleep(LOOK_S)
            watch.look()

    def _watched_service(self, service: str) -> Part:
        def start() -> None:
            self._services[service].end(signal.SIGKILL, 0)  # Its guard is still there.
            self._services[service] = self._spawn(service)

        url = f"http://{HOST}:{self.ports.internal(service)}/readyz"
        return Part(
            name=service,
            log=self.logs / f"{service}.log",
            exit_code=lambda: self._services[service].exit_code,
            start=start,
            ready=lambda: self._answer_of(service, url) == "",
        )

    @staticmethod
    def _watched_server(server: PrivateServer) -> Part:
        return Part(
            name=server.part,
            log=server.log,
            exit_code=lambda: server.exit_code,
            start=server.start,
            ready=lambda: True,  # `start` returns when it is.
        )

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
        postgres = PrivatePostgres(self.folder / "postgres")
        rabbit = PrivateRabbit(self.folder / "rabbitmq")
        self._servers = [
            server for server, named in ((postgres, postgres_url), (rabbit, amqp_url)) if not named
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

    def _set_log_aside(self, service: str) -> None:
        log = self.logs / f"{service}.log"
        if log.exists():
            shutil.move(log, log.with_suffix(".log.1"))

    def _spawn(self, service: str) -> ChildProcess:
        command = [sys.executable, "-m", service]
        log = self.logs / f"{service}.log"
        return ChildProcess(command, self._environments[service], log, cwd=ROOT)

    def _wait_ready(self, service: str) -> None:
        process, log = self._services[service], self.logs / f"{service}.log"
        url = f"http://{HOST}:{self.ports.internal(service)}/readyz"
        ends = time.monotonic() + READY_WITHIN_S
        while (answer := self._answer_of(service, url)) != "":
            if not process.running:
                why = f"it exited during start (exit code {process.exit_code})"
                raise StartFailed(service, why, log=log)
            if time.monotonic() > ends:
                why = f"it was not ready within {READY_WITHIN_S:.0f} s ({answer})"
                raise StartFailed(service, why, log=log)
            time.sleep(_POLL_S)

    def _answer_of(self, service: str, url: str) -> str:
        """Empty when our own process is ready; otherwise what is in the way."""
        for port in (self.ports.internal(service), self.ports.api(service)):
            if not listens(self._services[service].pid, port):
                taken = "" if is_free(HOST, port) else ", another program has it"
                return f"it does not listen on port {port}{taken}"
        return _asked(url)


def choose_ports(asked: Ports) -> Ports:
    """Those that were asked for, or the next that are all free; `StartFailed` if there are none."""
    for further in range(PORT_SETS_TRIED):
        ports = Ports(asked.first + further * PORTS_APART)
        if ports.first > PORT_MAX:
            break
        if _taken(ports) is None:
            return ports
    service, port = _taken(asked) or (GATEWAY, asked.first)
    why = f"port {port} is taken by another program, and the next sets of ports are not free either"
    raise StartFailed(service, why, "Choose another port: make run PORT=<number>")


def _taken(ports: Ports) -> tuple[str, int] | None:
    """The first port of these that is not free, the gateway's before the others."""
    for service in (GATEWAY, *SERVICES):
        for port in (ports.api(service), ports.internal(service)):
            if not is_free(HOST, port):
                return service, port
    return None


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


def _take(folder: Path) -> None:
    """This folder is ours until the process ends; `StartFailed` when it is somebody else's."""
    folder.mkdir(exist_ok=True, parents=True)
    # Root's servers have users of their own, who must be able to pass through.
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs").chmod(0o700)
    for log in (folder / "logs").iterdir():
        log.chmod(0o600)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 100).decode()
        raise StartFailed(
            "make run",
            f"it is already running in this folder ({holder})",
            "Use it, or stop it with Ctrl-C in its terminal.",
        ) from None


def _say_who_runs(folder: Path, ports: Ports) -> None:
    (folder / "lock").write_text(f"process {os.getpid()}, {ports.url(GATEWAY)}")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise Interrupted


def main() -> int:
    """Run until asked to end; 1 when something failed."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local")
    parser.add_argument(
        "--port",
        type=int,
        default=PORT,
        help="port of the gateway; the other services use the next ones",
    )
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="folder for data, keys and logs"
    )
    called = parser.parse_args()
    if not 1 <= called.port <= PORT_MAX:
        say(
            f"make run: PORT must be a number from 1 to {PORT_MAX}, got {called.port}",
            file=sys.stderr,
        )
        return 2
    # Errors are reported once, here, and not by the libraries as well.
    logging.getLogger().addHandler(logging.NullHandler())
    folder, ports = called.folder.absolute(), Ports(called.port)
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for name in ends:
        signal.signal(name, _interrupt)
    code = 0
    system = None
    try:
        say(f"Starting Sigma PIM; its data, keys and logs are in {folder}")
        _take(folder)
        asked, ports = ports, choose_ports(ports)
        if ports != asked and (taken := _taken(asked)) is not None:
            say(f"Port {taken[1]} is taken by another program, so the gateway uses {ports.first}")
        _say_who_runs(folder, ports)
        system = System(folder, ports)
        system.start()
        say(demo.welcome(ports.url(GATEWAY), system.logs, folder / BROKER))
        system.watch()
    except Interrupted:
        say("\nStopping")
    except StartFailed as failure:
        say(f"\n{failure}", file=sys.stderr)
        code = 1
    except OSError as error:
        advice = (
            f"If another user started it before, change the owner of {folder}, or run `make clean`."
        )
        say(f"\nmake run: {error}\n{advice}", file=sys.stderr)
        code = 1
    finally:
        for name in ends:
            signal.signal(name, signal.SIG_IGN)
        if system is not None:
            system.stop()
            if system.started:
                say("Everything has stopped")
    return code
