"""Private PostgreSQL and RabbitMQ servers, each in its own folder.

    postgres = PrivatePostgres(folder)
    postgres.start()        # returns when a query was answered
    postgres.url            # its administrator's address; the same after `stop` and `start`
    postgres.kill()         # as a power cut would; what was committed is there after `start`

Both listen on 127.0.0.1 only and ask for a password. Root starts them as an unprivileged user. They
end with the process that started them, however that ends: a guard waits for it to be gone.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import aio_pika
import asyncpg

from deploy.local.binaries import ensure_postgres, ensure_rabbit
from deploy.local.child_process import Guarded, send
from deploy.local.failure import StartFailed, last_lines
from deploy.local.listening import is_free

T = TypeVar("T")

READY_WITHIN_S = 90.0
STOPPED_WITHIN_S = 30.0
ANSWER_WITHIN_S = 10.0
_POLL_S = 0.05
_HOST = "127.0.0.1"
# Below the range from which the kernel takes the local ports of connections: one of those must not
# take the port of a server that is stopped and will be started again.
_PORTS = range(20_000, 32_000)
# For a folder that the server's user cannot reach, below a closed home; only root has other users.
_ELSEWHERE = Path("/var/lib/sigma-pim")


class PrivateServer(ABC):
    """One server process, its folder, and what is remembered of it between two starts."""

    part: str
    users: tuple[str, ...]
    stop_signal: signal.Signals

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._user: str | None = None
        self._memory: dict[str, Any] = {}
        self._running: Guarded | None = None
        self._lock: int | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is, with the name and the password of its administrator."""

    @property
    @abstractmethod
    def log(self) -> Path:
        """What the server says."""

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._running is not None and self._running.running

    @property
    def pid(self) -> int | None:
        """Of the server's first process, while it runs."""
        return self._running.pid if self._running is not None and self.running else None

    @property
    def port(self) -> int:
        """Chosen at the first start, and kept while nobody else takes it."""
        return int(self._memory["port"])

    def start(self) -> None:
        """Start it on the data that the folder holds, if any; return when it does its work."""
        if self.running:
            return
        self.kill()  # It may have ended on its own, and left its guard and its port mapper.
        self.settle_in()
        self._take_folder()
        self._end_forgotten()
        self._start()

    def stop(self) -> None:
        """End it in order."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it at once, with nothing written that was not written already."""
        self._end(signal.SIGKILL)

    @abstractmethod
    def _start(self) -> None:
        """Start the process in a folder that is ours; return when it does its work."""

    def _end(self, how: signal.Signals) -> None:
        if self._running is not None:
            self._running.end(how, STOPPED_WITHIN_S)
            self._running = None
            self._remember(pid=None)
        self._leave_folder()

    def settle_in(self) -> None:
        """Find the user and a folder that this user can reach, and read what is remembered."""
        if os.geteuid() == 0:
            self._user = next((user for user in self.users if _exists(user)), None)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._own(self.folder, 0o700)
        if not self._reaches(self.folder):
            _ELSEWHERE.mkdir(exist_ok=True)
            _ELSEWHERE.chmod(0o755)
            reached = _ELSEWHERE / _short(self.folder)
            reached.mkdir(exist_ok=True)
            self._own(reached, 0o700)
            (self.folder / "data-is-in").write_text(f"{reached}\n")
            self.folder = reached
        kept = self.folder / "instance.json"
        self._memory = json.loads(kept.read_text()) if kept.exists() else {}
        if not self._memory:
            self._remember(port=free_port(), password=secrets.token_urlsafe(18))

    def _take_folder(self) -> None:
        """Keep every other process away from this folder while this one lives or until `_end`."""
        if self._lock is None:
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = f"another process already runs in {self.folder}"
            raise StartFailed(self.part, why, "Stop that process first.") from None

    def _leave_folder(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _end_forgotten(self) -> None:
        """End the server that an earlier process left in this folder, if it is still there."""
        pid = self._memory.get("pid")
        if pid is None or not _is_still(pid, str(self.folder)):
            return
        send(pid, self.stop_signal)
        ends = time.monotonic() + STOPPED_WITHIN_S
        while _is_still(pid, str(self.folder)):
            if time.monotonic() > ends:
                send(pid, signal.SIGKILL)
            time.sleep(_POLL_S)

    def _remember(self, **facts: Any) -> None:
        self._memory |= facts
        self._write("instance.json", json.dumps(self._memory, indent=1))

    def _write(self, name: str, text: str) -> Path:
        """One file that only the server's user, and root, can read."""
        path = self.folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        self._own(path, 0o600)
        return path

    def _own(self, path: Path, mode: int) -> None:
        if self._user is not None:
            os.chown(path, *self._user_ids())
        path.chmod(mode)

    def _user_ids(self) -> tuple[int, ...]:
        if self._user is None:
            return ()
        entry = pwd.getpwnam(self._user)
        return entry.pw_uid, entry.pw_gid

    def _reaches(self, folder: Path) -> bool:
        asked = ["test", "-w", str(folder)]
        return subprocess.run(asked, check=False, **self._as_user()).returncode == 0

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {"cwd": "/"}
        uid, gid = self._user_ids()
        return {"cwd": "/", "user": uid, "group": gid, "extra_groups": []}

    def _spawn(self, command: list[str], env: Mapping[str, str], *, guard: str) -> Guarded:
        return Guarded(
            command,
            _plain_environment() | dict(env),
            self.folder / "output.log",
            guard=guard,
            **self._as_user(),
        )

    def _wait_until(self, answers: Callable[[], None]) -> None:
        """Return when `answers` no longer raises; say why when the process ends or time is up."""
        ends = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                answers()
            except Exception as error:
                if not self.running:
                    raise StartFailed(self.part, "it exited during start", log=self.log) from error
                if time.monotonic() > ends:
                    why = f"it did not answer within {READY_WITHIN_S:.0f} s ({error})"
                    raise StartFailed(self.part, why, log=self.log) from error
                time.sleep(_POLL_S)
            else:
                return


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
            f"@{_HOST}:{self.port}/postgres"
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
        if not is_free(_HOST, self.port):
            self._remember(port=free_port())
        settings = {
            "listen_addresses": _HOST,
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
                time.sleep(_POLL_S)
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
            env=_plain_environment(),
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
        _listening(self.port)
        answer_a_query(self.url)


class PrivateRabbit(PrivateServer):
    """One RabbitMQ node with its own name, folders, ports, cookie and port mapper."""

    part = "RabbitMQ"
    users = ("rabbitmq", "nobody")
    stop_signal = signal.SIGTERM
    administrator = "sigma"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port_mapper: Guarded | None = None

    @property
    def url(self) -> str:
        """Of the virtual host that every broker begins with; see `add_vhost`."""
        return self.vhost_url("/")

    def vhost_url(self, name: str) -> str:
        """The address of one virtual host."""
        path = "/" if name == "/" else f"/{name}"
        return f"amqp://{self.administrator}:{self._memory['password']}@{_HOST}:{self.port}{path}"

    @property
    def log(self) -> Path:
        """Of the node, or of what kept it from starting."""
        said = sorted((self.folder / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        return said[-1] if said else self.folder / "output.log"

    def add_vhost(self, name: str) -> str:
        """A virtual host that the administrator may use, new or there already; its address."""
        definitions = {
            "vhosts": [{"name": name}],
            "permissions": [
                {
                    "user": self.administrator,
                    "vhost": name,
                    "configure": ".*",
                    "write": ".*",
                    "read": ".*",
                }
            ],
        }
        file = self._write(f"definitions-{secrets.token_hex(4)}.json", json.dumps(definitions))
        try:
            self.control("import_definitions", str(file))
        finally:
            file.unlink()
        return self.vhost_url(name)

    def control(self, *command: str) -> str:
        """`rabbitmqctl <command>` on this node, and what it printed."""
        done = subprocess.run(
            [str(ensure_rabbit() / "rabbitmqctl"), "--quiet", *command],
            env=_plain_environment() | self._environment(),
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
        if "node" not in self._memory:
            # The name is part of the data; two nodes of one name cannot live on one machine.
            self._remember(node=f"sigma-{secrets.token_hex(4)}@localhost")
        if not is_free(_HOST, self.port):
            self._remember(port=free_port())
        self._remember(between_nodes=free_port(), port_mapper=free_port())
        for name in ("home", "log", "mnesia", "quorum", "schema", "generated", "conf.d"):
            (self.folder / name).mkdir(exist_ok=True)
            self._own(self.folder / name, 0o700)
        self._write("enabled_plugins", "[].\n")
        self._write(
            "rabbitmq.conf",
            f"listeners.tcp.default = {_HOST}:{self.port}\n"
            f"default_user = {self.administrator}\n"
            f"default_pass = {self._memory['password']}\n"
            "default_permissions.configure = .*\n"
            "default_permissions.read = .*\n"
            "default_permissions.write = .*\n"
            "log.console = false\n"
            "raft.wal_max_size_bytes = 67108864\n",
        )
        environment = self._environment()
        if port_mapper := shutil.which("epmd"):
            # Started by us, so that it is ours to end: the one that Erlang starts outlives it.
            self._port_mapper = self._spawn(
                [port_mapper, "-port", environment["ERL_EPMD_PORT"], "-address", _HOST],
                environment,
                guard="TERM",
            )
        self._running = self._spawn([str(programs / "rabbitmq-server")], environment, guard="TERM")
        self._remember(pid=self._running.pid)
        try:
            self._wait_until(self._declare_a_queue)
        except BaseException:
            self.kill()
            raise

    def _end(self, how: signal.Signals) -> None:
        super()._end(how)
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
            "ERL_EPMD_ADDRESS": _HOST,
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
        _listening(self.port, say=b"AMQP\x00\x00\x09\x01")
        declare_a_queue(self.url)


def answer_a_query(url: str) -> None:
    """Return when the server there does its work; raise what kept it from doing so."""

    async def ask() -> None:
        conn = await asyncpg.connect(url, timeout=ANSWER_WITHIN_S)
        try:
            await conn.fetchval("SELECT 1")
        finally:
            await conn.close()

    _run_apart(ask())


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

    _run_apart(declare())


def free_port() -> int:
    """A port that nobody listens on now, and that the kernel will not lend to a connection."""
    for _ in range(1_000):
        port = random.choice(_PORTS)  # noqa: S311  any will do
        if is_free(_HOST, port):
            return port
    raise StartFailed("Ports", f"no free port from {_PORTS.start} to {_PORTS.stop} was found")


def _listening(port: int, say: bytes = b"") -> None:
    """Raise unless somebody listens there, and answers when something is said."""
    with socket.create_connection((_HOST, port), timeout=ANSWER_WITHIN_S) as connection:
        if say:
            connection.sendall(say)
            if not connection.recv(1):
                raise ConnectionError("closed without an answer")


def _run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Await it, whatever loop is running around the caller."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _plain_environment() -> dict[str, str]:
    """What a server is started with: nothing of the caller's settings but where programs are."""
    folders = os.environ.get("PATH", "/usr/bin:/bin")
    return {"PATH": f"{folders}:/usr/sbin:/sbin", "LANG": "C.UTF-8"}


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _short(folder: Path) -> str:
    return f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


def _is_still(pid: int, folder: str) -> bool:
    """Whether this process is there and is one that was started on this folder."""
    process = Path("/proc") / str(pid)
    try:
        return any(
            folder in (process / file).read_text(errors="replace")
            for file in ("cmdline", "environ")
        )
    except OSError:
        return False
