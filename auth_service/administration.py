"""The operator's command: `python -m auth_service admin <command> ...`.

Workspaces and users have no HTTP endpoints. The command needs `SIGMA_DATABASE_URL` and nothing
else: no broker, no running service. What it changes is told to the gateways through the outbox, by
the service as soon as it runs.

Exit codes: 0 done; 1 it could not be done, and the message says why; 2 the call was wrong; 3 it
exists already. Passwords come from standard input or are asked for, never from the command line,
where others could read them; none is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg
import structlog
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from auth_service.sessions.passwords import check_password, hashed
from auth_service.users import commands as users
from auth_service.users import store
from auth_service.users.addresses import normalised
from auth_service.workspaces import commands as workspaces
from auth_service.workspaces.model import RECORD_LIMIT_DEFAULT, RECORD_LIMIT_MAX
from shared.config import PREFIX, ConfigError, load
from shared.errors import ApiError, Conflict, NotFound, ServiceUnavailable, ValidationError
from shared.ids import is_id
from shared.postgres import Database

DONE: Final = 0
FAILED: Final = 1
CALLED_WRONGLY: Final = 2
EXISTS: Final = 3

NAME_LENGTH_MAX: Final = 255

Work = Callable[[Database, argparse.Namespace], Awaitable[str]]


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; returns the exit code, or exits with it when the call was wrong."""
    asked = _parser().parse_args(arguments)
    # What the libraries have to say is for the log of a service; here one line must be enough.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        url = load(_Settings).database_url.get_secret_value()
        print(asyncio.run(_work(url, asked)))  # noqa: T201 - the answer of a command
    except Conflict as error:
        # A script that goes on at "exists already" must not go on without the user it wanted.
        return _say(error.message, FAILED if isinstance(error, store.AddressTaken) else EXISTS)
    except (ValidationError, ConfigError) as error:
        return _say(str(error), CALLED_WRONGLY)
    except ServiceUnavailable:
        return _say("The database does not answer; is SIGMA_DATABASE_URL right?", FAILED)
    except ApiError as error:
        return _say(error.message, FAILED)
    except asyncpg.UndefinedTableError:
        return _say(
            "The database has no tables yet: run python -m shared.migrations auth_service", FAILED
        )
    return DONE


async def _work(url: str, asked: argparse.Namespace) -> str:
    db = Database(url, connections_max=1, application_name="auth_service admin")
    work: Work = asked.work
    try:
        return await work(db, asked)
    finally:
        await db.close()


async def _create_workspace(db: Database, asked: argparse.Namespace) -> str:
    workspace = await workspaces.create(db, asked.id, asked.name, asked.record_limit)
    return (
        f"Workspace '{workspace.id}' created, with role 'role-admin'"
        f" and room for {workspace.record_limit} records"
    )


async def _set_record_limit(db: Database, asked: argparse.Namespace) -> str:
    workspace = await workspaces.set_record_limit(db, asked.workspace, asked.limit)
    return f"Workspace '{workspace.id}' has room for {workspace.record_limit} records"


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


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - the answer of a command
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m auth_service admin",
        description="Make and change workspaces and users. Needs SIGMA_DATABASE_URL.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong call, 3 exists already.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, work: Work, told: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=told, description=told)
        one.set_defaults(work=work)
        return one

    one = command("create-workspace", _create_workspace, "Make a workspace with its role-admin.")
    one.add_argument("--id", required=True, type=_id, help="such as ws-demo")
    one.add_argument("--name", required=True, type=_name)
    one.add_argument(
        "--record-limit", type=_limit, default=RECORD_LIMIT_DEFAULT, help="default %(default)s"
    )

    one = command("set-record-limit", _set_record_limit, "Say how many records may be held.")
    one.add_argument("--workspace", required=True, type=_id)
    one.add_argument("--limit", required=True, type=_limit)

    one = command("create-user", _create_user, "Make a user.")
    one.add_argument("--workspace", required=True, type=_id)
    one.add_argument("--id", required=True, type=_id, help="such as user-admin")
    one.add_argument("--email", required=True, help="to log in with; nobody else may have it")
    one.add_argument("--name", required=True, type=_name)
    one.add_argument("--role", required=True, type=_id, help="such as role-admin")
    one.add_argument(
        "--quick-login", action="store_true", help="let login screens of a demo offer this user"
    )
    _takes_password(one)

    one = command("set-password", _set_password, "Give a user another password.")
    _names_user(one)
    _takes_password(one)
    _names_user(command("disable-user", _disable_user, "Let a user in no more, from now on."))
    _names_user(command("enable-user", _enable_user, "Let a disabled user in again."))
    one = command("set-role", _set_role, "Give a user another role, from now on.")
    _names_user(one)
    one.add_argument("--role", required=True, type=_id)
    return parser


def _names_user(one: argparse.ArgumentParser) -> None:
    one.add_argument("--workspace", type=_id, help="with --id, which is unique inside of it")
    who = one.add_mutually_exclusive_group(required=True)
    who.add_argument("--id", type=_id)
    who.add_argument("--email", help="alone it is enough")


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
