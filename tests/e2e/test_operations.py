"""The commands of docs/operations.md, run as they stand there on two empty servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from deploy.local.listening import is_free
from deploy.local.settings import DATABASES, Ports
from deploy.local.system import choose_ports
from shared.messaging.topology import QUEUES
from tests.kit.pages import block, commands
from tests.kit.servers import ROOT, Servers

SERVICES = ("auth", "records", "workflow")


async def forget(admin_url: str) -> None:
    """Take away what the script made on a server that other tests use."""
    conn = await asyncpg.connect(admin_url)
    try:
        for service in SERVICES:
            await conn.execute(f"DROP DATABASE IF EXISTS sigma_{service} WITH (FORCE)")
            await conn.execute(f"DROP ROLE IF EXISTS sigma_{service}")
    finally:
        await conn.close()


@dataclass(frozen=True)
class Shell:
    """Where an operator types."""

    environment: Mapping[str, str]

    async def __call__(
        self, script: str, stdin: str = "", **other: str
    ) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            ["sh", "-c", script],
            cwd=ROOT,
            env={**self.environment, **other},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    async def does(self, script: str, stdin: str = "") -> str:
        """What it prints; the test fails when it does."""
        done = await self(script, stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
async def shell(own_servers: Servers, tmp_path: Path) -> AsyncIterator[Shell]:
    postgres, rabbit = own_servers.postgres.private, own_servers.rabbit.private
    assert postgres is not None
    assert rabbit is not None
    yield Shell(
        {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "POSTGRES": f"127.0.0.1:{postgres.port}",
            "POSTGRES_ADMIN_URL": postgres.url,
            "RABBITMQ": f"127.0.0.1:{rabbit.port}",
            "RABBITMQCTL": str(own_servers.rabbit.control_command(tmp_path)),
            "CONFIG": str(tmp_path / "config"),
            "BACKUP": str(tmp_path / "backup"),
            "LOGS": str(tmp_path / "logs"),
            "PORT": str(choose_ports(Ports(18_080)).first),
            "PYTHON": sys.executable,
            "SIGMA_DRAIN_SECONDS": "0",
        }
    )
    await forget(postgres.url)


async def test_from_two_empty_servers_to_the_first_record_and_back_from_a_backup(
    shell: Shell, own_servers: Servers, tmp_path: Path
):
    await nothing_is_made_with_a_wrong_login(shell, tmp_path)
    await it_installs(shell, tmp_path)
    await it_upgrades(shell)
    await it_administers(shell)
    await it_restores(shell)


async def nothing_is_made_with_a_wrong_login(shell: Shell, tmp_path: Path) -> None:
    """Each login that is refused leaves nothing that would stop the installation after it."""
    admin = urlsplit(shell.environment["POSTGRES_ADMIN_URL"])
    stranger = urlunsplit(admin._replace(netloc=f"nobody:wrong@127.0.0.1:{admin.port}"))
    for wrong in ({"POSTGRES_ADMIN_URL": stranger}, {"RABBITMQCTL": "false"}):
        refused = await shell(block("install"), **wrong)
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert next(iter(wrong)) in refused.stderr
        assert refused.stderr.endswith("Nothing was changed.\n")
        assert not (tmp_path / "config").exists()


async def it_installs(shell: Shell, tmp_path: Path) -> None:
    done = await shell(block("install"))
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
    first = int(shell.environment["PORT"])
    assert all(is_free("127.0.0.1", first + each) for each in range(4))
    for file in (tmp_path / "config").iterdir():
        assert file.stat().st_mode & 0o077 == 0


async def it_upgrades(shell: Shell) -> None:
    """Migrations that are there already change nothing; a failure ends the loop."""
    said = await shell.does(commands("settings", "migrate"))
    assert [line.partition(":")[0] for line in said.splitlines()] == list(DATABASES)
    assert said.count("nothing to do") == len(DATABASES)
    oldest = (await shell.does(commands("oldest-code"))).splitlines()
    assert oldest == ["none"] or all("oldest_code = " in line for line in oldest)


async def it_administers(shell: Shell) -> None:
    settings = commands("settings")
    named = await shell.does(
        f"{settings}\nwith_settings_of auth_service printenv SIGMA_DATABASE_URL SIGMA_AMQP_URL"
    )
    database_url, amqp_url = named.split()
    with_urls = f"export SIGMA_DATABASE_URL={database_url} SIGMA_AMQP_URL={amqp_url}\n"
    # The installation has made this workspace and this user.
    script = block("administer").replace("ws-acme", "ws-other").replace("ann", "bob")
    said = await shell.does(f"set -eu\n{with_urls}{script}", "correct horse battery staple")
    assert "Workspace 'ws-other' created" in said
    assert "User 'user-bob' created" in said
    assert said.count("bob@acme.example") >= 2
    # No queue is missing there, and no command fails on an empty one.
    said = await shell.does(with_urls + commands("dead-letters"))
    assert [line.split()[0] for line in said.splitlines()] == ["0", "0", "0"]
    of_records = (
        "export SIGMA_DATABASE_URL=$(with_settings_of records_service printenv SIGMA_DATABASE_URL)"
    )
    told = block("telling-again").replace("schema-product", "schema-none")
    said = await shell.does(f"set -eu\n{settings}\n{with_urls}{of_records}\n{told}")
    assert said.splitlines()[-1] == "0 told"


async def it_restores(shell: Shell) -> None:
    settings, admin = (
        commands("settings"),
        "with_settings_of auth_service python -m auth_service admin",
    )
    listed = f"{settings}\n{admin} list-workspaces"
    await shell.does(commands("settings", "back-up"))
    before = await shell.does(listed)
    later = "create-workspace --id ws-later --name Later --record-limit 1"
    await shell.does(f"{settings}\n{admin} {later}")
    assert await shell.does(listed) != before
    await shell.does(commands("settings", "restore", "delete-queues", "migrate"))
    assert await shell.does(listed) == before
    assert {queue.name for queue in QUEUES} == set(
        re.findall(r"^for queue in (.*); do$", block("delete-queues"), re.MULTILINE)[0].split()
    )
    unasked = await shell("\n".join([part("", "# Both servers"), part("# Become", "# 4."), READY]))
    assert "python -m shared.database.restored records_service" in unasked.stdout
    said = await shell.does(commands("settings", "restored"))
    assert said.count("begins at") == len(DATABASES)
    assert "list-keys" in said
    # The whole runs on it; the steps that start it and log in are those of the installation.
    served = await shell.does(
        "\n".join(
            [
                part("", "# Both servers"),
                part("# Become", "# 4."),
                part("# 5.", "# 6."),
                part("# 7.", "post /attributes"),
                'curl --silent --fail "$api/records" -H "Authorization: Bearer $token"; echo',
                part("# 8.", ""),
            ]
        )
    )
    (record,) = json.loads(served.splitlines()[-2])["items"]
    assert record["values"] == {"name": [{"scope": {}, "value": "Harbour Cap"}]}
    # A backup of today: nothing of it is older than the feed.
    said = await shell.does(commands("settings", "tell-again"))
    # Its attribute and its schema, for each of the two queues.
    assert said.count("2 told\n") >= 2


READY = """
as records_service records_service >"$LOGS/unasked.log" 2>&1 &
for _ in $(seq 1 100); do
    curl --silent "http://127.0.0.1:$((RECORDS + INTERNAL))/readyz" | grep restored && break
    sleep 0.2
done
kill $!
wait $! || true
"""
"""A process on a database that nobody has told of, and what it says."""


def part(start: str, end: str) -> str:
    """Of the installation script, from this comment to before that."""
    script = block("install")
    assert start in script
    assert end in script
    return script[script.index(start) : script.index(end) if end else None]
