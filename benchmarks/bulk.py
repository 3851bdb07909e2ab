"""Bulk writes beside a raw COPY of the same bytes into the same tables.

The catalogue is created, its prices are changed, and changed to the same again: each in one call.
The COPY comes in the same round: what the creates stored, out of the database into files, and back
in one transaction into tables with the same indexes and constraints. At the end, the catalogue is
created once more in two calls at a time, each to a process of its own.

What each process works for a record, and the WAL of it, is counted until the events of the call are
published; that is told apart from the index of texts, which comes behind the writes.
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

from benchmarks import buildcores, cpu
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
    worker = await here.stack.apart("records_service")
    pids = {"service": here.stack["records_service"].pid, "worker": worker.pid}
    print(
        f"\nBulk calls: {len(rows)} records of {len(found)} schemas,"
        f" {sum(map(len, rows)) / 1e6:.0f} MB"
    )
    seconds: dict[str, list[float]] = {}
    spent: dict[str, list[dict[str, float]]] = {}
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
            before = await asyncio.to_thread(_used, here, pids)
            seconds.setdefault(name, []).append(await _called(here, body))
            await _until_no(here, "outbox")
            after = await asyncio.to_thread(_used, here, pids)
            spent.setdefault(name, []).append({each: after[each] - before[each] for each in after})
            await _until_no(here, "search_texts_behind")
        print(
            "  "
            + ", ".join(f"{name} {len(rows) / took[-1]:,.0f}/s" for name, took in seconds.items())
        )
    for name, runs in spent.items():
        print(f"  {name}, each record: {_shown(runs, len(rows))}")
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


def _used(here: World, pids: dict[str, int]) -> dict[str, float]:
    return {
        **cpu.used(here.stack.servers, pids),
        "WAL": float(_asked(here, "SELECT pg_current_wal_lsn() - '0/0'")),
    }


def _shown(runs: list[dict[str, float]], records: int) -> str:
    each = {part: median(run[part] for run in runs) / records for part in runs[0]}
    wal = each.pop("WAL")
    parts = ", ".join(f"{part} {seconds * 1e6:.0f}" for part, seconds in each.items())
    return f"{sum(each.values()) * 1e6:.0f} us of CPU ({parts}), {wal / 1e3:.1f} kB of WAL"


async def _until_no(here: World, table: str) -> None:
    query = f"SELECT EXISTS (SELECT FROM {table})"
    # Other processes empty it.
    while await asyncio.to_thread(_asked, here, query) == "t":  # noqa: ASYNC110
        await asyncio.sleep(0.05)


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


def _asked(here: World, query: str) -> str:
    return _psql(here, f"{query};").strip()


def _psql(here: World, *commands: str) -> str:
    said = subprocess.run(
        [
            *("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
            here.stack.databases["records_service"],
        ],
        input="\n".join(["SET lock_timeout = '5s';", *commands, ""]).encode(),
        capture_output=True,
        check=False,
    )
    if said.returncode:
        raise SystemExit(said.stderr.decode())
    return said.stdout.decode()
