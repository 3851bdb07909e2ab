"""A private server process in a folder of its own, and what is remembered of it."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import pwd
import random
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from deploy.local.child_process import ChildProcess, send
from deploy.local.failure import StartFailed
from deploy.local.listening import is_free

T = TypeVar("T")
READY_WITHIN_S = 90.0
STOPPED_WITHIN_S = 30.0
ANSWER_WITHIN_S = 10.0
POLL_S = 0.05
HOST = "127.0.0.1"
# Below the range from which the kernel takes the local ports of connections: one of those must not
# take the port of a server that is stopped and will be started again.
_PORTS = range(20_000, 32_000)
_given: Final = set[int]()
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
        self._running: ChildProcess | None = None
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
    def exit_code(self) -> int | None:
        """How it ended on its own; None while it runs, and if it was not started."""
        return None if self._running is None else self._running.exit_code

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
            time.sleep(POLL_S)

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

    def _spawn(self, command: list[str], env: Mapping[str, str], *, guard: str) -> ChildProcess:
        return ChildProcess(
            command,
            plain_environment() | dict(env),
            self.folder / "output.log",
            guard=guard,
            **self._as_user(),
        )

    def _wait_until(self, answers: Callable[[], None], within_s: float = READY_WITHIN_S) -> None:
        """Return when `answers` no longer raises; say why when the process ends or time is up."""
        ends = time.monotonic() + within_s
        while True:
            try:
                answers()
            except Exception as error:
                if not self.running:
                    raise StartFailed(self.part, "it exited during start", log=self.log) from error
                if time.monotonic() > ends:
                    why = f"it did not answer within {within_s:.0f} s ({error})"
                    raise StartFailed(self.part, why, log=self.log) from error
                time.sleep(POLL_S)
            else:
                return


def free_port() -> int:
    """A port that nobody listens on now, and that the kernel will not lend to a connection.

    None is given twice while the process lives that has got it, for it may not listen there yet:
    not by this process, and not by another one of the same user.
    """
    for _ in range(1_000):
        port = random.choice(_PORTS)  # noqa: S311  any will do
        if port not in _given and is_free(HOST, port) and _reserve(port):
            _given.add(port)
            return port
    raise StartFailed("Ports", f"no free port from {_PORTS.start} to {_PORTS.stop} was found")


def _reserve(port: int) -> bool:
    """Whether no other process has got it from here; the kernel forgets it with this process."""
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _reservations() -> int:
    # Never closed: with any descriptor of the file, this process would lose its locks.
    path = Path(tempfile.gettempdir()) / f"sigma-ports-{os.getuid()}"
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def listening(port: int, say: bytes = b"") -> None:
    """Raise unless somebody listens there, and answers when something is said."""
    with socket.create_connection((HOST, port), timeout=ANSWER_WITHIN_S) as connection:
        if say:
            connection.sendall(say)
            if not connection.recv(1):
                raise ConnectionError("closed without an answer")


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Await it, whatever loop is running around the caller."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def plain_environment() -> dict[str, str]:
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
