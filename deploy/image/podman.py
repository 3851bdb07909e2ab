"""Runs podman, with settings for machines on which its defaults fail.

The settings are in a file of their own (`CONTAINERS_CONF`), read only by the commands started here;
the user's configuration is not changed. Where the caller has set `CONTAINERS_CONF`, that is used.
"""

from __future__ import annotations

import functools
import os
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.binaries import ensure_tool
from deploy.local.failure import StartFailed

PART = "podman"
CONF = "CONTAINERS_CONF"
WITHIN_S = 900.0
_LINES_SHOWN = 25
_FILES_ASKED_FOR = 1 << 20
"""The limit of open files that podman gives to a container unless it is told otherwise."""
_PROCESSES_MAX = 32_768
"""podman lowers its own limit to this, so a container cannot get more."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides whether podman's defaults work here."""

    files_max: int
    processes_max: int
    may_raise_limits: bool
    hybrid_cgroups: bool
    systemd: bool

    @classmethod
    def this(cls) -> Machine:
        """The machine on which we run."""
        unified = Path("/sys/fs/cgroup/unified/cgroup.controllers")
        return cls(
            files_max=_hard(resource.RLIMIT_NOFILE),
            processes_max=_hard(resource.RLIMIT_NPROC),
            may_raise_limits=_may_raise_limits(),
            hybrid_cgroups=unified.exists(),
            systemd=Path("/run/systemd/system").exists(),
        )


def settings(machine: Machine) -> str:
    """The text of a containers.conf with what this machine needs; empty when it needs nothing."""
    containers, engine = [], []
    if not machine.may_raise_limits and 0 <= machine.files_max < _FILES_ASKED_FOR:
        processes = min(machine.processes_max, _PROCESSES_MAX)
        limits = [("nofile", machine.files_max)]
        if processes >= 0:
            limits.append(("nproc", processes))
        ulimits = ", ".join(f'"{name}={most}:{most}"' for name, most in limits)
        containers.append(f"default_ulimits = [{ulimits}]")
    if machine.hybrid_cgroups:
        engine.append('runtime = "runc"')  # crun refuses: "cgroups in hybrid mode not supported".
    if not machine.systemd:
        engine += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    text = ""
    for table, lines in (("containers", containers), ("engine", engine)):
        if lines:
            text += "\n".join([f"[{table}]", *lines, ""])
    return text


def podman(*command: str, within_s: float = WITHIN_S, check: bool = True) -> str:
    """What `podman <command>` printed; `StartFailed` with the end of its messages if it failed."""
    done = run(command, within_s=within_s)
    if check and done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-_LINES_SHOWN:]
        lines = "\n".join(f"  | {line}" for line in said)
        raise StartFailed(PART, f"`podman {command[0]} ...` failed ({done.returncode}):\n{lines}")
    return done.stdout.strip()


def built(name: str, folder: Path, *options: str) -> str:
    """Build the Containerfile of the folder under this name; the image's id.

    Nothing is left but the image: no layers of a cache, and not the image that had the name before,
    unless it has another name or a container.
    """
    former = run(["image", "inspect", "--format", "{{.Id}}", name]).stdout.strip()
    podman(
        *("build", "--quiet", "--layers=false", "--no-cache", "--identity-label=false"),
        *(*options, "--file", str(folder / "Containerfile"), "--tag", name, str(folder)),
    )
    made = podman("image", "inspect", "--format", "{{.Id}}", name)
    if former and former != made:
        run(["image", "rm", former])
    return made


def run(
    command: Sequence[str], *, within_s: float = WITHIN_S, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """`podman <command>`, whatever comes of it."""
    return subprocess.run(
        [program(), *command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=within_s,
        env=environment(),
        check=False,
    )


@functools.cache
def program() -> str:
    """Podman's path; the package is installed if it is missing, or `StartFailed` says so."""
    found = ensure_tool("podman")
    if Machine.this().hybrid_cgroups:
        ensure_tool("runc")
    return str(found)


@functools.cache
def environment() -> dict[str, str]:
    """The environment of podman, with the settings that this machine needs."""
    text = settings(Machine.this())
    if CONF in os.environ or not text:
        return dict(os.environ)
    folder = Path(tempfile.gettempdir()) / f"sigma-podman-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise StartFailed(PART, f"{folder} belongs to somebody else", "Remove it, or set TMPDIR.")
    file = folder / "containers.conf"
    file.write_text(text)
    return {**os.environ, CONF: str(file)}


def _hard(limit: int) -> int:
    """-1 (`RLIM_INFINITY`) for none."""
    return resource.getrlimit(limit)[1]


def _may_raise_limits() -> bool:
    """Whether a container may get more open files than we have (the capability SYS_RESOURCE)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return True
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))
    except (ValueError, OSError):
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return True
