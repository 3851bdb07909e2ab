"""The installation script of docs/operations.md, run as it stands there on two empty servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from deploy.local.listening import is_free
from deploy.local.settings import Ports
from deploy.local.system import choose_ports
from tests.kit.servers import ROOT, Servers

PAGE = ROOT / "docs" / "operations.md"
SERVICES = ("auth", "records", "workflow")


def script() -> str:
    found = re.search(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


async def forget(admin_url: str) -> None:
    """Take away what the script made on a server that other tests use."""
    conn = await asyncpg.connect(admin_url)
    try:
        for service in SERVICES:
            await conn.execute(f"DROP DATABASE IF EXISTS sigma_{service} WITH (FORCE)")
            await conn.execute(f"DROP ROLE IF EXISTS sigma_{service}")
    finally:
        await conn.close()


async def test_from_two_empty_servers_to_the_first_record(own_servers: Servers, tmp_path: Path):
    postgres, rabbit = own_servers.postgres.private, own_servers.rabbit.private
    assert postgres is not None
    assert rabbit is not None
    ports = choose_ports(Ports(18_080))
    control = own_servers.rabbit.control_command(tmp_path)
    environment = {
        "PATH": os.environ["PATH"],
        "POSTGRES": f"127.0.0.1:{postgres.port}",
        "POSTGRES_ADMIN_URL": postgres.url,
        "RABBITMQ": f"127.0.0.1:{rabbit.port}",
        "RABBITMQCTL": str(control),
        "CONFIG": str(tmp_path / "config"),
        "LOGS": str(tmp_path / "logs"),
        "PORT": str(ports.first),
        "PYTHON": sys.executable,
        "SIGMA_DRAIN_SECONDS": "0",
    }

    async def installed(**other: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            ["sh", "-c", script()],
            cwd=ROOT,
            env={**environment, **other},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    # Each login that is refused leaves nothing that would stop the installation after it.
    stranger = urlunsplit(
        urlsplit(postgres.url)._replace(netloc=f"nobody:wrong@127.0.0.1:{postgres.port}")
    )
    for wrong in ({"POSTGRES_ADMIN_URL": stranger}, {"RABBITMQCTL": "false"}):
        refused = await installed(**wrong)
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert next(iter(wrong)) in refused.stderr
        assert refused.stderr.endswith("Nothing was changed.\n")
        assert not (tmp_path / "config").exists()
    try:
        done = await installed()
    finally:
        await forget(postgres.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    *_, record, last = done.stdout.splitlines()
    assert last.startswith("Installed: ")
    assert json.loads(record)["values"] == {"name": [{"scope": {}, "value": "Harbour Cap"}]}
    logs = {path.stem: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert set(logs) == {"gateway", "auth_service", "records_service", "workflow_service"}
    for said in logs.values():
        events = [json.loads(line) for line in said.splitlines()]
        assert "stopped" in [event["event"] for event in events]
        assert not [event for event in events if event["level"] == "error"]
    assert all(is_free("127.0.0.1", ports.first + each) for each in range(4))
    for file in (tmp_path / "config").iterdir():
        assert file.stat().st_mode & 0o077 == 0
