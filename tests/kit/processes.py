"""One service as a real process: started, waited for, stopped politely or killed."""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from deploy.local.child_process import ChildProcess
from deploy.local.private_server import free_port
from tests.kit.servers import ROOT

READY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 60.0
"""Of a machine that has much else to do; on a quiet one a start takes two seconds."""
_POLL_S = 0.02
_LOG_SHOWN_LINES = 60


class Process:
    """`python -m <module>` on two ports of its own, with everything it says in one file."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        module: str = "",
        role: str = "all",
        root: Path = ROOT,
    ) -> None:
        """`root`: the tree with the code, this one or one of another version."""
        self.name = name
        self.port = free_port()
        self.internal_port = next(port for port in iter(free_port, 0) if port != self.port)
        self.log = folder / f"{name}.log"
        self._module = module or name
        self._role = role
        self._root = root
        self._env: dict[str, str] = {}
        self._running: ChildProcess | None = None
        self.changed = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def internal_url(self) -> str:
        """Where `/healthz`, `/readyz` and `/metrics` are."""
        return f"http://127.0.0.1:{self.internal_port}"

    @property
    def pid(self) -> int:
        assert self._running is not None, f"{self.name} was not started"
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.running

    def configure(self, env: Mapping[str, str]) -> None:
        """These settings and no others, from the next start on."""
        self._env = {
            **env,
            "SIGMA_PORT": str(self.port),
            "SIGMA_INTERNAL_PORT": str(self.internal_port),
        }
        self.changed = False

    def start(self, *, role: str | None = None, root: Path | None = None, **env: str) -> None:
        """Start it, in another role, from another tree or with more settings; see `wait_ready`."""
        assert not self.alive, f"{self.name} runs already"
        self._env.update(env)
        self.changed = self.changed or bool(env) or role is not None or root is not None
        outside = {
            name: value for name, value in os.environ.items() if not name.startswith("SIGMA_")
        }
        self._running = ChildProcess(
            [sys.executable, "-m", self._module, "--role", role or self._role],
            {**outside, **self._env},
            self.log,
            guard="KILL",
            cwd=root or self._root,
        )

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Return when `/readyz` says so; fail with the end of the log when it does not in time."""
        ends = time.monotonic() + within_s
        while True:
            assert self.alive, f"{self.name} ended on its own\n{self.tail()}"
            if self.ready:
                return
            assert time.monotonic() < ends, f"{self.name} is not ready\n{self.tail()}"
            time.sleep(_POLL_S)

    @property
    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.internal_url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, within_s: float = STOPPED_WITHIN_S) -> int:
        """SIGTERM, and the exit status; one that does not stop is killed and fails the test."""
        if self._running is None:
            return 0
        self.resume()
        status = self._end(signal.SIGTERM, within_s)
        assert status != -signal.SIGKILL, f"{self.name} did not stop\n{self.tail()}"
        return status

    def kill(self) -> None:
        """SIGKILL: what was in its memory is gone."""
        if self._running is not None:
            self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals, within_s: float = STOPPED_WITHIN_S) -> int:
        assert self._running is not None
        self._running.end(how, within_s)
        status = self._running.exit_code
        self._running = None
        return 0 if status is None else status

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self.alive:
            os.kill(self.pid, signal.SIGCONT)

    def tail(self, lines: int = _LOG_SHOWN_LINES) -> str:
        """The end of what it said."""
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return f"--- {self.log}\n" + "\n".join(said[-lines:])
