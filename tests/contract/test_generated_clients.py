"""Clients are generated from the description; they type-check strictly, and work.

`tests/clients` holds what an integrator would write with them: login, create, 409, 400, 412, a role
that is read and written back, transitions.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.description import OPENAPI_FILE
from tests.kit.demo import seed_demo

CLIENTS = Path(__file__).parents[1] / "clients"
MODULES = CLIENTS / "node_modules"
AS_EXPECTED = "everything was as expected"


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


async def install_modules() -> None:
    """What package-lock.json says is in node_modules afterwards; nothing happens if it is already.

    Skips where that cannot be had, but not in CI.
    """

    def give_up(why: str) -> None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)

    lock = hashlib.sha256((CLIENTS / "package-lock.json").read_bytes()).hexdigest()
    mark = MODULES / ".holds"
    with (CLIENTS / ".installing").open("w") as waiting:
        await asyncio.to_thread(fcntl.flock, waiting, fcntl.LOCK_EX)
        if shutil.which("node") is None:
            give_up("there is no node on this machine (Debian: apt install npm)")
        if mark.exists() and mark.read_text() == lock:
            return
        npm = shutil.which("npm")
        if npm is None:
            give_up("there is no npm on this machine (Debian: apt install npm)")
        try:
            await run(str(npm), "ci", "--prefer-offline", cwd=CLIENTS)
        except AssertionError as failure:
            give_up(f"npm cannot install what tests/clients/package-lock.json says: {failure}")
        mark.write_text(lock)


@pytest.fixture
async def arguments(stack) -> AsyncIterator[tuple[str, str, str]]:
    """Address, e-mail address and password of an administrator of a demo workspace."""
    sigma = await stack.workspace()
    await seed_demo(sigma)
    yield stack.url, sigma.email("user-admin"), stack.password


@pytest.mark.slow
async def test_a_python_client(arguments, tmp_path):
    client = tmp_path / "sigma_pim_client"
    generator = Path(sys.executable).with_name("openapi-python-client")
    output = await run(
        *(generator, "generate", "--path", OPENAPI_FILE, "--output-path", client),
        *("--meta", "none", "--config", CLIENTS / "openapi-python-client.yml"),
        "--fail-on-warning",
        cwd=tmp_path,
    )
    assert "warning" not in output.lower()
    script = shutil.copy(CLIENTS / "python_client.py", tmp_path)
    await run(
        *(sys.executable, "-m", "mypy", "--strict", "--config-file="),
        *("--cache-dir", os.devnull, client, script),
        cwd=tmp_path,
    )
    assert AS_EXPECTED in await run(sys.executable, script, *arguments, cwd=tmp_path)


@pytest.mark.slow
async def test_a_typescript_client(arguments, tmp_path):
    await install_modules()
    (tmp_path / "node_modules").symlink_to(MODULES)
    for name in ("typescript_client.ts", "tsconfig.json", "package.json"):
        shutil.copy(CLIENTS / name, tmp_path)
    programs = MODULES / ".bin"
    await run(programs / "openapi-typescript", OPENAPI_FILE, "-o", "sigma.d.ts", cwd=tmp_path)
    await run(programs / "tsc", "--project", ".", cwd=tmp_path)
    output = await run("node", "out/typescript_client.js", *arguments, cwd=tmp_path)
    assert AS_EXPECTED in output
