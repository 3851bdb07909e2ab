"""Writes a workspace into a file (`deploy.workspaces.archive`).

Each database is read in one transaction, so what a file has of it is of one moment. The three
transactions begin one right after the other: a change of a role or a workflow at that moment may be
in one of them and not in another, as with a backup.
"""

from __future__ import annotations

import asyncio
import os
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from deploy.workspaces.archive import MANIFEST, Manifest, Member, Writing
from deploy.workspaces.databases import (
    Database,
    Databases,
    Failed,
    columns_of,
    key_of,
    opened,
    quoted,
)
from deploy.workspaces.tables import AUTH, RECORDS, Table

JOBS_WAIT_S: Final = 60.0
_JOBS_LOOK_S: Final = 0.5
_COMPRESSION: Final = 6


async def export(
    urls: Mapping[str, str],
    workspace_id: str,
    path: Path,
    say: Callable[[str], None],
    *,
    jobs_wait_s: float = JOBS_WAIT_S,
) -> Manifest:
    """Write the file; it has its name when it is whole. Raises `Failed`."""
    unfinished = _unfinished(path)
    async with opened(urls) as databases:
        if not await databases[AUTH].conn.fetchval(
            "SELECT EXISTS (SELECT FROM workspaces WHERE workspace_id = $1)", workspace_id
        ):
            raise Failed(f"there is no workspace '{workspace_id}'")
        async with _snapshots(databases, workspace_id, jobs_wait_s):
            try:
                with _made(unfinished) as file:
                    manifest = await _write(file, databases, workspace_id, say)
                    file.flush()
                unfinished.rename(path)
            except OSError as error:
                raise Failed(f"{path} cannot be written: {error.strerror}") from error
            finally:
                unfinished.unlink(missing_ok=True)
    return manifest


def _made(path: Path) -> BinaryIO:
    """A new file that nobody else may read: it has addresses of users, and all of the records."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _unfinished(path: Path) -> Path:
    if path.exists():
        raise Failed(f"{path} exists already")
    return path.with_name(f"{path.name}.part")


@asynccontextmanager
async def _snapshots(
    databases: Databases, workspace_id: str, jobs_wait_s: float
) -> AsyncIterator[None]:
    """A transaction in each database, at a moment at which no job of the workspace is half done."""
    ends = time.monotonic() + jobs_wait_s
    while True:
        async with AsyncExitStack() as stack:
            for database in databases.values():
                await stack.enter_async_context(
                    database.conn.transaction(isolation="repeatable_read", readonly=True)
                )
            jobs = await databases[RECORDS].conn.fetch(
                "SELECT DISTINCT kind FROM jobs WHERE workspace_id = $1 ORDER BY kind", workspace_id
            )
            if not jobs:
                yield
                return
        if time.monotonic() > ends:
            kinds = ", ".join(row["kind"] for row in jobs)
            raise Failed(
                f"background jobs of '{workspace_id}' are not finished ({kinds}): a file would have"
                " their work half done. Try again when they are"
            )
        await asyncio.sleep(_JOBS_LOOK_S)


async def _write(
    file: BinaryIO, databases: Databases, workspace_id: str, say: Callable[[str], None]
) -> Manifest:
    members: dict[tuple[str, str], Member] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION) as archive:
        for database in databases.values():
            for table in database.tables:
                if table.exported_where is not None:
                    member = await _write_table(archive, database, table, workspace_id)
                    members[database.service, table.name] = member
            rows = sum(of.rows for place, of in members.items() if place[0] == database.service)
            say(f"{database.service}: {rows} rows")
        manifest = Manifest(
            workspace_id,
            {database.service: database.revision for database in databases.values()},
            members,
            f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
        archive.writestr(MANIFEST, manifest.as_json())
    return manifest


async def _write_table(
    archive: zipfile.ZipFile, database: Database, table: Table, workspace_id: str
) -> Member:
    columns = await columns_of(database.conn, table.name)
    # The workspace comes first in each line, so that who reads the file can check it.
    columns.sort(key=lambda name: name != "workspace_id")
    shown = ", ".join(table.exported_as.get(name, f'"{name}"') for name in columns)
    key = ", ".join(f'"{name}"' for name in await key_of(database.conn, table.name))
    writing = Writing(archive, database.service, table.name)
    await database.conn.copy_from_query(
        f"SELECT {shown} FROM {table.name}"
        f" WHERE workspace_id = {quoted(workspace_id)} AND ({table.exported_where}) ORDER BY {key}",
        output=writing.write,
    )
    return writing.finish(columns)
