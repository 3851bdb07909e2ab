"""Finds the programs of PostgreSQL and RabbitMQ, or installs their Debian packages.

    python -m deploy.local.binaries [tool ...]

makes sure of both, and of further programs by the names of their packages, or as `program=package`:
`make test` and `make bench` begin with it.

A server that the environment names (`SIGMA_POSTGRES_URL`, `SIGMA_AMQP_URL`) needs no programs here.
`SIGMA_PROGRAMS` names a folder with the programs of both, which are used instead of all others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.failure import StartFailed

POSTGRES_URL = "SIGMA_POSTGRES_URL"
AMQP_URL = "SIGMA_AMQP_URL"
PROGRAMS = "SIGMA_PROGRAMS"

POSTGRES_MAJOR_MIN = 15
_POSTGRES_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
_RABBIT_FOLDERS = ("/usr/lib/rabbitmq/bin", "/usr/lib/rabbitmq/lib/*/sbin", "/opt/rabbitmq*/sbin")
_OF_SERVERS = "/usr/sbin:/usr/local/sbin"
"""Not everybody's PATH has these."""
_POLICY = Path("/usr/sbin/policy-rc.d")
_SYSTEMD = Path("/run/systemd/system")


def find_postgres() -> Path | None:
    """The folder with `postgres` and `initdb` of the newest version that is new enough."""
    usable = {
        folder: major
        for folder in _folders("postgres", _POSTGRES_FOLDERS)
        if (folder / "initdb").exists() and (major := _major(folder)) >= POSTGRES_MAJOR_MIN
    }
    return max(usable, key=lambda folder: usable[folder], default=None)


def find_rabbit() -> Path | None:
    """The folder with the `rabbitmq-server` that keeps its environment.

    Debian's `/usr/sbin/rabbitmq-server` drops it; what stands beside it tells the two apart.
    """
    for folder in _folders("rabbitmq-server", _RABBIT_FOLDERS):
        if (folder / "rabbitmq-server").exists() and (folder / "rabbitmq-env").exists():
            return folder
    return None


def check_installable(wanted: dict[str, Callable[[], Path | None]]) -> None:
    """`StartFailed` with one line for all packages that are missing and cannot be installed here.

    `wanted` has the finder of each package's program.
    """
    missing = [package for package, find in wanted.items() if find() is None]
    if missing and (shutil.which("apt-get") is None or _as_root() is None):
        names = ", ".join(missing)
        why = f"not installed: {names}; installing needs root, or sudo without a password"
        raise StartFailed("Packages", why, f"Run: sudo apt install {' '.join(missing)}")


def ensure_postgres() -> Path:
    """As `find_postgres`; installs it when it is missing, or says what to install."""
    return find_postgres() or _installed("PostgreSQL", "postgresql", POSTGRES_URL, find_postgres)


def ensure_rabbit() -> Path:
    """As `find_rabbit`; installs it when it is missing, or says what to install."""
    return find_rabbit() or _installed("RabbitMQ", "rabbitmq-server", AMQP_URL, find_rabbit)


def ensure_tool(name: str, package: str = "") -> Path:
    """A program such as `wrk`; `package` is that of the program, if its name is another one.

    A service that the package brings besides is not started, now or at the next boot.
    """

    def find() -> Path | None:
        found = shutil.which(name) or shutil.which(name, path=_OF_SERVERS)
        return Path(found) if found else None

    return find() or _installed(name, package or name, "", find)


def _folders(program: str, patterns: tuple[str, ...]) -> list[Path]:
    """Where a server's programs may be."""
    if chosen := os.environ.get(PROGRAMS):
        return [Path(chosen)]
    found = [found for pattern in patterns for found in sorted(Path("/").glob(pattern[1:]))]
    on_path = shutil.which(program)
    return [*found, Path(on_path).resolve().parent] if on_path else found


def _major(folder: Path) -> int:
    try:
        said = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    version = re.search(r"\d+", said)
    return int(version.group()) if version else 0


def _installed(part: str, package: str, variable: str, find: Callable[[], Path | None]) -> Path:
    apt_get, as_root = shutil.which("apt-get"), _as_root()
    instead = f", or name a running server in {variable}" if variable else ""
    advice = f"Install the package {package}{instead}, then start again."
    if apt_get is None:
        raise StartFailed(part, "it is not installed, and this machine has no apt-get", advice)
    if as_root is None:
        why = "it is not installed, and installing it needs root or sudo without a password"
        raise StartFailed(part, why, advice)
    print(f"{part} is not installed: apt-get install {package} (a minute or two)", flush=True)
    with _services_left_stopped(as_root):
        asked = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", apt_get, "-q", "-y"]
        asked += ["-o", "DPkg::Lock::Timeout=300"]
        _apt(part, advice, *asked, "update")
        # What goes with a tool is left out: for npm that is a whole compiler.
        alone = [] if variable else ["--no-install-recommends"]
        _apt(part, advice, *asked, "install", *alone, package)
    folder = find()
    if folder is None:
        why = f"the package {package} of this system has no version that is new enough"
        raise StartFailed(part, why, advice)
    if _SYSTEMD.exists():
        # Installed for private instances and tools: the packages' own services need not come up at
        # every boot. Most tools have none, and then nothing is to be disabled.
        unit = package if package != "postgresql" else "postgresql.service"
        subprocess.run([*as_root, "systemctl", "disable", unit], check=False, capture_output=True)
    return folder


def _apt(part: str, advice: str, *command: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join(f"  | {line}" for line in done.stdout.splitlines()[-15:])
        raise StartFailed(part, f"`{' '.join(command)}` failed:\n{last}", advice)


def _as_root() -> list[str] | None:
    """What a command starts with to be run by root; None when that takes a password."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True)
    return ["sudo", "-n"] if asked.returncode == 0 else None


@contextmanager
def _services_left_stopped(as_root: list[str]) -> Iterator[None]:
    """Debian's packages start a service when they are installed; nobody asked for that one.

    The policy file is Debian's way to say so. One that is there already stays as it is.
    """
    if _POLICY.exists():
        yield
        return
    script = f"printf '#!/bin/sh\\nexit 101\\n' > {_POLICY} && chmod 755 {_POLICY}"
    subprocess.run([*as_root, "sh", "-c", script], check=True)
    try:
        yield
    finally:
        subprocess.run([*as_root, "rm", "-f", str(_POLICY)], check=True)


def main() -> int:
    """Make sure of both servers' programs, and of the tools that are named."""
    try:
        if not os.environ.get(POSTGRES_URL):
            ensure_postgres()
        if not os.environ.get(AMQP_URL):
            ensure_rabbit()
        for tool in sys.argv[1:]:
            program, _, package = tool.partition("=")
            ensure_tool(program, package)
    except StartFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
