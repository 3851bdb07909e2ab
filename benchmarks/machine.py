"""Which machine and which versions a figure belongs to."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def described() -> str:
    """A few lines for the head of a report."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "asyncpg", "uvloop"))
    servers = ", ".join(_said(command) for command in (["psql", "--version"], ["uname", "-sr"]))
    return "\n".join(
        (
            f"{os.cpu_count()} cores of {cpu}",
            f"Python {platform.python_version()}, {packages}",
            servers,
        )
    )


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
