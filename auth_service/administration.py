"""The operator's command line tool: `python -m auth_service admin <command> ...`.

Workspaces and users have no HTTP endpoints. The command needs `SIGMA_DATABASE_URL` and nothing
else: no broker, no running service. The gateways hear of its changes through the outbox, by
the service as soon as it runs.

Exit codes: 0 done; 1 it could not be done, and the message says why; 2 usage error; 3 it exists
already. Passwords come from standard input or are asked for, never from the command line,
where others could read them; none is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog

from auth_service.api_keys import store as keys
from auth_service.sessions.passwords import check_password, hashed
from auth_service.users import commands as users
from auth_service.users import store
from auth_service.users.addresses import normalised
from auth_service.workspaces import commands as workspaces
from auth_service.workspaces import store as workspace_store
from auth_service.workspaces.model import RECORD_LIMIT_DEFAULT, RECORD_LIMIT_MAX
from shared.database import Database
from shared.database.schema_version import applied_in, wrong_owner
from shared.errors import ApiError, Conflict, NotFound, ServiceUnavailable, ValidationError, counted
from shared.ids import is_id
from shared.process.config import ConfigError, DatabaseUrl, Settings, load

DONE: Final = 0
FAILED: Final = 1
USAGE_ERROR: Final = 2
EXISTS: Final = 3

SERVICE: Final = "auth_service"
NAME_LENGTH_MAX: Final = 255

Work = Callable[[Database, argparse.Namespace], Awaitable[str]]


class _WrongDatabase(Exception):
    """The address leads to the database of another service; the message says so."""


class _Settings(Settings):
    database_url: DatabaseUrl


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; returns the exit code, or exits with it on a usage error."""
    asked = _parser().parse_args(arguments)
    # What the libraries have to say is for the log of a service; here one line must be enough.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        url = load(_Settings).database_url.get_secret_value()
        print(asyncio.run(_work(url, asked)))  # noqa: T201 - the answer of a command
    except Conflict as error:
        # A script that goes on at "exists already" must not go on without the user it wanted.
        other = isinstance(error, (store.AddressTaken, store.FormerUser))
        return _say(error.message, FAILED if other else EXISTS)
    except (ValidationError, ConfigError) as error:
        return _say(str(error), USAGE_ERROR)
    except ServiceUnavailable:
        return _say("The database does not answer. Check SIGMA_DATABASE_URL.", FAILED)
    except (ApiError, _WrongDatabase) as error:
        return _say(str(error), FAILED)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        return _say(
            "The database lacks migrations: run python -m shared.database.migrations auth_service",
            FAILED,
        )
    return DONE


async def _work(url: str, asked: argparse.Namespace) -> str:
    db = Database(url, connections_max=1, application_name="auth_service admin")
    work: Work = asked.work
    try:
        wrong = wrong_owner(SERVICE, await applied_in(db.fetchval, SERVICE))
        if wrong is not None:
            raise _WrongDatabase(f"Wrong database: {wrong}")
        return await work(db, asked)
    finally:
        await db.close()


async def _create_workspace(db: Database, asked: argparse.Namespace) -> str:
    workspace = await workspaces.create(db, asked.id, asked.name, asked.record_limit)
    return (
        f"Workspace '{workspace.id}' created, with role 'role-admin'"
        f" and room for {counted(workspace.record_limit, 'record')}"
    )


async def _list_workspaces(db: Database, _asked: argparse.Namespace) -> str:
    async with db.acquire() as conn:
        found = await workspace_store.list_all(conn)
    head = ("ID", "NAME", "USERS", "RECORD LIMIT", "CREATED")
    return _table(
        head,
        [(w.id, w.name, users, w.record_limit, w.created_at) for w, users in found],
    )


async def _set_record_limit(db: Database, asked: argparse.Namespace) -> str:
    workspace = await workspaces.set_record_limit(db, asked.workspace, asked.limit)
    return f"Workspace '{workspace.id}' has room for {counted(workspace.record_limit, 'record')}"


