"""Begins a new incarnation of a restored database: `python -m shared.database.restored <service>`.

To be run once for each of the three services after their databases were set back, by whatever way,
and before processes start: a process is not ready on a database that is elsewhere than it was
(`shared.database.incarnations`). What the service has heard of others may be of another moment than
what they hold, and what it has told may not have arrived. So each service has a module `restoring`
whose `repair` makes it doubt the first and tell the second again, in the same transaction.

`--nothing-lost` is for a database that went on without a gap, such as one that was moved, or a
standby that was promoted while no process ran: it only notes where the database lives now.

Exit codes: 0 done; 1 not done, and the message says why; 2 usage or configuration error.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TextIO

import asyncpg

from shared.database import incarnations
from shared.database.connection import Conn, connect
from shared.database.incarnations import Incarnation
from shared.database.schema_version import (
    applied_in,
    complaint,
    known_revisions,
    unreachable,
)
from shared.errors import ServiceUnavailable
from shared.process import config
from shared.process.stopping import exit_on_signal

SERVICES: Final = ("auth_service", "records_service", "workflow_service")
LOCK_KEY: Final = 0x5167_4D61_7265_7374
LOCK_TIMEOUT: Final = "5s"

Say = Callable[[str], None]
Repair = Callable[[Conn, Incarnation], Awaitable[Sequence[str]]]
"""What a service does in a new incarnation; what an operator is to know of it, a line each."""


class NotRestored(Exception):
    """Nothing was changed, and why."""


class Settings(config.Settings):
    """What the command reads from the environment."""

    database_url: config.DatabaseUrl


async def restored(service: str, url: str, say: Say, *, nothing_lost: bool = False) -> None:
    """Begin a new incarnation, or go on with the present one. Raises `NotRestored`."""
    try:
        conn = await connect(
            url, {"application_name": f"{service} restored", "lock_timeout": LOCK_TIMEOUT}
        )
    except ServiceUnavailable as error:
        raise NotRestored(unreachable(error.__cause__ or error)) from error
    try:
        await _check(conn, service)
        async with conn.transaction():
            await conn.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
            if nothing_lost:
                await incarnations.look(conn)
                found = await incarnations.settle(conn)
                say(f"goes on at {found.here}")
                return
            await incarnations.look(conn)
            begun = await incarnations.begin(conn)
            repair: Repair = importlib.import_module(f"{service}.restoring").repair
            told = await repair(conn, begun)
        for line in (f"incarnation {begun.number} begins at {begun.here}", *told):
            say(line)
    except asyncpg.LockNotAvailableError as error:
        raise NotRestored("another run of this command, or a process, is still at work") from error
    finally:
        await conn.close()


async def _check(conn: Conn, service: str) -> None:
    """Raise `NotRestored` where this is not the database, or somebody works with it."""
    wrong = complaint(service, known_revisions(service), await applied_in(conn.fetchval, service))
    if wrong is not None:
        raise NotRestored(wrong)
    # What a process remembers is of the incarnation before.
    connected: int = await conn.fetchval(
        """
        SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
           AND starts_with(application_name, $1)
        """,
        service,
    )
    if connected:
        raise NotRestored(
            f"processes of {service} are running ({connected} connections to this database):"
            " stop all of them first"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.database.restored",
        description="Begin a new incarnation of a database that was set back. Reads"
        " SIGMA_DATABASE_URL, or the file that SIGMA_DATABASE_URL_FILE names. All processes of the"
        " service must be stopped.",
        epilog="Exit codes: 0 done, 1 not done, 2 usage or configuration error.",
    )
    parser.add_argument("service", choices=SERVICES, help="whose database it is: %(choices)s")
    parser.add_argument(
        "--nothing-lost",
        action="store_true",
        help="the database was moved or promoted and has everything: only note where it lives",
    )
    asked = parser.parse_args(arguments)

    def say(line: str) -> None:
        _print(f"{asked.service}: {line}")

    try:
        url = config.load(Settings).database_url.get_secret_value()
        asyncio.run(restored(asked.service, url, say, nothing_lost=asked.nothing_lost))
    except config.ConfigError as error:
        _print(f"{asked.service}: {error}", sys.stderr)
        return 2
    except NotRestored as error:
        _print(f"{asked.service}: {error}", sys.stderr)
        return 1
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        _print(f"{asked.service}: nothing was changed: {error}", sys.stderr)
        return 1
    return 0


def _print(line: str, file: TextIO | None = None) -> None:
    # This is a command line tool; its output is for the person who runs it.
    print(line, file=file or sys.stdout, flush=True)


if __name__ == "__main__":
    exit_on_signal(143)
    sys.exit(main())
