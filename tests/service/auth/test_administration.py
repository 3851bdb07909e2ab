"""The operator's command: what it makes, what it says, how it ends."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import structlog

from auth_service import administration
from auth_service.app import create_app
from auth_service.config import Config
from auth_service.users import commands as users
from auth_service.users.store import AddressTaken
from shared.events import Event
from shared.identity import GATEWAY
from tests.kit.servers import ROOT
from tests.kit.service import RunningService, Services

TOKEN_KEYS = "test=" + "QUFB" * 11 + "QQ=="
PASSWORD = "correct horse"
WORKSPACE = ("create-workspace", "--id", "ws-demo", "--name", "Demo")
USER = (
    "create-user",
    *("--workspace", "ws-demo", "--id", "user-admin", "--email", "admin@sigma.io"),
    *("--name", "Admin User", "--role", "role-admin", "--password-stdin"),
)


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def outcome(self) -> tuple[int, str]:
        """Exit code and what was said, wherever it was said."""
        return self.code, (self.out + self.err).strip()


@dataclass(slots=True)
class Operator:
    """Calls the command with one database in the environment."""

    url: str
    _run: Callable[[tuple[str, ...], str], Done]

    async def __call__(self, *arguments: str, stdin: str = PASSWORD) -> Done:
        return await asyncio.to_thread(self._run, arguments, stdin)

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        conn = await asyncpg.connect(self.url)
        try:
            return list(await conn.fetch(query, *arguments))
        finally:
            await conn.close()

    async def staged(self) -> list[tuple[str, dict[str, Any]]]:
        rows = await self.fetch("SELECT document::text AS news FROM outbox ORDER BY id")
        events = [Event.from_json(row["news"].encode()) for row in rows]
        return [(event.type, dict(event.data)) for event in events]


@pytest.fixture
async def operator(services: Services, monkeypatch, capsys):
    url = await services.database("auth_service")
    for name in list(os.environ):
        if name.startswith("SIGMA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SIGMA_DATABASE_URL", url)

    def run(arguments: tuple[str, ...], stdin: str) -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            code = administration.main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    yield Operator(url, run)
    structlog.reset_defaults()


async def serving(services: Services, operator: Operator) -> RunningService:
    return await services.start(
        create_app, Config, token_keys=TOKEN_KEYS, database_url=operator.url
    )


async def log_in(auth: RunningService, password: str = PASSWORD) -> int:
    body = {"email": "admin@sigma.io", "password": password}
    return (await auth.stranger().post("/auth/login", body)).status


# --- workspaces


async def test_a_workspace_is_made_with_its_role_and_room_for_500_records(operator):
    assert (await operator(*WORKSPACE)).outcome == (
        0,
        "Workspace 'ws-demo' created, with role 'role-admin' and room for 500 records",
    )
    told = await operator.staged()
    assert [kind for kind, _ in told] == ["auth.workspace.created", "auth.role.created"]
    assert told[0][1] == {"workspaceId": "ws-demo", "version": 1, "recordLimit": 500}
    assert (told[1][1]["roleId"], told[1][1]["version"]) == ("role-admin", 1)


async def test_a_workspace_that_exists_is_told_by_exit_code_3_and_left_alone(operator):
    await operator(*WORKSPACE, "--record-limit", "7")
    assert (await operator(*WORKSPACE, "--record-limit", "9")).outcome == (
        3,
        "Workspace with id 'ws-demo' already exists",
    )
    (row,) = await operator.fetch("SELECT record_limit FROM workspaces")
    assert row["record_limit"] == 7
    assert len(await operator.staged()) == 2


async def test_the_record_limit_can_be_changed_and_is_told(operator):
    await operator(*WORKSPACE)
    limit = ("set-record-limit", "--workspace", "ws-demo", "--limit")
    assert (await operator(*limit, "2000")).outcome == (
        0,
        "Workspace 'ws-demo' has room for 2000 records",
    )
    assert (await operator.staged())[-1] == (
        "auth.workspace.updated",
        {"workspaceId": "ws-demo", "version": 2, "recordLimit": 2000},
    )
    missing = await operator("set-record-limit", "--workspace", "ws-none", "--limit", "1")
    assert missing.outcome == (1, "Workspace 'ws-none' not found")


# --- users


async def test_a_user_is_made_and_can_log_in(operator, services):
    await operator(*WORKSPACE)
    assert (await operator(*USER, stdin=PASSWORD + "\n")).outcome == (
        0,
        "User 'user-admin' created in workspace 'ws-demo' with role 'role-admin'",
    )
    assert (await operator.staged())[-1] == (
        "auth.user.created",
        {"userId": "user-admin", "version": 1, "roleId": "role-admin"},
    )
    assert await log_in(await serving(services, operator)) == 200


async def test_what_stands_in_the_way_of_a_user_is_told(operator):
    await operator(*WORKSPACE)
    await operator("create-workspace", "--id", "ws-other", "--name", "Other")
    assert (await operator(*USER)).code == 0
    assert (await operator(*USER)).outcome == (3, "User with id 'user-admin' already exists")

    def user(**changed: str) -> list[str]:
        told = dict(zip(USER[1:-1:2], USER[2:-1:2], strict=True)) | {
            f"--{name}": value for name, value in changed.items()
        }
        return [USER[0], *(word for pair in told.items() for word in pair), USER[-1]]

    # An address is one over all workspaces, however it is spelled; this is no "exists already".
    assert (await operator(*user(workspace="ws-other", email="ADMIN@sigma.io"))).outcome == (
        1,
        "E-mail address 'ADMIN@sigma.io' is taken by another user",
    )
    # Ids are one per workspace.
    assert (await operator(*user(workspace="ws-other", email="b@sigma.io"))).code == 0
    assert (await operator(*user(workspace="ws-none", id="u", email="c@sigma.io"))).outcome == (
        1,
        "Workspace 'ws-none' not found",
    )
    assert (await operator(*user(role="role-none", id="u", email="c@sigma.io"))).outcome == (
        1,
        "Role 'role-none' not found",
    )
    assert (await operator(*user(id="u", email="no address"))).outcome == (
        2,
        "Field 'email' is not an e-mail address: 'no address'",
    )
    assert (await operator(*user(id="u", email="c@sigma.io"), stdin="\n")).outcome == (
        2,
        "Field 'password' is required",
    )
    rows = await operator.fetch("SELECT workspace_id, id FROM users ORDER BY workspace_id")
    assert [tuple(row) for row in rows] == [("ws-demo", "user-admin"), ("ws-other", "user-admin")]
    assert len(await operator.fetch("SELECT FROM addresses")) == 2


async def test_of_two_users_with_one_address_made_at_once_one_is_made(operator, services):
    await operator(*WORKSPACE)
    auth = await serving(services, operator)

    async def create(user_id: str) -> str:
        try:
            await users.create(
                auth.database,
                workspace_id="ws-demo",
                user_id=user_id,
                email="one@sigma.io",
                name="X",
                role_id="role-admin",
                password_hash="",
                quick_login=False,
            )
        except AddressTaken:
            return "taken"
        return "made"

    outcomes = await asyncio.gather(*(create(f"user-{n}") for n in range(6)))
    assert sorted(outcomes) == ["made"] + ["taken"] * 5
    assert len(await operator.fetch("SELECT FROM users")) == 1


async def test_a_user_is_disabled_and_enabled_by_address_or_by_workspace_and_id(operator, services):
    await operator(*WORKSPACE)
    await operator(*USER)
    auth = await serving(services, operator)
    assert (await operator("disable-user", "--email", "Admin@sigma.io")).outcome == (
        0,
        "User 'user-admin' of workspace 'ws-demo' is disabled",
    )
    assert await log_in(auth) == 401
    whom = ("--workspace", "ws-demo", "--id", "user-admin")
    assert (await operator("enable-user", *whom)).outcome == (
        0,
        "User 'user-admin' of workspace 'ws-demo' is enabled",
    )
    assert await log_in(auth) == 200
    assert [kind for kind, _ in (await operator.staged())[-2:]] == [
        "auth.user.disabled",
        "auth.user.updated",
    ]
    assert [data["version"] for _, data in (await operator.staged())[-2:]] == [2, 3]


async def test_a_password_and_a_role_can_be_changed(operator, services):
    await operator(*WORKSPACE)
    await operator(*USER)
    auth = await serving(services, operator)
    whom = ("--workspace", "ws-demo", "--id", "user-admin")
    changed = await operator("set-password", *whom, "--password-stdin", stdin="battery staple")
    assert changed.outcome == (0, "User 'user-admin' of workspace 'ws-demo' has a new password")
    assert await log_in(auth) == 401
    assert await log_in(auth, "battery staple") == 200
    assert (await operator("set-role", *whom, "--role", "role-none")).outcome == (
        1,
        "Role 'role-none' not found",
    )
    await operator.fetch(
        """INSERT INTO roles
           SELECT workspace_id, 'role-editor', 'Editor', NULL, '{}', '[]', '[]', 1, now(), now()
             FROM roles"""
    )
    assert (await operator("set-role", *whom, "--role", "role-editor")).outcome == (
        0,
        "User 'user-admin' of workspace 'ws-demo' has role 'role-editor'",
    )
    assert (await operator.staged())[-1] == (
        "auth.user.updated",
        {"userId": "user-admin", "version": 3, "roleId": "role-editor"},
    )
    question = {"userId": "user-admin", "workspaceId": "ws-demo", "roleId": "role-admin"}
    answer = await auth.as_service(GATEWAY).post("/internal/identities", question)
    assert answer.body["roleId"] == "role-editor"


async def test_workspaces_and_users_are_listed_and_a_user_is_shown(operator):
    await operator(*WORKSPACE, "--record-limit", "7")
    await operator("create-workspace", "--id", "ws-other", "--name", "Other\x1b[2J")
    await operator(*USER)
    somebody = ("--email", "other@sigma.io", "--id", "user-other", "--role", "role-admin")
    done = await operator(
        "create-user", "--workspace", "ws-other", *somebody, "--name", "Other", "--password-stdin"
    )
    assert done.code == 0, done
    await operator("disable-user", "--email", "admin@sigma.io")
    done = await operator("list-workspaces")
    lines = [line.split() for line in done.out.splitlines()]
    assert (done.code, lines[0]) == (0, ["ID", "NAME", "USERS", "RECORD", "LIMIT", "CREATED"])
    assert lines[1][:-1] == ["ws-demo", "Demo", "1", "7"]
    assert lines[2][0] == "ws-other"
    assert "\x1b" not in done.out
    done = await operator("list-users", "--workspace", "ws-demo")
    (_, line) = done.out.splitlines()
    assert line.split()[:-1] == [
        *("user-admin", "admin@sigma.io", "Admin", "User", "role-admin", "disabled")
    ]
    assert (await operator("list-users", "--workspace", "ws-none")).outcome == (
        1,
        "Workspace 'ws-none' not found",
    )
    shown = (await operator("show-user", "--email", "ADMIN@sigma.io")).out
    told = {name: value.strip() for name, value in (at.split(":", 1) for at in shown.splitlines())}
    assert told.pop("created") < told.pop("updated") + "."
    assert told == {
        "workspace": "ws-demo",
        "id": "user-admin",
        "e-mail": "admin@sigma.io",
        "name": "Admin User",
        "role": "role-admin",
        "state": "disabled",
        "quick login": "no",
        "active API keys": "-",
    }


async def test_a_deleted_user_is_out_at_once_and_the_id_is_never_given_again(operator, services):
    await operator(*WORKSPACE)
    await operator(*USER)
    auth = await serving(services, operator)
    body = {"email": "admin@sigma.io", "password": PASSWORD}
    token = (await auth.stranger().post("/auth/login", body)).ok()["token"]
    await operator.fetch(
        """INSERT INTO api_keys
           VALUES ('ws-demo', 'apikey-1', 'Export', '{read}', 'x', true, 1, 'user-admin', now())"""
    )
    done = await operator("delete-user", "--email", "admin@sigma.io")
    assert done.outcome == (
        0,
        "User 'user-admin' of workspace 'ws-demo' is deleted; API keys that stay active: apikey-1",
    )
    assert (await operator.staged())[-1] == (
        "auth.user.deleted",
        {"userId": "user-admin", "version": 2, "roleId": "role-admin"},
    )
    assert await log_in(auth) == 401
    refreshed = await auth.stranger().post("/auth/refresh", {"token": token})
    assert refreshed.status == 401
    question = {"userId": "user-admin", "workspaceId": "ws-demo", "roleId": "role-admin"}
    assert (await auth.as_service(GATEWAY).post("/internal/identities", question)).status == 401
    assert "apikey-1" in (await operator("list-keys", "--workspace", "ws-demo")).out
    # The id stays with the history, also for whoever made it again in the same moment.
    assert (await operator(*USER)).outcome == (
        1,
        "User id 'user-admin' belonged to a deleted user and is not given again",
    )
    assert await operator.fetch("SELECT FROM users") == []
    # The address is free.
    other = [word.replace("user-admin", "user-eva") for word in USER]
    assert (await operator(*other)).code == 0
    assert (await operator("delete-user", "--workspace", "ws-demo", "--id", "user-x")).outcome == (
        1,
        "User 'user-x' not found",
    )


@pytest.mark.parametrize("command", ["set-password", "disable-user", "show-user"])
async def test_a_user_who_is_not_there_is_told(operator, command):
    stdin = ["--password-stdin"] if command == "set-password" else []
    assert (await operator(command, "--email", "x@y.z", *stdin)).outcome == (
        1,
        "No user has the e-mail address 'x@y.z'",
    )
    assert (
        await operator(command, "--workspace", "ws-demo", "--id", "user-x", *stdin)
    ).outcome == (
        1,
        "User 'user-x' not found",
    )


# --- calls that are wrong


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("destroy",),
        ("create-workspace", "--id", "ws-demo"),
        ("create-workspace", "--id", "WS Demo", "--name", "Demo"),
        ("create-workspace", "--id", "ws-demo", "--name", " "),
        ("create-workspace", "--id", "ws-demo", "--name", "Demo", "--record-limit", "-1"),
        ("create-workspace", "--id", "ws-demo", "--name", "Demo", "--record-limit", "many"),
        ("set-record-limit", "--workspace", "ws-demo"),
        ("disable-user",),
        ("disable-user", "--id", "user-x"),
        ("disable-user", "--id", "user-x", "--email", "x@y.z"),
        USER[:-1],
    ],
)
async def test_a_wrong_call_ends_with_2_and_changes_nothing(operator, arguments):
    done = await operator(*arguments)
    assert done.code == 2
    assert done.err
    assert done.out == ""
    assert await operator.fetch("SELECT FROM workspaces") == []


async def test_help_is_no_error(operator):
    done = await operator("create-user", "--help")
    assert done.code == 0
    assert "--password-stdin" in done.out
    listed = (await operator("--help")).out
    for told in (
        "Create a workspace and its administrator role.",
        "Set a workspace's record limit.",
        "Disable a user immediately.",
        "2 usage error",
    ):
        assert told in " ".join(listed.split())


# --- the environment


async def test_without_a_database_the_reason_is_told_in_one_line(operator, monkeypatch):
    monkeypatch.setenv("SIGMA_DATABASE_URL", "postgresql://sigma:secret@127.0.0.1:9/none")
    done = await operator(*WORKSPACE)
    assert done.outcome == (1, "The database does not answer. Check SIGMA_DATABASE_URL.")
    monkeypatch.delenv("SIGMA_DATABASE_URL")
    done = await operator(*WORKSPACE)
    assert done.code == 2
    assert "SIGMA_DATABASE_URL is missing" in done.err
    monkeypatch.setenv("SIGMA_DATABASE_URL", "mysql://sigma:secret@db/none")
    done = await operator(*WORKSPACE)
    assert done.code == 2
    assert "expected an address such as postgresql://" in done.err
    assert "secret" not in done.err


async def test_a_database_without_tables_is_told(operator, database_url, monkeypatch):
    monkeypatch.setenv("SIGMA_DATABASE_URL", database_url)
    assert (await operator(*WORKSPACE)).outcome == (
        1,
        "The database lacks migrations: run python -m shared.database.migrations auth_service",
    )


async def test_the_database_of_another_service_is_told(operator, servers, monkeypatch):
    url = await servers.postgres.new_database("records_service")
    monkeypatch.setenv("SIGMA_DATABASE_URL", url)
    told = (
        "Wrong database: this is not the database of auth_service, but that of records_service:"
        " check SIGMA_DATABASE_URL"
    )
    assert (await operator(*WORKSPACE)).outcome == (1, told)
    await servers.postgres.drop_database(url)


async def test_as_a_process_with_one_setting_it_does_its_work_and_says_no_password(operator):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "auth_service", "admin", *arguments],
            cwd=ROOT,
            env={"SIGMA_DATABASE_URL": operator.url},
            input=PASSWORD,
            capture_output=True,
            text=True,
            check=False,
        )

    done = [await asyncio.to_thread(run, *call) for call in (WORKSPACE, USER, USER)]
    assert [one.returncode for one in done] == [0, 0, 3]
    assert [len((one.stdout + one.stderr).splitlines()) for one in done] == [1, 1, 1]
    assert PASSWORD not in "".join(one.stdout + one.stderr for one in done)
