"""Brings a workspace from a file (`deploy.workspaces.archive`) into an installation.

The file is read whole and verified before anything is written. Then each database gets its rows in
one transaction; all three are open until the last row is there, and are committed one right after
the other, that of auth_service last: before it nobody can log in to the workspace, so it is never
seen in part. If that is interrupted between two commits, the databases that have theirs know the
file (`sigma_workspaces.arrivals`): the same command goes on, and `--undo` removes what is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import asyncpg

from deploy.workspaces.archive import Archive
from deploy.workspaces.databases import (
    Database,
    Databases,
    Failed,
    advance_numbers,
    columns_of,
    delete_rows,
    occupied,
    opened,
    shown,
    uncommitted,
)
from deploy.workspaces.tables import AUTH, OPENED_LAST, Table

_ARRIVALS: Final = (
    "CREATE SCHEMA IF NOT EXISTS sigma_workspaces",
    """CREATE TABLE IF NOT EXISTS sigma_workspaces.arrivals (
           workspace_id text PRIMARY KEY, digest text NOT NULL)""",
)


async def import_file(urls: Mapping[str, str], path: Path, say: Callable[[str], None]) -> str:
    """Import it; the workspace's id. Raises `Failed`; then nothing of it is visible."""
    archive = Archive(path)
    try:
        archive.verify()
        say(f"{path} is whole: workspace '{archive.manifest.workspace_id}'")
        async with opened(urls) as databases:
            _compare_revisions(archive, databases)
            await _prepare(databases)
            if await _digest(databases[AUTH], archive.manifest.workspace_id) != archive.digest:
                present = await _present(databases, archive)
                await _load_all(databases, archive, present, say)
            for service in OPENED_LAST:
                # auth_service last: what it knows says that all of the workspace is there.
                await _forget(databases[service], archive.manifest.workspace_id)
    finally:
        archive.close()
    return archive.manifest.workspace_id


async def undo(urls: Mapping[str, str], workspace_id: str, say: Callable[[str], None]) -> None:
    """Remove what an interrupted import has left. Raises `Failed` if there is no such thing."""
    async with opened(urls) as databases:
        await _prepare(databases)
        begun = [each for each in databases.values() if await _digest(each, workspace_id)]
        if not begun:
            raise Failed(f"no import of '{workspace_id}' was interrupted")
        if await databases[AUTH].conn.fetchval(
            "SELECT EXISTS (SELECT FROM workspaces WHERE workspace_id = $1)", workspace_id
        ):
            raise Failed(f"'{workspace_id}' is imported whole: run the import again to end it")
        for database in begun:
            async with database.conn.transaction():
                await database.conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
                rows = await delete_rows(database.conn, database.tables, workspace_id)
                await _forget(database, workspace_id)
            say(f"{database.service}: {rows} rows removed")


def _compare_revisions(archive: Archive, databases: Databases) -> None:
    for service, database in databases.items():
        exported = archive.manifest.revisions.get(service)
        if exported != database.revision:
            raise Failed(
                f"{archive.path} has {service} at revision {exported}, and this database is at"
                f" {database.revision}: both installations need the same version"
            )


async def _prepare(databases: Databases) -> None:
    for database in databases.values():
        for statement in _ARRIVALS:
            await database.conn.execute(statement)


async def _digest(database: Database, workspace_id: str) -> str | None:
    digest: str | None = await database.conn.fetchval(
        "SELECT digest FROM sigma_workspaces.arrivals WHERE workspace_id = $1", workspace_id
    )
    return digest


async def _forget(database: Database, workspace_id: str) -> None:
    await database.conn.execute(
        "DELETE FROM sigma_workspaces.arrivals WHERE workspace_id = $1", workspace_id
    )


async def _present(databases: Databases, archive: Archive) -> set[str]:
    """The databases that an interrupted import of this file has filled already."""
    workspace_id = archive.manifest.workspace_id
    present = set()
    for service, database in databases.items():
        digest = await _digest(database, workspace_id)
        if digest == archive.digest:
            present.add(service)
        elif digest is not None:
            raise Failed(
                f"an import of another file of '{workspace_id}' was interrupted: go on with that"
                " file, or undo it with --undo"
            )
    absent = {service: one for service, one in databases.items() if service not in present}
    taken = await occupied(absent, workspace_id)
    if taken:
        raise Failed(f"the workspace '{workspace_id}' is there already: {shown(taken)}")
    return present


async def _load_all(
    databases: Databases, archive: Archive, present: set[str], say: Callable[[str], None]
) -> None:
    workspace_id = archive.manifest.workspace_id
    open_ones = [databases[each] for each in OPENED_LAST if each not in present]
    async with AsyncExitStack() as stack:
        for database in open_ones:
            await stack.enter_async_context(uncommitted(database))
            await _load(database, archive)
            await database.conn.execute(
                "INSERT INTO sigma_workspaces.arrivals VALUES ($1, $2)",
                workspace_id,
                archive.digest,
            )
            say(f"{database.service}: loaded")
        for database in open_ones:
            await database.conn.execute("COMMIT")


def _in_order(database: Database) -> list[Table]:
    """The tables in the order of their writing: what triggers count comes last."""
    return sorted(database.tables, key=lambda table: table.counting)


async def _load(database: Database, archive: Archive) -> None:
    workspace_id = archive.manifest.workspace_id
    # What is counted at the end of the transaction is counted now, and then replaced.
    await database.conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for table in _in_order(database):
        if table.exported_where is None:
            continue
        member = archive.manifest.members.get((database.service, table.name))
        if member is None:
            raise Failed(f"{archive.path} lacks the table {database.service}.{table.name}")
        if set(member.columns) != set(await columns_of(database.conn, table.name)):
            raise Failed(f"{archive.path} has other columns of {database.service}.{table.name}")
        if table.counting:
            await delete_rows(database.conn, [table], workspace_id)
        try:
            tag = await database.conn.copy_to_table(
                table.name,
                source=_sent(archive.pieces(database.service, table.name)),
                columns=list(member.columns),
            )
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise Failed(
                f"{database.service}.{table.name} does not take what {archive.path} has:"
                f" {error.args[0]}{_detail(error)}"
            ) from error
        if tag != f"COPY {member.rows}":
            raise Failed(f"{archive.path}: of {table.name}, {member.rows} rows, came {tag}")
    await advance_numbers(database.conn, database.tables, workspace_id)


async def _sent(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _detail(error: asyncpg.PostgresError) -> str:
    return f" ({error.detail})" if error.detail else ""
