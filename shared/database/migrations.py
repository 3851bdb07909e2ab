"""Applies database migrations: `python -m shared.database.migrations <service>`.

Migrations are applied before the new code starts, while the old code still runs, so every revision
must work with the code before and after it. Revisions are Alembic's, one file each under
`<service>/migrations/versions/NNNN_what_changes.py`:

    from shared.database.migrations import run_sql

    revision = "0002"
    down_revision = "0001"

    def upgrade() -> None:
        run_sql("ALTER TABLE records ADD COLUMN note text")

Alembic runs them over psycopg, each in one transaction, so a revision is there whole or not at all
(shared/database/alembic_env). What cannot run inside a transaction (`CREATE INDEX CONCURRENTLY`) or
takes long stands in `with outside_transaction():`, and must be repeatable (`IF NOT EXISTS`).

A revision that removes something that older code needs names the first revision whose code works
without it: `oldest_code = "0004"`. The value is stored in the database, where processes of an older
version read it (`shared.database.schema_version`).

A database says whose it is: the comment of its table `alembic_version` is the name of the service.
The database of another service is refused, and nothing in it is changed.

`--wait 300` waits up to 300 seconds for a database that cannot be reached yet, such as one that is
being made at the same time. Without it, one attempt decides.

Two runs at the same time do not race: the second waits for the first and finds nothing to do. No
statement waits longer than a second for a table lock, because all other statements queue behind it,
and requests give up after two. `CREATE INDEX CONCURRENTLY` and its kind may wait longer: what they
wait for is the end of older transactions, and nothing queues behind them.

Exit codes: 0 the database is at the expected revision or newer; 1 it is not, and the message says
why; 2 usage or configuration error.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import psycopg
from alembic import command, op
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import RevisionStep
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable, UndefinedTable
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from shared.database.addresses import for_libpq
from shared.database.connection import CONNECT_TIMEOUT_S
from shared.database.schema_version import APPLIED, applied_from, table_of, wrong_owner
from shared.process import config
from shared.process.stopping import exit_on_signal

LOCK_KEY: Final = 0x5167_4D61_006D_6967
WAIT_FOR_OTHER: Final = "120s"
LOCK_TIMEOUT: Final = "1s"
CONCURRENT_LOCK_TIMEOUT: Final = "60s"
STATEMENT_TIMEOUT: Final = "60s"
ATTEMPTS_MAX: Final = 20
RETRY_PAUSE_S: Final = 1.0
WAIT_S_MAX: Final = 3600

_ENVIRONMENT: Final = Path(__file__).parent / "alembic_env"
_CONCURRENT: Final = re.compile(r"\s*(CREATE|DROP)\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY\b")
_REPEATABLE: Final = "outside a transaction"
_ALEMBIC: Final = threading.Lock()
"""Alembic keeps the migration that runs in module variables (`op`, `context`)."""

Say = Callable[[str], None]
Driver = psycopg.Connection[tuple[Any, ...]]


class MigrationFailed(Exception):
    """The database is not as the code expects; says which revision stopped, and why."""


class Settings(config.Settings):
    """What the command reads from the environment."""

    database_url: config.DatabaseUrl


def run_sql(sql: str) -> None:
    """Execute one statement of plain SQL, exactly as it is written.

    Several are refused by Citus. Revisions from before the tables could be distributed have them.
    """
    # Not `op.execute`, which takes `:name` for a parameter.
    driver = op.get_bind().connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    limit = CONCURRENT_LOCK_TIMEOUT if _CONCURRENT.match(sql) else LOCK_TIMEOUT
    driver.execute(f"SET lock_timeout = '{limit}'".encode())
    driver.execute(sql.encode())


@contextmanager
def outside_transaction() -> Iterator[None]:
    """Each `run_sql` inside is a transaction of its own, without a time limit.

    What the revision did before is committed.
    """
    with op.get_context().autocommit_block():
        run_sql("SET statement_timeout = 0")
        try:
            yield
        except psycopg.Error as error:
            error.add_note(_REPEATABLE)
            raise
        finally:
            run_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")


async def apply(service: str, database_url: str, say: Say = lambda _: None) -> list[str]:
    """As `upgrade`, in a thread, because Alembic and psycopg block."""
    return await asyncio.to_thread(upgrade, service, database_url, say)


def upgrade(
    service: str, database_url: str, say: Say = lambda _: None, *, wait_s: float = 0.0
) -> list[str]:
    """Apply what is missing; the revisions that were applied, in their order.

    Waits up to `wait_s` seconds for the database. Raises `MigrationFailed`.
    """
    with _locked(service, database_url, say, wait_s) as driver:
        script = ScriptDirectory.from_config(_settings(service))
        try:
            head = script.get_current_head()
        except CommandError as error:
            raise MigrationFailed(f"the revisions do not form one chain: {error}") from error
        current = _prepare(driver, service)
        if head is None:
            say("no revisions")
            return []
        if current is not None and current not in {one.revision for one in script.walk_revisions()}:
            if current > head:
                say(
                    f"the database is at revision {current}, newer than this code ({head}):"
                    " nothing to do"
                )
                return []
            raise MigrationFailed(
                f"the database is at revision {current}, which this code does not have"
            )
        with _ALEMBIC, _alembic(driver) as connection:
            done = _Upgrade(_settings(service, connection), script, say).run()
        say(f"at {head}" if done else f"at {head}: nothing to do")
        return done


def stamp(service: str, database_url: str, revision: str) -> None:
    """Note that the database is at this revision, without running anything."""
    with _locked(service, database_url) as driver:
        _prepare(driver, service)
        with _ALEMBIC, _alembic(driver) as connection:
            try:
                command.stamp(_settings(service, connection), revision)
            except CommandError as error:
                raise MigrationFailed(str(error)) from error


class _Upgrade:
    """One run of Alembic to the last revision; a revision that waits for a lock is repeated."""

    def __init__(self, settings: Config, script: ScriptDirectory, say: Say) -> None:
        self._settings = settings
        self._script = script
        self._say = say
        self._done: list[str] = []
        self._running: Script | None = None
        self._attempts = 0

    def run(self) -> list[str]:
        while True:
            try:
                with EnvironmentContext(self._settings, self._script, fn=self._steps):
                    self._script.run_env()
            except (psycopg.Error, DBAPIError) as error:
                cause = error.orig if isinstance(error, DBAPIError) else error
                if not isinstance(cause, LockNotAvailable) or self._attempts >= ATTEMPTS_MAX:
                    raise self._failed(cause) from error
                time.sleep(RETRY_PAUSE_S)
            else:
                return self._done

    def _steps(self, current: Any, _context: Any) -> Iterator[RevisionStep]:
        """The missing revisions. Alembic asks for the next when the one before is committed."""
        for step in self._script._upgrade_revs("head", current):  # noqa: SLF001 - in Alembic's cookbook
            if step.revision is not self._running:
                self._running, self._attempts = step.revision, 0
                self._say(f"{step.revision.revision} {_title(step.revision)}")
            self._attempts += 1
            yield step
            self._done.append(step.revision.revision)

    def _failed(self, error: BaseException | None) -> MigrationFailed:
        assert self._running is not None
        what = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        outcome = (
            "Run it again"
            if _REPEATABLE in getattr(error, "__notes__", ())
            else "It was rolled back"
        )
        return MigrationFailed(
            f"revision {self._running.revision} ({_title(self._running)}): {what or error}."
            f" {outcome}"
        )


def _connected(service: str, database_url: str, say: Say, wait_s: float) -> Driver:
    """Connect, again and again until the time is over.

    A refused login is repeated, too: what makes the database may not have made the role yet.
    """
    deadline = time.monotonic() + wait_s
    said = None
    while True:
        try:
            return psycopg.connect(
                for_libpq(database_url),
                application_name=f"{service} migrations",
                connect_timeout=int(CONNECT_TIMEOUT_S),
            )
        except psycopg.Error as error:
            reason = f"the database cannot be reached, check SIGMA_DATABASE_URL: {_one_line(error)}"
            if time.monotonic() + RETRY_PAUSE_S > deadline:
                raise MigrationFailed(reason) from error
            if reason != said:
                say(f"waiting: {reason}")
                said = reason
        time.sleep(RETRY_PAUSE_S)


@contextmanager
def _locked(
    service: str, database_url: str, say: Say = lambda _: None, wait_s: float = 0.0
) -> Iterator[Driver]:
    """A connection that holds the lock of migrations."""
    with closing(_connected(service, database_url, say, wait_s)) as driver:
        try:
            driver.execute(f"SET lock_timeout = '{WAIT_FOR_OTHER}'".encode())
            driver.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        except LockNotAvailable as error:
            raise MigrationFailed("another migration of this database is still running") from error
        driver.execute(
            f"SET lock_timeout = '{LOCK_TIMEOUT}';"
            f" SET statement_timeout = '{STATEMENT_TIMEOUT}'".encode()
        )
        driver.commit()
        yield driver


def _prepare(driver: Driver, service: str) -> str | None:
    """Refuse the database of another service, mark this one; the revision that it is at."""
    try:
        row = psycopg.RawCursor(driver).execute(APPLIED, [table_of(service)]).fetchone()
    except UndefinedTable:
        row = None
    driver.rollback()
    applied = applied_from(None if row is None else row[0], service)
    wrong = wrong_owner(service, applied)
    if wrong is not None:
        raise MigrationFailed(wrong)
    # A comment cannot be an argument. The name is that of a package, so there is nothing to escape.
    driver.execute(
        f"""CREATE TABLE IF NOT EXISTS alembic_version (
               version_num varchar(32) NOT NULL,
               CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
           ALTER TABLE alembic_version ADD COLUMN IF NOT EXISTS oldest_code text;
           COMMENT ON TABLE alembic_version IS '{service}'""".encode()
    )
    driver.commit()
    return applied.revision


def _alembic(driver: Driver) -> Connection:
    """The connection as Alembic takes it."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: driver, poolclass=NullPool)
    return engine.connect()


def _settings(service: str, connection: Connection | None = None) -> Config:
    """Alembic's configuration: the environment of all services, the revisions of this one."""
    settings = Config(attributes={"connection": connection})
    settings.set_main_option("script_location", str(_ENVIRONMENT))
    settings.set_main_option("version_locations", str(folder_of(service) / "versions"))
    settings.set_main_option("path_separator", "newline")
    return settings


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


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


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    made = argparse.ArgumentParser(
        prog="python -m shared.database.migrations",
        description="Apply a service's missing migrations to the database at SIGMA_DATABASE_URL;"
        " the address may be in a file that SIGMA_DATABASE_URL_FILE names.",
    )
    made.add_argument("service", help="auth_service, records_service or workflow_service")
    made.add_argument("--database-url", help="instead of SIGMA_DATABASE_URL")
    made.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=0,
        help="how long to wait for a database that cannot be reached; not at all by default",
    )
    others = made.add_mutually_exclusive_group()
    others.add_argument(
        "--history", action="store_true", help="only list the revisions, newest first"
    )
    others.add_argument(
        "--stamp", metavar="REVISION", help="only note that the database is at this revision"
    )
    return made


def _seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) > WAIT_S_MAX:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {WAIT_S_MAX}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    called = parser().parse_args(arguments)
    exit_on_signal(143)
    url, wrong = "", list[str]()
    try:
        folder_of(called.service)
    except MigrationFailed as error:
        wrong.append(str(error))
    if not called.history:
        try:
            given = {} if called.database_url is None else {"database_url": called.database_url}
            url = config.load(Settings, **given).database_url.get_secret_value()
        except config.ConfigError as error:
            wrong.append(str(error))
    if wrong:
        _print(f"{called.service}: " + "\n".join(wrong), sys.stderr)
        return 2
    if called.history:
        command.history(_settings(called.service))
        return 0
    try:
        if called.stamp is not None:
            stamp(called.service, url, called.stamp)
        else:
            upgrade(
                called.service,
                url,
                lambda line: _print(f"{called.service}: {line}"),
                wait_s=called.wait,
            )
    except MigrationFailed as error:
        _print(f"{called.service}: {error}", sys.stderr)
        return 1
    return 0


def _print(line: str, file: TextIO | None = None) -> None:
    # This is a command line tool; its output is for the person who runs it.
    print(line, file=file or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
