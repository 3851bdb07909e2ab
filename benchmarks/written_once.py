"""What the second and the third copy of a new record's values cost PostgreSQL.

    python -m benchmarks.written_once

A create writes its values into the record, its entry of the history, and its event. The statement
is executed as it is, and with an entry of the history and an event without values; each in turn in
every round, for one record and for 500 at a time.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks import machine, world
from records_service.writes import effects, store
from records_service.writes.model import PendingCreate, Record
from records_service.writes.quota import redistribute_quota
from shared.database.connection import connect
from tests.kit.servers import Servers

ROUNDS = 5
WORKSPACE = "ws-once"
SIZES = {1: 600, 500: 8}
"""Records of a statement -> statements of a round."""
FORMS = ("as it is", "values once")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Spent:
    seconds: float
    cpu: float
    wal: int


def creates(count: int, form: str) -> list[PendingCreate]:
    """New records, with as much in their history and event as this form has."""
    made = []
    for _ in range(count):
        record_id = os.urandom(8).hex()
        values = {f"attr-{name}": held for name, held in world.values(record_id).items()}
        changes = [
            {
                "attribute": name[5:],
                "attributeId": name,
                "scope": entry["scope"],
                "oldValue": None,
                "newValue": entry["value"],
            }
            for name, held in values.items()
            for entry in held
        ]
        now = effects.now()
        record = Record(
            WORKSPACE, record_id, "schema-bench", None, 1, values, now, now, "u", "u", None
        )
        held = b"[]" if form == "values once" else orjson.dumps(changes)
        event_id = f"evt-{record_id}"
        made.append(PendingCreate(record, False, orjson.dumps(values), [], held, event_id))
    return made


async def spend(conn: Any, form: str, size: int, statements: int) -> Spent:
    """Execute so many statements."""
    batches: list[Sequence[PendingCreate]] = [creates(size, form) for _ in range(statements)]
    stat = Path(f"/proc/{conn.get_server_pid()}/stat")
    lsn = await conn.fetchval("SELECT pg_current_wal_lsn()")
    cpu, began = _cpu(stat), time.perf_counter()
    for number, batch in enumerate(batches):
        await store.insert(conn, batch, model_version=1, record_limit=10**7, stripe=number % 16)
    seconds, cpu = time.perf_counter() - began, _cpu(stat) - cpu
    wal = await conn.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", lsn)
    await conn.execute("DELETE FROM outbox")
    return Spent(seconds, cpu, int(wal))


def _cpu(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def main() -> None:
    """Print the median of each figure."""
    print(machine.described())
    servers = Servers(own=True)
    try:
        url = servers.postgres.database("records_service")
        conn = await connect(url, {})
        with suppress(Exception):
            await conn.execute("ALTER TABLE outbox SET (autovacuum_enabled = off)")
        await conn.execute("INSERT INTO models (workspace_id, version) VALUES ($1, 1)", WORKSPACE)
        async with conn.transaction():
            await redistribute_quota(conn, WORKSPACE, 10**7, 0)
        found: dict[tuple[int, str], list[Spent]] = {}
        for number in range(ROUNDS + 1):
            for size, statements in SIZES.items():
                for form in FORMS:
                    spent = await spend(conn, form, size, statements)
                    if number:
                        found.setdefault((size, form), []).append(spent)
        for (size, form), runs in found.items():
            records = size * SIZES[size]
            print(
                f"{size:4} at a time, {form:24}"
                f" {records / median(one.seconds for one in runs):8,.0f}/s"
                f"  PostgreSQL {median(one.cpu for one in runs) / records * 1e6:6.0f} us"
                f"  WAL {median(one.wal for one in runs) / records:7,.0f} bytes"
            )
        await conn.close()
    finally:
        servers.close()


if __name__ == "__main__":
    asyncio.run(main())