async def _create_user(db: Database, asked: argparse.Namespace) -> str:
    user = await users.create(
        db,
        workspace_id=asked.workspace,
        user_id=asked.id,
        email=asked.email,
        name=asked.name,
        role_id=asked.role,
        password_hash=hashed(_password(asked)),
        quick_login=asked.quick_login,
    )
    return f"User '{user.id}' created in workspace '{user.workspace_id}' with role '{user.role_id}'"


async def _list_users(db: Database, asked: argparse.Namespace) -> str:
    async with db.acquire() as conn:
        await workspace_store.check_exists(conn, asked.workspace)
        found = await store.list_all(conn, asked.workspace)
    head = ("ID", "E-MAIL", "NAME", "ROLE", "STATE", "CREATED")
    return _table(
        head,
        [(u.id, u.email, u.name, u.role_id, _state(u.active), u.created_at) for u in found],
    )


async def _list_keys(db: Database, asked: argparse.Namespace) -> str:
    async with db.acquire() as conn:
        await workspace_store.check_exists(conn, asked.workspace)
        found = await keys.list_all(conn, asked.workspace)
    head = ("ID", "NAME", "PERMISSIONS", "STATE", "CREATED BY", "CREATED", "LAST USED")
    return _table(
        head,
        [
            (
                *(key.id, key.name, ",".join(sorted(key.permissions)), _state(key.active)),
                *(key.created_by, key.created_at, key.last_used_at),
            )
            for key in found
        ],
    )


async def _show_user(db: Database, asked: argparse.Namespace) -> str:
    workspace_id, user_id = await _whom(db, asked)
    async with db.acquire() as conn:
        user = await store.find(conn, workspace_id, user_id)
        if user is None:
            raise NotFound.of("User", user_id)
        made = [k for k in await keys.list_all(conn, workspace_id) if k.created_by == user_id]
    shown = {
        "workspace": user.workspace_id,
        "id": user.id,
        "e-mail": user.email,
        "name": user.name,
        "role": user.role_id,
        "state": _state(user.active),
        "quick login": "yes" if user.quick_login else "no",
        "created": _shown(user.created_at),
        "updated": _shown(user.updated_at),
        "active API keys": ", ".join(key.id for key in made if key.active) or "-",
    }
    return "\n".join(f"{name + ':':17}{_shown(value)}" for name, value in shown.items())


async def _delete_user(db: Database, asked: argparse.Namespace) -> str:
    workspace_id, user_id = await _whom(db, asked)
    user = await users.delete(db, workspace_id, user_id)
    async with db.acquire() as conn:
        made = [
            key.id
            for key in await keys.list_all(conn, workspace_id)
            if key.active and key.created_by == user_id
        ]
    text = f"User '{user.id}' of workspace '{user.workspace_id}' is deleted"
    return f"{text}; API keys that stay active: {', '.join(made)}" if made else text


async def _set_password(db: Database, asked: argparse.Namespace) -> str:
    workspace_id, user_id = await _whom(db, asked)
    await users.set_password(db, workspace_id, user_id, hashed(_password(asked)))
    return f"User '{user_id}' of workspace '{workspace_id}' has a new password"


async def _disable_user(db: Database, asked: argparse.Namespace) -> str:
    user = await users.disable(db, *await _whom(db, asked))
    return f"User '{user.id}' of workspace '{user.workspace_id}' is disabled"


async def _enable_user(db: Database, asked: argparse.Namespace) -> str:
    user = await users.enable(db, *await _whom(db, asked))
    return f"User '{user.id}' of workspace '{user.workspace_id}' is enabled"


async def _set_role(db: Database, asked: argparse.Namespace) -> str:
    user = await users.set_role(db, *await _whom(db, asked), asked.role)
    return f"User '{user.id}' of workspace '{user.workspace_id}' has role '{user.role_id}'"


async def _whom(db: Database, asked: argparse.Namespace) -> tuple[str, str]:
    """Workspace and id of the user who is meant."""
    if asked.email is None:
        if asked.workspace is None:
            raise ValidationError("--id needs --workspace")
        return asked.workspace, asked.id
    async with db.acquire() as conn:
        login = await store.find_login(conn, normalised(asked.email))
    if login is None:
        raise NotFound(f"No user has the e-mail address '{asked.email}'")
    return login.user.workspace_id, login.user.id


