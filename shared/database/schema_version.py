"""Schema version check: whether the service's database has the migrations that its code needs.

`python -m shared.database.migrations <service>` applies migrations before new code starts. If
migrations are missing, a service logs one line, is not ready (`/readyz` says why), makes its
background work wait (`Database.migrated`), and continues by itself when they have been applied.

A newer database is normal: migrations are applied first, and old processes serve until they are
replaced. A revision may say which code it still works with (`oldest_code`, see
docs/how-to/add-a-migration.md); the value is stored next to the revision in `alembic_version`.
Older code is not ready.

A database says whose it is: the comment of its table `alembic_version` is the name of the service.
All services number their revisions alike, so a revision alone would let a process run on the
database of another service. It says where it lives, too, so that a restored one is told from the
one that it was (`incarnations`).
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import structlog
from aiohttp import web

from shared.database import incarnations
from shared.database.connection import is_read_only
from shared.database.pool import Database
from shared.database.pool_of_process import DATABASE
from shared.errors import ServiceUnavailable, UpstreamTimeout, truncated
from shared.http import READINESS, versions

log = structlog.get_logger(__name__)

LOOK_AGAIN_S: Final = 1.0
LOOK_NOW_AND_THEN_S: Final = 10.0
FIRST_LOOK_S: Final = 2.0
"""How long a start waits at most for a database that is slow, or not there."""


_TABLE_OF: Final[Mapping[str, str]] = {
    "auth_service": "workspaces",
    "records_service": "models",
    "workflow_service": "workflow_references",
}
"""Databases from before the comment: a table that only the first migration of the service makes."""


class Applied(NamedTuple):
    """What migrations have left in a database; all fields are None if none was ever applied."""

    revision: str | None
    oldest_code: str | None
    owner: str | None
    """The service whose database it is, or another comment; None if nothing tells."""


APPLIED: Final = """SELECT to_jsonb(applied) || jsonb_build_object(
          'owner', obj_description('alembic_version'::regclass, 'pg_class'),
          'has_table', to_regclass($1) IS NOT NULL)
 FROM alembic_version AS applied"""
"""What has been applied, for `applied_from`; $1 is `table_of` the service. The table may be absent.

All columns: older databases have no `oldest_code`.
"""


def table_of(service: str) -> str | None:
    """The table by which a database from before the comment is known; None for an unknown one."""
    return _TABLE_OF.get(service)


def applied_from(row: Mapping[str, Any] | None, service: str) -> Applied:
    """What the row of `APPLIED` says; None where nothing was ever applied."""
    if row is None:
        return Applied(None, None, None)
    owner = row["owner"] or (service if row["has_table"] else None)
    return Applied(row["version_num"], row.get("oldest_code"), owner)


async def applied_in(fetchval: Callable[..., Awaitable[Any]], service: str) -> Applied:
    """What has been applied to a database. `fetchval` is that of a `Database`."""
    try:
        row = await fetchval(APPLIED, table_of(service))
    except asyncpg.UndefinedTableError:
        row = None
    except ServiceUnavailable as error:
        if not isinstance(error.__cause__, asyncpg.UndefinedTableError):
            raise
        row = None
    return applied_from(row, service)


def wrong_owner(service: str, applied: Applied) -> str | None:
    """Why this is not the service's database; None where it is, or where nothing is applied."""
    if applied.revision is None or applied.owner == service:
        return None
    other = "another one" if applied.owner is None else f"that of {truncated(applied.owner)}"
    return f"this is not the database of {service}, but {other}: check SIGMA_DATABASE_URL"


def known_revisions(service: str) -> tuple[str, ...]:
    """The revisions that this code has, in order: the numbers of its files.

    Importing Alembic for this would cost a serving process 20 MB and a third of a second.
    """
    found = importlib.util.find_spec(service)
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"there is no service '{service}'")
    folder = Path(found.submodule_search_locations[0]) / "migrations" / "versions"
    return tuple(sorted(file.name.partition("_")[0] for file in folder.glob("[0-9]*_*.py")))


def complaint(service: str, known: Sequence[str], applied: Applied) -> str | None:
    """Why code with the `known` revisions cannot work with this database; None when it can."""
    wrong = wrong_owner(service, applied)
    if wrong is not None:
        return wrong
    head = known[-1]
    revision, oldest_code = applied.revision, applied.oldest_code
    if revision is None or (revision != head and revision in known):
        at = "no revision" if revision is None else f"revision {revision}"
        return (
            f"migrations missing: run python -m shared.database.migrations {service}"
            f" (the database has {at}, this version needs {head})"
        )
    if revision == head:
        return None
    if revision < head:
        return (
            f"the database is at revision {revision}, which this version of {service} does not know"
        )
    if oldest_code is not None and oldest_code > head:
        return (
            f"the database is newer than this version of {service}: it is at revision {revision},"
            f" which needs code of revision {oldest_code} or later, and this version has {head}"
        )
    return None


