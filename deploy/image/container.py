"""A container of the image, as closed as a pod of deploy/kubernetes: read-only, without rights."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from deploy.image.podman import environment as settings_of_podman
from deploy.image.podman import podman, run
from deploy.image.podman import program as path_of_podman
from deploy.local.failure import StartFailed

CLOSED = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all"),
    *("--security-opt=no-new-privileges", "--user=10001:10001", "--pull=never"),
)
_POLL_S = 0.0002
_APPEARS_WITHIN_S = 20.0


class Container:
    """Made with `create`; removed at the end of its `with` block, whatever happened."""

    def __init__(self, name: str, pid_file: Path) -> None:
        self.name = name
        self._pid_file = pid_file

    @classmethod
    def create(
        cls,
        image: str,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        network: str = "none",
    ) -> Self:
        """A container that has not started. `folder` is for a small file, and belongs to us."""
        name = f"sigma-check-{secrets.token_hex(4)}"
        made = cls(name, folder / f"{name}.pid")
        with _environment_file(environment or {}) as file:
            podman(
                *("create", "--name", name, "--network", network, *CLOSED),
                *("--env-file", str(file), "--pidfile", str(made._pid_file), image, *arguments),
            )
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        run(["rm", "--force", "--time", "0", self.name])

    def start(self) -> None:
        """Return when the process runs."""
        podman("start", self.name)

    def start_and_signal(self, after_s: float, init: str) -> None:
        """Start it, and send SIGTERM so long after its init has begun to hold signals back.

        Needs the right to signal it past podman, which takes longer than what is to be tried.
        """
        starting = subprocess.Popen(
            [path_of_podman(), "start", self.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=settings_of_podman(),
        )
        pid = self._init_at_work(init)
        time.sleep(after_s)
        os.kill(pid, signal.SIGTERM)
        starting.communicate()

    def ask_to_end(self) -> None:
        """Send SIGTERM, as Kubernetes does."""
        podman("kill", "--signal", "TERM", self.name)

    def wait(self, within_s: float) -> int | None:
        """The exit code; None if it still runs after this time."""
        try:
            return int(podman("wait", self.name, within_s=within_s))
        except subprocess.TimeoutExpired:
            return None

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return podman("inspect", "--format", "{{.State.Running}}", self.name) == "true"

    @property
    def output(self) -> str:
        """All that it said, on both streams."""
        done = run(["logs", self.name])
        return done.stdout + done.stderr

    def _init_at_work(self, init: str) -> int:
        """The process's id on this machine, once the kernel no longer drops SIGTERM to it."""
        ends = time.monotonic() + _APPEARS_WITHIN_S
        while time.monotonic() < ends:
            try:
                pid = int(self._pid_file.read_text())
                status = Path(f"/proc/{pid}/status").read_text()
            except (OSError, ValueError):
                continue
            named = f"Name:\t{init}\n" in status
            blocked, caught = (
                int(status.partition(f"{kind}:")[2].split()[0], 16) for kind in ("SigBlk", "SigCgt")
            )
            # An init that waits for signals shows them as neither; by then it has a child.
            children = Path(f"/proc/{pid}/task/{pid}/children")
            started = children.exists() and bool(children.read_text())
            if named and (started or (blocked | caught) >> (signal.SIGTERM - 1) & 1):
                return pid
            time.sleep(_POLL_S)
        raise StartFailed("Container", f"{init} holds no signals back as process 1: {self.output}")


def once(
    image: str,
    *arguments: str,
    entry_point: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    network: str = "none",
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a container to its end; `entry_point` is there instead of the image's."""
    instead = ["--entrypoint", entry_point[0]] if entry_point else []
    with _environment_file(environment or {}) as file:
        return run(
            [
                *("run", "--rm", "--interactive", "--network", network, *CLOSED),
                *("--env-file", str(file), *instead, image, *entry_point[1:], *arguments),
            ],
            stdin=stdin,
        )


@contextmanager
def _environment_file(environment: Mapping[str, str]) -> Iterator[Path]:
    """Secrets are no arguments: those are visible to everybody on the machine."""
    with tempfile.NamedTemporaryFile("w", prefix="sigma-environment-") as file:
        file.writelines(f"{name}={value}\n" for name, value in environment.items())
        file.flush()
        yield Path(file.name)