def _password(asked: argparse.Namespace) -> str:
    if asked.password_stdin:
        return check_password(sys.stdin.read().removesuffix("\n").removesuffix("\r"))
    if not sys.stdin.isatty():
        raise ValidationError("No password: use --password-stdin, or a terminal to be asked on")
    return check_password(getpass.getpass("Password: "))


def _state(active: bool) -> str:
    return "active" if active else "disabled"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    # What others wrote must not be able to move the cursor of a terminal.
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [list(head), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - the answer of a command
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m auth_service admin",
        description="Manage workspaces and users. Reads SIGMA_DATABASE_URL, or the file that"
        " SIGMA_DATABASE_URL_FILE names: the database of auth_service, which need not run.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage error, 3 exists already"
        " (an e-mail address that another user has is 1).",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, work: Work, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(work=work)
        return one

    one = command(
        "create-workspace", _create_workspace, "Create a workspace and its administrator role."
    )
    one.add_argument("--id", required=True, type=_id, help="such as ws-demo")
    one.add_argument("--name", required=True, type=_name)
    one.add_argument(
        "--record-limit", type=_limit, default=RECORD_LIMIT_DEFAULT, help="default %(default)s"
    )

    command("list-workspaces", _list_workspaces, "List all workspaces.")

    one = command("set-record-limit", _set_record_limit, "Set a workspace's record limit.")
    one.add_argument("--workspace", required=True, type=_id)
    one.add_argument("--limit", required=True, type=_limit)

    one = command("create-user", _create_user, "Create a user.")
    one.add_argument("--workspace", required=True, type=_id)
    one.add_argument("--id", required=True, type=_id, help="such as user-admin")
    one.add_argument(
        "--email", required=True, help="to log in with; unique in the whole installation"
    )
    one.add_argument("--name", required=True, type=_name)
    one.add_argument("--role", required=True, type=_id, help="such as role-admin")
    one.add_argument(
        "--quick-login", action="store_true", help="let login screens of a demo offer this user"
    )
    _takes_password(one)

    one = command("list-users", _list_users, "List the users of a workspace.")
    one.add_argument("--workspace", required=True, type=_id)
    one = command("list-keys", _list_keys, "List the API keys of a workspace, without the keys.")
    one.add_argument("--workspace", required=True, type=_id)
    _names_user(command("show-user", _show_user, "Show one user."))

    text = "Set a user's password and end all sessions of the user."
    one = command("set-password", _set_password, text)
    _names_user(one)
    _takes_password(one)
    _names_user(command("disable-user", _disable_user, "Disable a user immediately."))
    _names_user(command("enable-user", _enable_user, "Enable a disabled user."))
    text = "Delete a user immediately and for ever. The history keeps the id; API keys stay."
    _names_user(command("delete-user", _delete_user, text))
    one = command("set-role", _set_role, "Set a user's role, effective immediately.")
    _names_user(one)
    one.add_argument("--role", required=True, type=_id)
    return parser


def _names_user(one: argparse.ArgumentParser) -> None:
    one.add_argument("--workspace", type=_id, help="the user's workspace; needed with --id")
    who = one.add_mutually_exclusive_group(required=True)
    who.add_argument("--id", type=_id, help="the user's id; needs --workspace")
    who.add_argument("--email", help="the user's e-mail address; needs no --workspace")


def _takes_password(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from standard input instead of asking for it",
    )


def _id(text: str) -> str:
    if not is_id(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not an id such as ws-demo")
    return text


def _name(text: str) -> str:
    if not text.strip() or len(text) > NAME_LENGTH_MAX or "\x00" in text:
        raise argparse.ArgumentTypeError(f"expected 1 to {NAME_LENGTH_MAX} characters")
    return text


def _limit(text: str) -> int:
    if not text.isdecimal() or int(text) > RECORD_LIMIT_MAX:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {RECORD_LIMIT_MAX}")
    return int(text)
