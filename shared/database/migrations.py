"""Applies database migrations: `python -m shared.database.migrations <service>`.

Migrations are applied before the new code starts, while the old code still runs, so every revision
must work with the code before and after it. Revisions are Alembic's, one file each under
`<service>/migrations/versions/NNNN_what_changes.py`:

    from shared.database.migrations import run_sql

    revision = "0002"
    down_revision = "0001"

    def upgrade() -> None:
        run_sql("ALTER TABLE records ADD COLUMN note text; CREATE INDEX ...")

Alembic knows the order and keeps its `alembic_version`; asyncpg executes. Each revision is one
transaction, so it is there whole or not at all. One that cannot run inside a transaction (`CREATE
INDEX CONCURRENTLY`) says `in_transaction = False`; then every `run_sql` is a statement of its own,
and must be one that can be repeated (`IF NOT EXISTS`).

A revision that removes something that older code needs names the first revision whose code works
without it: `oldest_code = "0004"`. The value is stored in the database, where processes of an older
version read it (`shared.database.schema_version`).

A database says whose it is: the comment of its table `alembic_version` is the name of the service.
The database of another service is refused, and nothing in it is changed.

Two runs at the same time do not race: the second waits for the first and finds nothing to do. No
revision waits longer than four seconds for a lock, because all other statements queue behind it.

Exit codes: 0 the database is at the expected revision or newer; 1 it is not, and the message says
why; 2 usage or configuration error.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TextIO

import asyncpg
from alembic.op import get_context
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.database.connection import Conn, connect
from shared.database.schema_version import applied_in, wrong_owner
from shared.errors import ServiceUnavailable
from shared.process import config
from shared.process.stopping import exit_on_signal

LOCK_KEY: Final = 0x5167_4D61_006D_6967
WAIT_FOR_OTHER: Final = "120s"
LOCK_TIMEOUT: Final = "4s"
STATEMENT_TIMEOUT: Final = "60s"
ATTEMPTS_MAX: Final = 5
RETRY_PAUSE_S: Final = 1.0

Say = Callable[[str], None]


class MigrationFailed(Exception):
    """The database is not as the code expects; says which revision stopped, and why."""


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=config.PREFIX, hide_input_in_errors=True)

    database_url: config.DatabaseUrl


def run_sql(sql: str) -> None:
    """Execute plain SQL, one statement or several, exactly as it is written."""
    get_context().impl.static_output(sql)


async def apply(service: str, database_url: str, say: Say = lambda _: None) -> list[str]:
    """Apply what is missing; the revisions that were applied, in their order."""
    script = ScriptDirectory(str(folder_of(service)))
    try:
        conn = await connect(
            database_url,
            {"application_name": f"{service} migrations", "lock_timeout": WAIT_FOR_OTHER},
        )
    except ServiceUnavailable as error:
        raise MigrationFailed(f"the database cannot be reached: {error.__cause__}") from error
    try:
        await conn.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        return await _apply_missing(conn, service, script, say)
    except asyncpg.LockNotAvailableError as error:
        raise MigrationFailed("another migration of this database is still running") from error
    except CommandError as error:
        raise MigrationFailed(f"the revisions do not form one chain: {error}") from error
    finally:
        await conn.close(timeout=5)


async def _apply_missing(conn: Conn, service: str, script: ScriptDirectory, say: Say) -> list[str]:
    applied = await applied_in(conn.fetchval, service)
    wrong = wrong_owner(service, applied)
    if wrong is not None:
        raise MigrationFailed(wrong)
    current = applied.revision
    await _prepare(conn, service)
    head = script.get_current_head()
    if head is None:
        say("no revisions")
        return []
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        if current > head:
            say(
                f"the database is at revision {current}, newer than this code ({head}):"
                " nothing to do"
            )
            return []
        raise MigrationFailed(
            f"the database is at revision {current}, which this code does not have"
        )
    missing = list(script.iterate_revisions(head, current or "base"))[::-1]
    for revision in missing:
        say(f"{revision.revision} {_title(revision)}")
        await _apply_one(conn, revision)
    say(f"at {head}" if missing else f"at {head}: nothing to do")
    return [revision.revision for revision in missing]


async def _apply_one(conn: Conn, revision: Script) -> None:
    pieces = _rendered(revision)
    await conn.execute(
        f"SET lock_timeout = '{LOCK_TIMEOUT}'; SET statement_timeout = '{STATEMENT_TIMEOUT}'"
    )
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            if getattr(revision.module, "in_transaction", True):
                async with conn.transaction():
                    for piece in pieces:
                        await conn.execute(piece)
                    await _note(conn, revision)
            else:
                await conn.execute("SET statement_timeout = 0")
                for piece in pieces:
                    await conn.execute(piece)
                await _note(conn, revision)
        except asyncpg.LockNotAvailableError as error:
            if attempt == ATTEMPTS_MAX:
                raise _failed(revision, error) from error
            await asyncio.sleep(RETRY_PAUSE_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise _failed(revision, error) from error
        else:
            return


def _rendered(revision: Script) -> list[str]:
    """What the revision would execute, statement by statement."""
    pieces = _Pieces()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": pieces}
    )
    with Operations.context(context):
        revision.module.upgrade()
    return pieces.written


class _Pieces:
    """The file that Alembic writes SQL to."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: str) -> None:
        self.written.append(text)

    def flush(self) -> None:
        pass


