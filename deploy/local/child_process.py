"""A child process that ends when its parent process ends, in whatever way."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


class ChildProcess:
    """One child in a session of its own: Ctrl-C reaches whoever started it, not the child.

    A second, tiny process reads from a pipe whose other end only we hold. When we are gone, even by
    SIGKILL, its reading ends and it sends `guard` (the name of a signal) to the child.
    """

    def __init__(
        self,
        command: list[str],
        env: Mapping[str, str],
        output: Path,
        *,
        guard: str = "TERM",
        **more: Any,
    ) -> None:
        # For its owner only: what a program says may hold more than it should.
        with open(output, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as said:
            self._child = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **more,
            )
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read -r _; kill -s "$1" "$2"', "guard", guard, str(self._child.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child is there."""
        return self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._child.poll()

    def ask_to_end(self) -> None:
        """Send SIGTERM and do not wait."""
        if self.running:
            send(self.pid, signal.SIGTERM)

    def end(self, how: signal.Signals, within_s: float) -> None:
        """Send the signal and wait; kill it when it takes longer than this."""
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        if self.running:
            send(self.pid, how)
        try:
            self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            send(self.pid, signal.SIGKILL)
            self._child.wait()


def send(pid: int, how: signal.Signals) -> None:
    """To the first process of a session; a deadly signal to all that it has started as well."""
    with suppress(ProcessLookupError):
        if how is signal.SIGKILL:
            os.killpg(pid, how)
        else:
            os.kill(pid, how)
