"""The folder of a `make run`: whose it is, and what is written in it for other programs."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from deploy.local.failure import StartFailed
from deploy.local.settings import write_closed

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / ".run"
BROKER: Final = "broker-url"
"""In the folder: the broker's address with its password, while it is there."""
_RUNNING: Final = "processes.json"
_HOLDER_BYTES_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Running:
    """One process that `make run` has started; `probes` is None for a server."""

    name: str
    service: str
    pid: int | None
    port: int
    probes: int | None
    log: str


def take(folder: Path) -> None:
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
        holder = os.read(lock, _HOLDER_BYTES_MAX).decode()
        raise StartFailed(
            "make run",
            f"it is already running in this folder ({holder})",
            "Use it, or stop it with Ctrl-C in its terminal.",
        ) from None
    # An end by SIGKILL has left it.
    forget_running(folder)


def say_who_runs(folder: Path, url: str) -> None:
    """For whoever finds the folder taken."""
    (folder / "lock").write_text(f"process {os.getpid()}, {url}")


def holder_of(folder: Path) -> str | None:
    """Who has taken the folder, in the words of `say_who_runs`; None when nobody has.

    The kernel is asked, because to try the lock would take it for a moment.
    """
    try:
        inode = (folder / "lock").stat().st_ino
    except FileNotFoundError:
        return None
    locks = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    if any("FLOCK" in words and words[-3].endswith(f":{inode}") for words in locks):
        return (folder / "lock").read_text()
    return None


def write_running(folder: Path, parts: Iterable[Running]) -> None:
    """What runs now; whoever reads it sees all of it or what was before."""
    write_closed(folder / _RUNNING, json.dumps([asdict(part) for part in parts], indent=1))


def read_running(folder: Path) -> list[Running]:
    """What `write_running` wrote; nothing before the first time."""
    try:
        return [Running(**part) for part in json.loads((folder / _RUNNING).read_text())]
    except FileNotFoundError:
        return []


def forget_running(folder: Path) -> None:
    """Nothing runs any more."""
    (folder / _RUNNING).unlink(missing_ok=True)
