"""The programs and files of npm that tests need, as a package-lock.json names them."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from tests.kit.servers import ROOT

CLIENTS = ROOT / "tests" / "clients"
MODULES = CLIENTS / "node_modules"
AZURITE = ROOT / "tests" / "azurite"


async def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What the command prints; the test fails with it when the command does."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env=os.environ | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = (await process.communicate())[0].decode(errors="replace")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise AssertionError(f"{command[0]} ended with {process.returncode}:\n{output}")
    return output


async def install_modules(folder: Path = CLIENTS) -> None:
    """What package-lock.json says is in node_modules afterwards; nothing happens if it is already.

    Skips where that cannot be had, but not in CI.
    """

    def give_up(why: str) -> None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)

    lock_file = folder / "package-lock.json"
    lock = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    mark = folder / "node_modules" / ".holds"
    with (folder / ".installing").open("w") as waiting:
        await asyncio.to_thread(fcntl.flock, waiting, fcntl.LOCK_EX)
        if shutil.which("node") is None:
            give_up("there is no node on this machine (Debian: apt install npm)")
        if mark.exists() and mark.read_text() == lock:
            return
        npm = shutil.which("npm")
        if npm is None:
            give_up("there is no npm on this machine (Debian: apt install npm)")
        try:
            await run(str(npm), "ci", "--prefer-offline", cwd=folder)
        except AssertionError as failure:
            give_up(f"npm cannot install what {lock_file.relative_to(ROOT)} says: {failure}")
        mark.write_text(lock)