def unreachable(cause: BaseException) -> str:
    """Why the database cannot be used, with the variable to check; without its address."""
    why = "" if isinstance(cause, TimeoutError) else " ".join(str(cause).split())
    reason = f" ({truncated(why)})" if why else ""
    return f"the database does not answer{reason}: is it running, is SIGMA_DATABASE_URL right?"


class SchemaWatch:
    """Checks the database until it suits this code, and periodically afterwards."""

    def __init__(self, database: Database, service: str) -> None:
        self._database = database
        self._service = service
        self._known = known_revisions(service)
        self._lived_at: str | None = None
        self._last_beat: incarnations.Beat | None = None
        self._is_here = False
        self._logged: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Check once, and go on; background work waits until a check has succeeded.

        The first requests come after it: their tags have to name the incarnation.
        """
        self._database.migrated.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_S):
                await self._check()
        self._task = asyncio.create_task(self._check_repeatedly(), name="schema version")

    async def stop(self) -> None:
        """Stop checking."""
        versions.name_incarnation(0)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def ready(self, *, looks_again: bool = False) -> None:
        """Raise `ServiceUnavailable` with the complaint, if there is one.

        Where the database lives is looked at until it is known, and when somebody `looks_again`: a
        probe asks PostgreSQL one thing.
        """
        try:
            applied = await applied_in(self._database.fetchval, self._service)
        except ServiceUnavailable as error:
            if error.__cause__ is None:
                raise
            raise ServiceUnavailable(unreachable(error.__cause__)) from error
        wrong = complaint(self._service, self._known, applied)
        if wrong is None and (looks_again or not self._is_here):
            wrong = await self._elsewhere()
        if wrong is None:
            self._database.migrated.set()
        else:
            self._database.migrated.clear()
        self._log_change(applied, wrong)
        if wrong is not None:
            raise ServiceUnavailable(wrong)

    async def _elsewhere(self) -> str | None:
        """Why this is not the incarnation that it was; None where it is."""
        # As it was before the look: a beat that is left meanwhile is not missing.
        last_beat = self._last_beat
        try:
            async with self._database.acquire() as conn:
                found = await incarnations.look(conn, self._lived_at, last_beat)
                if is_read_only(conn):
                    # A primary that was demoted is behind the new one, which may have the beat.
                    last_beat = None
        except asyncpg.InsufficientPrivilegeError as error:
            return f"the database does not say where it lives: {error}"
        wrong = found.complaint(self._service, last_beat)
        self._is_here = wrong is None
        if wrong is None:
            self._lived_at = found.here
            if found.number:
                versions.name_incarnation(found.number)
        return wrong

    async def _beat(self) -> None:
        """Leave a beat, and remember it once it is committed."""
        async with self._database.acquire() as conn:
            if not is_read_only(conn):
                self._last_beat = await incarnations.beat(conn) or self._last_beat

    def _log_change(self, applied: Applied, wrong: str | None) -> None:
        """Log one line for each change, and none if the database suited from the beginning."""
        newer = applied.revision is not None and applied.revision > self._known[-1]
        state = wrong or (f"newer: {applied.revision}" if newer else "")
        before, self._logged = self._logged, state
        if state == before:
            return
        if wrong is not None:
            log.error("database_not_usable", reason=wrong)
        elif newer:
            log.warning(
                "database_is_newer", revision=applied.revision, this_version=self._known[-1]
            )
        elif before is not None:
            log.info("database_usable", revision=applied.revision)

    async def _check(self) -> None:
        try:
            await self.ready(looks_again=True)
            await self._beat()
        except (ServiceUnavailable, UpstreamTimeout):
            # Where none can be left, the last beat counts.
            pass
        except Exception:
            log.exception("schema_version_not_read")

    async def _check_repeatedly(self) -> None:
        while True:
            await self._check()
            usable = self._database.migrated.is_set()
            await asyncio.sleep(LOOK_NOW_AND_THEN_S if usable else LOOK_AGAIN_S)


def schema_version(service: str) -> Callable[[web.Application], AsyncIterator[None]]:
    """Ready only while the database suits this code; must come right after `postgres`."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        watch = SchemaWatch(app[DATABASE], service)

        async def ready(_app: web.Application) -> None:
            await watch.ready()

        app[READINESS].append(ready)
        await watch.start()
        yield
        await watch.stop()

    return opened
