"""Private PostgreSQL and RabbitMQ servers, each in its own folder.

    postgres = PrivatePostgres(folder)
    postgres.start()        # returns when a query was answered
    postgres.url            # its administrator's address; the same after `stop` and `start`
    postgres.kill()         # as a power cut would; what was committed is there after `start`

Both listen on 127.0.0.1 only and ask for a password. Root starts them as an unprivileged user. They
end with the process that started them, however that ends: a guard waits for it to be gone.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import aio_pika
import asyncpg

from deploy.local.binaries import ensure_postgres, ensure_rabbit
from deploy.local.child_process import ChildProcess
from deploy.local.failure import StartFailed, last_lines
from deploy.local.listening import is_free
from deploy.local.private_server import (
    ANSWER_WITHIN_S,
    HOST,
    POLL_S,
    STOPPED_WITHIN_S,
    PrivateServer,
    free_port,
    listening,
    plain_environment,
    run_apart,
)

STARTS_MAX = 3
"""How often a broker is started whose ports were taken before it had them."""


class PrivatePostgres(PrivateServer):
    """PostgreSQL as it comes: every setting that makes a commit durable is on."""

    part = "PostgreSQL"
    users = ("postgres", "nobody")
    stop_signal = signal.SIGINT  # Open connections are closed, the rest is written.
    administrator = "sigma"

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._settings = {"max_connections": "300", **(settings or {})}

    @property
    def url(self) -> str:
        """Of the database `postgres`, which every cluster begins with."""
        return (
            f"postgresql://{self.administrator}:{self._memory['password']}"
            f"@{HOST}:{self.port}/postgres"
        )

    @property
    def log(self) -> Path:
        """Everything since the folder was made."""
        return self.folder / "output.log"

    def _start(self) -> None:
        programs = ensure_postgres()
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            self._make(programs, data)
        if not is_free(HOST, self.port):
            self._remember(port=free_port())
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            **self._settings,
        }
        command = [str(programs / "postgres"), "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        ends = time.monotonic() + STOPPED_WITHIN_S
        while True:
            self._running = self._spawn(command, {}, guard="INT")
            self._remember(pid=self._running.pid)
            try:
                self._wait_until(self._answer_a_query)
            except StartFailed:
                # After a kill the last of its processes may still hold the shared memory.
                self._end(signal.SIGKILL)
                held = any("shared memory block" in line for line in last_lines(self.log))
                if not held or time.monotonic() > ends:
                    raise
                time.sleep(POLL_S)
            else:
                return

    def _make(self, programs: Path, data: Path) -> None:
        """A new cluster. Made under another name first: a folder that has its name is whole."""
        unfinished = data.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [
            *(str(programs / "initdb"), "-D", str(unfinished), "-U", self.administrator),
            *("--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"),
            f"--pwfile={self._write('password', self._memory['password'])}",
        ]
        done = subprocess.run(
            command,
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._as_user(),
        )
        if done.returncode != 0:
            raise StartFailed(self.part, f"initdb failed:\n{done.stdout.strip()}")
        unfinished.rename(data)

    def _answer_a_query(self) -> None:
        listening(self.port)
        answer_a_query(self.url)


class PrivateRabbit(PrivateServer):
    """One RabbitMQ node with its own name, folders, ports, cookie and port mapper."""

    part = "RabbitMQ"
    users = ("rabbitmq", "nobody")
    stop_signal = signal.SIGTERM
    administrator = "sigma"

    def __init__(self, folder: Path, *, also_on: Sequence[str] = ()) -> None:
        """`also_on`: more addresses on which it listens, at the same port."""
        super().__init__(folder)
        self._also_on = also_on
        self._port_mapper: ChildProcess | None = None

    @property
    def url(self) -> str:
        """Of the virtual host that every broker begins with; see `add_vhosts`."""
        return self.vhost_url("/")

    def vhost_url(self, name: str) -> str:
        """The address of one virtual host."""
        path = "/" if name == "/" else f"/{name}"
        return f"amqp://{self.administrator}:{self._memory['password']}@{HOST}:{self.port}{path}"

    @property
    def log(self) -> Path:
        """Of the node, or of what kept it from starting."""
        said = sorted((self.folder / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        return said[-1] if said else self.folder / "output.log"

    def add_vhosts(self, *names: str) -> list[str]:
        """Virtual hosts that the administrator may use, new or there already; their addresses."""
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": name} for name in names],
            "permissions": [
                {"user": self.administrator, "vhost": name, **everything} for name in names
            ],
        }
        file = self._write(f"definitions-{secrets.token_hex(4)}.json", json.dumps(definitions))
        try:
            self.control("import_definitions", str(file))
        finally:
            file.unlink()
        return [self.vhost_url(name) for name in names]

    def control(self, *command: str) -> str:
        """`rabbitmqctl <command>` on this node, and what it printed."""
        done = subprocess.run(
            [str(ensure_rabbit() / "rabbitmqctl"), "--quiet", *command],
            env=plain_environment() | self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._as_user(),
        )
        if done.returncode != 0:
            why = f"rabbitmqctl {command[0]} failed:\n{done.stdout.strip()}"
            raise StartFailed(self.part, why, log=self.log)
        return str(done.stdout)

    def _start(self) -> None:
        programs = ensure_rabbit()
        for left in reversed(range(STARTS_MAX)):
            self._begin(programs)
            try:
                self._wait_until(self._declare_a_queue)
            except StartFailed:
                has_ended = not self.running
                self.kill()
                # Whoever looked for free ports at the same moment may have got one of ours.
                if not (has_ended and left):
                    raise
            except BaseException:
                self.kill()
                raise
            else:
                return

    def _begin(self, programs: Path) -> None:
        """Start the node, at ports that are free at the moment."""
        self._take_place()
        for name in ("home", "log", "mnesia", "quorum", "schema", "generated", "conf.d"):
            (self.folder / name).mkdir(exist_ok=True)
            self._own(self.folder / name, 0o700)
        self._write("enabled_plugins", "[].\n")
        self._write("rabbitmq.conf", self._configuration())
        environment = self._environment()
        self._map_ports(environment)
        self._running = self._spawn([str(programs / "rabbitmq-server")], environment, guard="TERM")
        self._remember(pid=self._running.pid)

    def _take_place(self) -> None:
        """Its name, and ports that are free at the moment."""
        if "node" not in self._memory:
            # The name is part of the data; two nodes of one name cannot live on one machine.
            self._remember(node=f"sigma-{secrets.token_hex(4)}@localhost")
        if not is_free(HOST, self.port):
            self._remember(port=free_port())
        self._remember(between_nodes=free_port(), port_mapper=free_port())

    def _configuration(self) -> str:
        """What `rabbitmq.conf` says."""
        listeners = {"default": HOST} | {f"also_{n}": at for n, at in enumerate(self._also_on)}
        return (
            "".join(f"listeners.tcp.{name} = {at}:{self.port}\n" for name, at in listeners.items())
            + f"default_user = {self.administrator}\n"
            f"default_pass = {self._memory['password']}\n"
            "default_permissions.configure = .*\n"
            "default_permissions.read = .*\n"
            "default_permissions.write = .*\n"
            "log.console = false\n"
            "raft.wal_max_size_bytes = 67108864\n"
        )

    def _map_ports(self, environment: Mapping[str, str]) -> None:
        """Start the port mapper.

        By us, so that it is ours to end: the one that Erlang starts outlives it.
        """
        if port_mapper := shutil.which("epmd"):
            self._port_mapper = self._spawn(
                [port_mapper, "-port", environment["ERL_EPMD_PORT"], "-address", HOST],
                environment,
                guard="TERM",
            )

    def _end(self, how: signal.Signals) -> None:
        super()._end(how)
        self._unmap_ports()

    def _unmap_ports(self) -> None:
        if self._port_mapper is not None:
            self._port_mapper.end(signal.SIGTERM, STOPPED_WITHIN_S)
            self._port_mapper = None
        elif "port_mapper" in self._memory and (epmd := shutil.which("epmd")):
            command = [epmd, "-port", str(self._memory["port_mapper"]), "-kill"]
            subprocess.run(command, check=False, capture_output=True)

    def _environment(self) -> dict[str, str]:
        """Everything that two nodes on one machine would otherwise share."""
        at = self.folder
        only_here = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "HOME": str(at / "home"),
            # The start script becomes the node, instead of staying between it and our signals.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._memory["port_mapper"]),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(at / "advanced.config"),
            "RABBITMQ_CONFIG_FILE": str(at / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(at / "conf.d"),
            "RABBITMQ_CONF_ENV_FILE": str(at / "rabbitmq-env.conf"),
            "RABBITMQ_CTL_ERL_ARGS": only_here,
            "RABBITMQ_DIST_PORT": str(self._memory["between_nodes"]),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(at / "enabled_plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(at / "feature_flags"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(at / "generated"),
            "RABBITMQ_LOG_BASE": str(at / "log"),
            "RABBITMQ_MNESIA_BASE": str(at / "mnesia"),
            "RABBITMQ_NODENAME": str(self._memory["node"]),
            "RABBITMQ_PID_FILE": str(at / "pid"),
            "RABBITMQ_QUORUM_DIR": str(at / "quorum"),
            "RABBITMQ_SCHEMA_DIR": str(at / "schema"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": only_here,
        }

    def _declare_a_queue(self) -> None:
        listening(self.port, say=b"AMQP\x00\x00\x09\x01")
        declare_a_queue(self.url)


def answer_a_query(url: str) -> None:
    """Return when the server there does its work; raise what kept it from doing so."""

    async def ask() -> None:
        conn = await asyncpg.connect(url, timeout=ANSWER_WITHIN_S)
        try:
            await conn.fetchval("SELECT 1")
        finally:
            await conn.close()

    run_apart(ask())


def declare_a_queue(url: str) -> None:
    """As `answer_a_query`. A broker's port opens before queues can be used, so one is made."""

    async def declare() -> None:
        connection = await aio_pika.connect(url, timeout=ANSWER_WITHIN_S)
        async with connection, connection.channel() as channel:
            queue = await channel.declare_queue(
                f"sigma.ready.{secrets.token_hex(4)}",
                durable=True,
                arguments={"x-queue-type": "quorum"},
                timeout=ANSWER_WITHIN_S,
            )
            await queue.delete(if_unused=False, if_empty=False, timeout=ANSWER_WITHIN_S)

    run_apart(declare())