async def _prepare(conn: Conn, service: str) -> None:
    await conn.execute(
        """CREATE TABLE IF NOT EXISTS alembic_version (
               version_num varchar(32) NOT NULL,
               CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"""
    )
    await conn.execute("ALTER TABLE alembic_version ADD COLUMN IF NOT EXISTS oldest_code text")
    # A comment cannot be an argument. The name is that of a package, so there is nothing to escape.
    await conn.execute(f"COMMENT ON TABLE alembic_version IS '{service}'")


async def _note(conn: Conn, revision: Script) -> None:
    # One statement, so that no other process sees a moment without a revision.
    await conn.execute(
        """WITH before AS (DELETE FROM alembic_version RETURNING oldest_code)
           INSERT INTO alembic_version (version_num, oldest_code)
           SELECT $1, coalesce($2, (SELECT oldest_code FROM before))""",
        revision.revision,
        getattr(revision.module, "oldest_code", None),
    )


def _failed(revision: Script, error: Exception) -> MigrationFailed:
    return MigrationFailed(
        f"revision {revision.revision} ({_title(revision)}): {error}. It was rolled back"
        if getattr(revision.module, "in_transaction", True)
        else f"revision {revision.revision} ({_title(revision)}): {error}. Run it again"
    )


def _title(revision: Script) -> str:
    return Path(revision.path).stem.partition("_")[2].replace("_", " ")


def folder_of(service: str) -> Path:
    """Where a service's migrations are; `MigrationFailed` when it has none."""
    found = importlib.util.find_spec(service)
    if found is None or not found.submodule_search_locations:
        raise MigrationFailed(f"there is no service '{service}'")
    folder = Path(found.submodule_search_locations[0]) / "migrations"
    if not (folder / "versions").is_dir():
        raise MigrationFailed(f"'{service}' has no migrations")
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.database.migrations",
        description="Apply a service's missing migrations.",
    )
    parser.add_argument("service", help="auth_service, records_service or workflow_service")
    parser.add_argument("--database-url", help="instead of SIGMA_DATABASE_URL")
    called = parser.parse_args(arguments)
    exit_on_signal(143)
    try:
        folder_of(called.service)
    except MigrationFailed as error:
        _print(f"{called.service}: {error}", sys.stderr)
        return 2
    try:
        url = called.database_url or config.load(_Settings).database_url.get_secret_value()
        asyncio.run(apply(called.service, url, lambda line: _print(f"{called.service}: {line}")))
    except config.ConfigError as error:
        _print(f"{called.service}: {error}", sys.stderr)
        return 2
    except MigrationFailed as error:
        _print(f"{called.service}: {error}", sys.stderr)
        return 1
    return 0


def _print(line: str, file: TextIO | None = None) -> None:
    # This is a command line tool; its output is for the person who runs it.
    print(line, file=file or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
