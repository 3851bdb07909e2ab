"""Clients are generated from the description; they type-check strictly, and work.

`tests/clients` holds what an integrator would write with them: login, create, 409, 400, 412, a role
that is read and written back, transitions.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.description import OPENAPI_FILE
from tests.kit.demo import seed_demo
from tests.kit.npm_modules import CLIENTS, MODULES, install_modules, run

AS_EXPECTED = "everything was as expected"


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
