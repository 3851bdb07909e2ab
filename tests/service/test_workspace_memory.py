"""A workspace as a file takes the same memory, however large it is."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from deploy.workspaces.tables import AUTH, RECORDS, WORKFLOW
from tests.kit.servers import ROOT, Servers

SMALL, LARGE = "ws-small", "ws-large"
LARGE_ROWS = 3_000
ROW_BYTES = 6_400
GROWTH_BYTES_MAX = 6 << 20
"""Less than a third of the rows. A large one fills the buffers of the library and of the ZIP."""
MEASURED = """
import json, os, sys
from deploy.local.process_figures import peak_bytes
from deploy.workspaces.__main__ import main

source, target, workspace_id, file = sys.argv[1:]
for urls, asked in (
    (source, ["export", workspace_id, "--file", file]),
    (target, ["import", "--file", file]),
):
    for service, url in json.loads(urls).items():
        os.environ[f"SIGMA_{service.removesuffix('_service').upper()}_DATABASE_URL"] = url
    assert main(asked) == 0
print(peak_bytes(os.getpid()))
"""


@pytest.fixture
async def installations(servers: Servers) -> AsyncIterator[tuple[dict[str, str], dict[str, str]]]:
    made = [
        {one: await servers.postgres.new_database(one) for one in (AUTH, RECORDS, WORKFLOW)}
        for _ in range(2)
    ]
    yield made[0], made[1]
    for installation in made:
        for url in installation.values():
            await servers.postgres.drop_database(url)


async def make(installation: Mapping[str, str], workspace_id: str, rows: int) -> None:
    """A workspace with so many records, whose values no compression makes small."""
    auth = await asyncpg.connect(installation[AUTH])
    await auth.execute(
        "INSERT INTO workspaces VALUES ($1, 'Any', 100000, 1, now(), now())", workspace_id
    )
    await auth.close()
    records = await asyncpg.connect(installation[RECORDS])
    await records.execute(
        """INSERT INTO records (workspace_id, id, schema_id, version, values, created_at,
                                updated_at, created_by, updated_by)
           SELECT $1, 'ent-' || n, 'schema-x', 1,
                  (SELECT jsonb_object_agg(m, md5(m::text || n)) FROM generate_series(1, $3) AS m),
                  now(), now(), 'user-x', 'user-x'
             FROM generate_series(1, $2) AS n""",
        workspace_id,
        rows,
        ROW_BYTES // 40,
    )
    await records.close()


async def memory_of(source: Mapping[str, str], target: Mapping[str, str], *more: str) -> int:
    """The largest memory, in bytes, of a process that exports a workspace and imports it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MEASURED, json.dumps(source), json.dumps(target), *more),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return int(out.split()[-1])


async def test_memory_does_not_grow_with_the_workspace(
    installations: tuple[dict[str, str], dict[str, str]], tmp_path: Path
):
    source, target = installations
    taken: list[int] = []
    for workspace_id, rows in ((SMALL, 10), (LARGE, LARGE_ROWS)):
        await make(source, workspace_id, rows)
        file = tmp_path / f"{workspace_id}.zip"
        taken.append(await memory_of(source, target, workspace_id, str(file)))
    small, large = taken
    assert large - small < GROWTH_BYTES_MAX < LARGE_ROWS * ROW_BYTES / 3
    conn = await asyncpg.connect(target[RECORDS])
    assert await conn.fetchval("SELECT count(*) FROM records") == LARGE_ROWS + 10
    await conn.close()
