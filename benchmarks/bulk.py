"""Bulk writes beside a raw COPY of the same bytes into the same tables.

The catalogue is created, its prices are changed, and changed to the same again: each in one call.
The COPY comes in the same round: what the creates stored, out of the database into files, and back
in one transaction into tables with the same indexes and constraints. At the end, the catalogue is
created once more in two calls at a time, each to a process of its own.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import aiohttp
import orjson

from benchmarks import buildcores
from benchmarks.world import World

ROUNDS = 3
STORED = (
    "search_records",
    "search_numbers",
    "audit",
    "unique_values",
    "record_lives",
    "records",
)
TWO = "create, two processes"
_EVENT = """
    SELECT row_number() OVER () + 1000000000 AS id, workspace_id, 'entity.created' AS type,
           record_id AS subject, 'evt-' || md5(record_id) AS event_id,
           json_build_object('specversion', '1.0', 'id', 'evt-' || md5(record_id), 'type',
               'entity.created', 'source', 'sigma/records_service', 'subject', record_id, 'time',
               at, 'datacontenttype', 'application/json', 'workspaceid', workspace_id, 'data',
               json_build_object('entityId', record_id, 'schemaId', schema_id, 'version', version,
                   'lifecycleStateId', NULL, 'userId', user_id, 'changes', changes)) AS document,
           now() AS staged_at, version
      FROM audit WHERE action = 'create'
"""


async def measure(here: World, folder: Path) -> dict[str, float]:
    """Records a second, median of the rounds."""
    found = await asyncio.to_thread(buildcores.categories, folder)
    rows = await asyncio.to_thread(buildcores.rows, found)
    await buildcores.model(here.workspace, found)
    await here.stack.apart("records_service")
    print(
        f"\nBulk calls: {len(rows)} records of {len(found)} schemas,"
        f" {sum(map(len, rows)) / 1e6:.0f} MB"
    )
    seconds: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        await asyncio.to_thread(_emptied, here)
        for name, body in (
            ("create", rows),
            ("update of prices", buildcores.prices(found, 100 + number)),
            ("update without a change", buildcores.prices(found, 100 + number)),
        ):
            if name == "update of prices":
                seconds.setdefault("raw COPY of what was created", []).append(
                    await asyncio.to_thread(_copied, here)
                )
            seconds.setdefault(name, []).append(await _called(here, body))
        print(
            "  "
            + ", ".join(f"{name} {len(rows) / took[-1]:,.0f}/s" for name, took in seconds.items())
        )
    other = await here.stack.another("records_service", role="api")
    await asyncio.to_thread(_emptied, here)
    halves = ((rows[::2], here.direct_url), (rows[1::2], other.url))
    took = await asyncio.gather(*(_called(here, half, url) for half, url in halves))
    seconds[TWO] = [max(took)]
    print(f"  {TWO} {len(rows) / max(took):,.0f}/s")
    return {name: len(rows) / median(took) for name, took in seconds.items()}


async def _called(here: World, rows: list[bytes], url: str = "") -> float:
    headers = here.direct_headers | {
        "Content-Type": "application/x-ndjson",
        "Accept": "application/x-ndjson",
    }
    began = time.perf_counter()
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{url or here.direct_url}/api/v1/records/bulk",
            data=b"\n".join(rows),
            headers=headers,
        ) as answer,
    ):
        lines = (await answer.read()).splitlines()
    took = time.perf_counter() - began
    summary = orjson.loads(lines[-1])["summary"]
    failed = [line for line in lines if b'"failed",' in line]
    if answer.status != 200 or summary["failed"]:
        raise SystemExit(f"{summary} {failed[:1]!r}")
    return took


def _emptied(here: World) -> None:
    # Not TRUNCATE: the relay and whoever reads statistics hold locks that it would wait for.
    _psql(here, *(f"DELETE FROM {table};" for table in (*STORED, "usage")))
    _psql(here, f"VACUUM (SKIP_LOCKED) {', '.join(STORED)};", "CHECKPOINT;")


def _copied(here: World) -> float:
    """Seconds for COPY of all that the creates stored."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        tables = [*STORED, "outbox"]
        for table in tables:
            query = _EVENT if table == "outbox" else f"SELECT * FROM {table}"
            _psql(
                here,
                f"DROP TABLE IF EXISTS floor_{table};"
                f"CREATE TABLE floor_{table} (LIKE {table} INCLUDING ALL);",
                f"\\copy ({' '.join(query.split())}) TO '{folder / table}' (FORMAT binary)",
            )
        columns = "(id, workspace_id, type, subject, event_id, document, staged_at, version)"
        copies = [
            f"\\copy floor_{table} {columns if table == 'outbox' else ''}"
            f" FROM '{folder / table}' (FORMAT binary)"
            for table in tables
        ]
        _psql(here, "CHECKPOINT;")
        began = time.perf_counter()
        _psql(here, "BEGIN;", *copies, "COMMIT;")
        took = time.perf_counter() - began
        _psql(here, *(f"DROP TABLE floor_{table};" for table in tables))
        return took


def _psql(here: World, *commands: str) -> None:
    said = subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", here.stack.databases["records_service"]],
        input="\n".join(["SET lock_timeout = '5s';", *commands, ""]).encode(),
        capture_output=True,
        check=False,
    )
    if said.returncode:
        raise SystemExit(said.stderr.decode())
