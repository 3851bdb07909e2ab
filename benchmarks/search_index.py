"""What the search index costs creates, how large it is, and how fast it is built.

    python -m benchmarks.search_index [records]

100,000 records of some 1.6 kB with nine filterable values (three options, a boolean, two texts,
two numbers, a time) are stored without an index, then entered into it by the slices of the job.
After that the statement of a create is executed without and with the index, and with pending lists
of some sizes; each in turn in every round, for one record and for 64 at a time. What a pending list
still holds at the end of a run is merged within it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks import machine, world
from records_service.attributes.model import ATTRIBUTE, Attribute
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import take_lock
from records_service.schemas.model import SCHEMA
from records_service.search_index import building, terms
from records_service.writes import effects, store
from records_service.writes.model import PendingCreate, Record
from records_service.writes.quota import redistribute_quota
from shared.database.connection import connect
from tests.kit.servers import Servers
from tests.kit.workspace import schema_body

ROUNDS = 5
WORKSPACE, SCHEMA_ID = "ws-index", "schema-bench"
SIZES = {1: 500, 64: 30}
"""Records of a statement -> statements of a round."""
WITHOUT = "without"
FORMS = {
    WITHOUT: "",
    "with": "fastupdate = off",
    "list of 64 kB": "fastupdate = on, gin_pending_list_limit = 64",
    "list of 1 MB": "fastupdate = on, gin_pending_list_limit = 1024",
}
FILTERABLE = {
    "sku": "text",
    "name": "text",
    "colour": "option",
    "brand": "option",
    "size": "option",
    "sale": "boolean",
    "price": "number",
    "weight": "number",
    "sold": "datetime",
}
_TICKS = os.sysconf("SC_CLK_TCK")
_FIRST = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Spent:
    seconds: float
    cpu: float
    wal: int


def values(number: int) -> dict[str, Any]:
    texts = {f"attr-{name}": held for name, held in world.values(f"sku-{number}").items()}
    more = {
        "name": f"Product {number % 5000}",
        "colour": f"val-{number % 3}",
        "brand": f"val-{number % 300}",
        "size": f"val-{number % 12}",
        "sale": number % 2 == 0,
        "price": number % 1000 + 0.95,
        "weight": number % 77 / 10,
        "sold": (_FIRST + timedelta(minutes=number)).isoformat(),
    }
    return texts | {f"attr-{name}": [{"scope": {}, "value": one}] for name, one in more.items()}


def attribute_body(kind: str) -> dict[str, Any]:
    body = {"name": "x", "type": kind, "dimensionIds": [], "validation": {}, "guards": []}
    return body | {"inheritable": True, "multiple": False, "filterable": True}


async def model(conn: Any) -> terms.Plan:
    """Store attributes and a schema in a workspace that has no index yet."""
    made = []
    async with conn.transaction():
        await take_lock(conn, WORKSPACE)
        await conn.execute(
            "UPDATE models SET is_indexed = false WHERE workspace_id = $1", WORKSPACE
        )
        for alias, kind in FILTERABLE.items():
            body = attribute_body(kind)
            made.append(
                await model_objects.insert(conn, ATTRIBUTE, WORKSPACE, f"attr-{alias}", alias, body)
            )
        body = schema_body("bench", list(FILTERABLE)) | {"variantEnabled": False}
        await model_objects.insert(conn, SCHEMA, WORKSPACE, SCHEMA_ID, "bench", body)
        await redistribute_quota(conn, WORKSPACE, 10**8, 0)
    return terms.plan_of(WORKSPACE, SCHEMA_ID, map(Attribute.parse, made))


def creates(numbers: range, plan: terms.Plan | None) -> list[PendingCreate]:
    made = []
    for number in numbers:
        record_id, held, now = f"ent-{os.urandom(8).hex()}", values(number), effects.now()
        changes = [
            {"attribute": name[5:], "attributeId": name, "oldValue": None, "newValue": one["value"]}
            for name, entries in held.items()
            for one in entries
        ]
        record = Record(WORKSPACE, record_id, SCHEMA_ID, None, 1, held, now, now, "u", "u", None)
        indexed = None if plan is None else terms.indexed(plan, record_id, held)
        made.append(
            PendingCreate(
                record,
                False,
                orjson.dumps(held),
                [],
                orjson.dumps(changes),
                "evt-" + record_id,
                indexed,
            )
        )
    return made


async def insert(conn: Any, batch: Sequence[PendingCreate], version: int) -> None:
    await store.insert(conn, batch, model_version=version, record_limit=10**8, stripe=0)


async def spend(conn: Any, batches: Sequence[Any], version: int, form: str) -> Spent:
    """Execute these statements, and merge what a pending list holds at the end."""
    stat = Path(f"/proc/{conn.get_server_pid()}/stat")
    lsn = await conn.fetchval("SELECT pg_current_wal_lsn()")
    cpu, began = _cpu(stat), time.perf_counter()
    for batch in batches:
        await insert(conn, batch, version)
    if "list" in form:
        await conn.execute("SELECT gin_clean_pending_list('search_records_by_term')")
    seconds, cpu = time.perf_counter() - began, _cpu(stat) - cpu
    wal = await conn.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", lsn)
    await conn.execute("DELETE FROM outbox")
    return Spent(seconds, cpu, int(wal))


async def build(conn: Any, count: int) -> None:
    """Run the job to its end, slice by slice."""
    stat = Path(f"/proc/{conn.get_server_pid()}/stat")
    own, cpu, began, longest = time.process_time(), _cpu(stat), time.perf_counter(), 0.0
    async with conn.transaction():
        await building.enroll(conn, WORKSPACE)
    more = True
    while more:
        slice_began = time.perf_counter()
        async with conn.transaction():
            more = await building.build_some(conn, WORKSPACE, "")
        longest = max(longest, time.perf_counter() - slice_began)
    seconds, cpu, own = time.perf_counter() - began, _cpu(stat) - cpu, time.process_time() - own
    print(
        f"built {count:,} records in {seconds:.1f} s, {count / seconds:,.0f}/s; CPU of a record:"
        f" PostgreSQL {cpu / count * 1e6:.0f} us, the job {own / count * 1e6:.0f} us;"
        f" the longest slice {longest * 1e3:.0f} ms"
    )


async def sizes(conn: Any) -> None:
    await conn.execute("VACUUM ANALYZE search_records, search_numbers")
    rows = await conn.fetch(
        """
        SELECT relname AS name, pg_relation_size(oid) / (SELECT count(*) FROM records) AS bytes
          FROM pg_class
         WHERE relname LIKE 'search\\_records%' OR relname LIKE 'search\\_numbers%'
         ORDER BY relname
        """
    )
    print("bytes per record:", ", ".join(f"{row['name']} {row['bytes']}" for row in rows))


def _cpu(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(machine.described())
    servers = Servers(own=True)
    try:
        url = servers.postgres.database("records_service")
        conn = await connect(url, {})
        with suppress(Exception):
            await conn.execute("ALTER TABLE outbox SET (autovacuum_enabled = off)")
        plan = await model(conn)
        for first in range(0, count, 500):
            await insert(conn, creates(range(first, first + 500), None), 1)
            await conn.execute("DELETE FROM outbox")
        await build(conn, count)
        await sizes(conn)
        version = await conn.fetchval("SELECT version FROM models")
        found: dict[tuple[int, str], list[Spent]] = {}
        next_number = count
        for number in range(ROUNDS + 1):
            for size, statements in SIZES.items():
                for form, options in FORMS.items():
                    if options:
                        await conn.execute(f"ALTER INDEX search_records_by_term SET ({options})")
                    batches = []
                    for _ in range(statements):
                        numbers = range(next_number, next_number + size)
                        batches.append(creates(numbers, None if form == WITHOUT else plan))
                        next_number += size
                    spent = await spend(conn, batches, version, form)
                    if number:
                        found.setdefault((size, form), []).append(spent)
        for (size, form), runs in found.items():
            records = size * SIZES[size]
            print(
                f"{size:4} at a time, {form:16}"
                f" {median(one.seconds for one in runs) / records * 1e6:6.0f} us"
                f"  PostgreSQL {median(one.cpu for one in runs) / records * 1e6:6.0f} us"
                f"  WAL {median(one.wal for one in runs) / records:7,.0f} bytes"
            )
        await conn.close()
    finally:
        servers.close()


if __name__ == "__main__":
    asyncio.run(main())
