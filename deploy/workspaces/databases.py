"""The three databases of an installation, as a tool of the operator sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from deploy.workspaces.tables import AUTH, RECORDS, TABLES, WORKFLOW, Table
from shared.database.connection import Conn, connect
from shared.database.schema_version import applied_in, complaint, known_revisions
from shared.errors import ServiceUnavailable
from shared.process.config import DatabaseUrl, Settings

SESSION: Final = {
    "application_name": "sigma workspaces",
    # Rows as text must be the same on both sides.
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    # A transaction here waits for the copying of other databases.
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",
    "lock_timeout": "5s",
    # Whole tables are counted and compared while nobody writes: unlike a request, with all cores.
    "max_parallel_workers_per_gather": "4",
}
_HINT: Final = ": check SIGMA_DATABASE_URL"
"""For a service, which has one address: this tool has three, or six."""
_SHOWN_MAX: Final = 3
_QUEUE_PARTS: Final = 16
_AHEAD: Final = 10_000
"""Others draw numbers meanwhile: fewer, between a comparison and the change, than this."""


class Failed(Exception):
    """What cannot be done, and why, for the operator; nothing is left half done silently."""


class Installation(Settings):
    """Where the databases of an installation are."""

    auth_database_url: DatabaseUrl
    records_database_url: DatabaseUrl
    workflow_database_url: DatabaseUrl

    @property
    def urls(self) -> Mapping[str, str]:
        """Service -> address."""
        return {
            AUTH: self.auth_database_url.get_secret_value(),
            RECORDS: self.records_database_url.get_secret_value(),
            WORKFLOW: self.workflow_database_url.get_secret_value(),
        }


@dataclass(frozen=True, slots=True)
class Database:
    """A connection to the database of one service, whose migrations suit this code."""

    service: str
    url: str
    conn: Conn
    revision: str

    @property
    def tables(self) -> tuple[Table, ...]:
        """Those with rows of workspaces."""
        return TABLES[self.service]


Databases = Mapping[str, Database]


async def open_one(service: str, url: str, side: str = "") -> Database:
    """Raises `Failed` for a database that does not answer, is another's, or lacks migrations.

    Its message begins with `side`.
    """
    try:
        conn = await connect(url, SESSION)
    except ServiceUnavailable as error:
        raise Failed(
            f"{side}the database of {service} does not answer: {error.__cause__}"
        ) from error
    applied = await applied_in(conn.fetchval, service)
    wrong = complaint(service, known_revisions(service), applied)
    if wrong is not None:
        await conn.close()
        raise Failed(f"{side}{service}: {wrong.removesuffix(_HINT)}")
    assert applied.revision is not None
    return Database(service, url, conn, applied.revision)


@asynccontextmanager
async def opened(urls: Mapping[str, str], side: str = "") -> AsyncIterator[Databases]:
    """The databases of one installation; raises `Failed`."""
    async with AsyncExitStack() as stack:
        found = {}
        for service, url in urls.items():
            found[service] = one = await open_one(service, url, side)
            stack.push_async_callback(one.conn.close, timeout=5)
        yield found


async def columns_of(conn: Conn, table: str) -> list[str]:
    """The columns that can be written, in their order."""
    rows = await conn.fetch(
        """SELECT attname::text AS name FROM pg_attribute
            WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
              AND attgenerated = ''
            ORDER BY attnum""",
        table,
    )
    return [row["name"] for row in rows]


async def key_of(conn: Conn, table: str) -> list[str]:
    """The columns of the primary key, in their order."""
    rows = await conn.fetch(
        """SELECT a.attname::text AS name
             FROM pg_index i
            CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS key (number, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.number
            WHERE i.indrelid = $1::text::regclass AND i.indisprimary
            ORDER BY key.place""",
        table,
    )
    return [row["name"] for row in rows]


async def occupied(databases: Databases, workspace_id: str) -> list[str]:
    """Tables with rows of this workspace that are in its way, as `service.table`."""
    return [
        f"{database.service}.{table.name}"
        for database in databases.values()
        for table in database.tables
        if not table.replaced
        and await database.conn.fetchval(
            f"SELECT EXISTS (SELECT FROM {table.name} WHERE workspace_id = $1)",
            workspace_id,
        )
    ]


def shown(tables: Sequence[str]) -> str:
    """The first of these tables, and how many more there are."""
    more = len(tables) - _SHOWN_MAX
    return ", ".join(tables[:_SHOWN_MAX]) + (f" and {more} more tables" if more > 0 else "")


def in_deletion_order(tables: Iterable[Table]) -> list[Table]:
    """Each before those that it refers to; what triggers count last, for they count deletions."""
    found = list(tables)[::-1]
    return sorted(found, key=lambda table: table.counting)


async def delete_rows(
    conn: Conn, tables: Iterable[Table], workspace_id: str, *, where: str = "true"
) -> int:
    """Delete what these tables have of a workspace, in the order that this needs; how many rows."""
    deleted = 0
    for table in in_deletion_order(tables):
        tag = await conn.execute(
            f"DELETE FROM {table.name} WHERE workspace_id = $1 AND ({where})",
            workspace_id,
        )
        deleted += int(tag.rpartition(" ")[2])
    return deleted


async def advance_numbers(conn: Conn, tables: Sequence[Table], workspace_id: str) -> None:
    """Let sequences go on behind the numbers that came with the rows of a workspace."""
    for table in tables:
        if table.numbered is not None:
            await _advance(
                conn, table.name, table.numbered, table.name, table.numbered, workspace_id
            )
        if table.follows is not None:
            column, drawn_by, its = table.follows
            await _advance(conn, drawn_by, its, table.name, column, workspace_id)


async def _advance(
    conn: Conn, drawn_by: str, drawn: str, table: str, column: str, workspace_id: str
) -> None:
    await conn.execute(
        f"""
        SELECT setval(sequence, brought.last + {_AHEAD})
          FROM (SELECT pg_get_serial_sequence('{drawn_by}', '{drawn}')::regclass AS sequence)
               AS own,
               (SELECT coalesce(max({column}), 0) AS last FROM {table}
                 WHERE workspace_id = $1) AS brought
         WHERE brought.last >= coalesce(pg_sequence_last_value(sequence), 0)
        """,
        workspace_id,
    )


@asynccontextmanager
async def uncommitted(database: Database) -> AsyncIterator[None]:
    """A transaction that the caller commits, with those of other databases; else rolled back."""
    await database.conn.execute("BEGIN")
    try:
        yield
    finally:
        if not database.conn.is_closed() and database.conn.is_in_transaction():
            await database.conn.execute("ROLLBACK")


async def copy(source: Conn, query: str, target: Conn, table: str, columns: Sequence[str]) -> int:
    """Copy the rows of a query into a table of another database; how many they were."""
    parts: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE_PARTS)

    async def read() -> None:
        await source.copy_from_query(query, output=parts.put)
        await parts.put(None)

    async def arriving() -> AsyncIterator[bytes]:
        while (part := await parts.get()) is not None:
            yield part

    reading = asyncio.create_task(read())
    writing = asyncio.create_task(
        target.copy_to_table(table, source=arriving(), columns=list(columns))
    )
    try:
        done, _ = await asyncio.wait((reading, writing), return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        return int(writing.result().rpartition(" ")[2])
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


def quoted(text: str) -> str:
    """A literal of SQL, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


POSTGRES_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
