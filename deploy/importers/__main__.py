"""Imports a catalogue into a new workspace of a running `make run`: the command of `make load`.

    .venv/bin/python -m deploy.importers FOLDER [--kind akeneo] [--workspace ws-mine] [...]

This is what an operator and an administrator do by hand elsewhere: create the workspace and its
first user, log in, make an API key. Then the tool for companies runs with that key and all further
options, and the key is deleted again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from deploy.importers import command
from deploy.importers.names import slug
from deploy.importers.source import Source
from deploy.importers.sources import SOURCES, source_of
from deploy.local.databases import ADDRESSES
from deploy.local.folder import FOLDER, ROOT
from deploy.local.settings import with_database, write_closed

RECORD_LIMIT = 5_000
PERMISSIONS = ("read", "update-data", "update-model")
_ADMIN_ROLE = "role-admin"
_USER = "user-move-in"
_EXISTS = 3
_ANSWER_WITHIN_S = 30.0
_ID_LENGTH_MAX = 128
_ADDRESS = re.compile(r"https?://[^\s,]+")
_NOTHING_RUNS = "make run is not running: start it in another terminal, then run this again."


class NotPrepared(Exception):
    """The workspace could not be made ready; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Running:
    """A `make run`: where it is and where it keeps its users."""

    folder: Path
    url: str
    auth_database: str

    @classmethod
    def found_in(cls, folder: Path) -> Running:
        """What runs on this folder, or `NotPrepared`."""
        try:
            addresses = json.loads((folder / ADDRESSES).read_text())
            said = (folder / "lock").read_text()
        except FileNotFoundError:
            raise NotPrepared(_NOTHING_RUNS) from None
        url = _ADDRESS.search(said)
        if url is None:
            raise NotPrepared(_NOTHING_RUNS)
        return cls(folder, url[0], addresses["auth_service"])

    def administer(self, *command: str, stdin: str = "") -> bool:
        """Whether the operator's command made something; False when it was there already."""
        done = subprocess.run(
            [sys.executable, "-m", "auth_service", "admin", *command],
            cwd=ROOT,
            env=with_database(self.auth_database),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, _EXISTS):
            raise NotPrepared(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
        return done.returncode == 0


@dataclass(frozen=True, slots=True)
class Login:
    """The administrator of one workspace."""

    email: str
    password: str

    @classmethod
    def of(cls, running: Running, workspace: str) -> Login:
        """The one that an earlier run made, or a new one whose password only its file knows."""
        file = running.folder / f"login-{workspace}.json"
        if not file.exists():
            login = cls(f"admin@{workspace}.example", secrets.token_urlsafe(12))
            write_closed(file, json.dumps({"email": login.email, "password": login.password}))
        return cls(**json.loads(file.read_text()))


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the move, or 1 when it could not begin."""
    asked, passed_on = _parser().parse_known_args(arguments)
    workspace = asked.workspace or f"ws-{slug(asked.data.resolve().name, _ID_LENGTH_MAX - 3)}"
    try:
        running = Running.found_in(asked.folder.absolute())
        source = _source(asked.data, asked.kind)
        login = _prepare(running, workspace, asked.record_limit)
        print(f"Importing {asked.data} into workspace {workspace} at {running.url}", flush=True)
        return _with_key(source, running, login, ["--data", str(asked.data), *passed_on])
    except NotPrepared as why:
        print(why, file=sys.stderr)
        return 1


def _source(folder: Path, name: str | None) -> Source:
    if not folder.is_dir():
        raise NotPrepared(f"{folder} is not a folder: expected that of a catalogue")
    found = next((one for one in SOURCES if one.name == name), None) or source_of(folder)
    if found is None:
        kinds = ", ".join(f"{one.name} ({one.title.rstrip(',')})" for one in SOURCES)
        raise NotPrepared(f"{folder} looks like none of the kinds that can be imported: {kinds}")
    return found


def _prepare(running: Running, workspace: str, record_limit: int) -> Login:
    limit = str(record_limit)
    made = running.administer(
        "create-workspace", *("--id", workspace, "--name", workspace, "--record-limit", limit)
    )
    if not made:
        running.administer("set-record-limit", "--workspace", workspace, "--limit", limit)
    login = Login.of(running, workspace)
    made = running.administer(
        *("create-user", "--workspace", workspace, "--id", _USER, "--email", login.email),
        *("--name", "Move in", "--role", _ADMIN_ROLE, "--password-stdin"),
        stdin=login.password,
    )
    if not made:
        running.administer(
            *("set-password", "--email", login.email, "--password-stdin"), stdin=login.password
        )
    return login


def _with_key(source: Source, running: Running, login: Login, arguments: list[str]) -> int:
    """Run the tool with a key that lives no longer than it."""
    key = asyncio.run(_make_key(running, login))
    os.environ[command.API_KEY] = key["key"]
    try:
        code = command.main(source, ["--url", running.url, *arguments])
    finally:
        asyncio.run(_delete_key(running, login, key["id"]))
    if code != command.CALLED_WRONGLY:
        print(f"\nSee it at {running.url}/docs: log in with {login.email} / {login.password}")
    return code


async def _make_key(running: Running, login: Login) -> Any:
    async with _logged_in(running, login) as session:
        body = {"name": "make load", "permissions": PERMISSIONS}
        return await _request(session, "POST", "api-keys", body)


async def _delete_key(running: Running, login: Login, key_id: str) -> None:
    async with _logged_in(running, login) as session:
        await _request(session, "DELETE", f"api-keys/{key_id}", None)


@asynccontextmanager
async def _logged_in(running: Running, login: Login) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(f"{running.url}/api/v1/", timeout=timeout) as session:
        credentials = {"email": login.email, "password": login.password}
        answer = await _request(session, "POST", "auth/login", credentials)
        session.headers["Authorization"] = f"Bearer {answer['token']}"
        yield session


async def _request(session: aiohttp.ClientSession, method: str, path: str, body: Any) -> Any:
    try:
        async with session.request(method, path, json=body) as response:
            raw = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotPrepared(f"{method} /api/v1/{path} failed: {error}") from error
    if not response.ok:
        answer = raw.decode(errors="replace")
        raise NotPrepared(f"{method} /api/v1/{path} answered {response.status}: {answer}")
    return json.loads(raw) if raw else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.importers",
        description="Import a catalogue into a running `make run`.",
        epilog="All other options are passed to python -m deploy.importers.KIND; its --help lists"
        " them.",
    )
    parser.add_argument("data", type=Path, help="the folder with the catalogue")
    parser.add_argument(
        "--kind",
        choices=[source.name for source in SOURCES],
        help="of the catalogue (default: the one that its files look like)",
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the running system")
    parser.add_argument("--workspace", metavar="ID", help="default: ws- and the data's folder name")
    parser.add_argument(
        "--record-limit",
        type=int,
        default=RECORD_LIMIT,
        help=f"of the workspace (default {RECORD_LIMIT})",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
