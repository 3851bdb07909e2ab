"""Bytes that a record and an update take, in tables and in indexes, and the bytes of an event."""

from __future__ import annotations

from typing import Any, Final

import orjson

from benchmarks.scale.world import RECORDS, ROWS_AT_ONCE, Scale, new_run

MORE: Final = 30_000
"""Records, and then updates: many, because files grow in large steps."""
_ROW_HEAD: Final = 28
"""Bytes of a row beside its columns."""
_KINDS: Final = """
    SELECT json_object_agg(kind, sizes)::text FROM (
        SELECT kind, json_build_object('tables', sum(pg_table_size(oid)),
                                       'indexes', sum(pg_indexes_size(oid))) AS sizes
          FROM (SELECT oid, CASE WHEN relname LIKE 'audit%' THEN 'history'
                                 WHEN relname = 'feed' THEN 'feed'
                                 WHEN relname LIKE 'search%' THEN 'search'
                                 ELSE 'records' END AS kind
                  FROM pg_class
                 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                   -- What passes through the outbox leaves room for what comes after it.
                   AND relname <> 'outbox') AS tables
         GROUP BY kind) AS kinds
"""

Sizes = dict[str, dict[str, int]]


async def measure(here: Scale) -> dict[str, Any]:
    """Bytes for each, by what they are for.

    An update of a record leaves a row of the history and one of the feed. The row of the record
    that it replaces is used again after a vacuum, so records do not grow by updates.
    """
    before = await _sizes(here)
    await here.bulk(new_run(), MORE)
    await here.settled()
    created = await _sizes(here)
    await _updates(here)
    await here.settled()
    updated = await _sizes(here)
    rows = {
        "history": "SELECT avg(pg_column_size(audit.*)) FROM audit WHERE action = 'update'",
        "feed": "SELECT avg(pg_column_size(feed.*)) FROM feed WHERE type = 'entity.updated'",
    }
    return {
        "record": _each(before, created),
        "update": {
            kind: {
                "tables": round(float(await here.asked(query))) + _ROW_HEAD,
                "indexes": _each(created, updated)[kind]["indexes"],
            }
            for kind, query in rows.items()
        },
        "event_bytes": int(await here.asked("SELECT avg(bytes) FROM feed")),
    }


def _each(before: Sizes, after: Sizes) -> Sizes:
    return {
        kind: {what: round((size - before[kind][what]) / MORE) for what, size in sizes.items()}
        for kind, sizes in after.items()
    }


async def _updates(here: Scale) -> None:
    for begin in range(0, MORE, ROWS_AT_ONCE):
        rows = [
            {"id": f"ent-0-{n % RECORDS}", "values": {"weight": [{"scope": {}, "value": n + 0.5}]}}
            for n in range(begin, begin + ROWS_AT_ONCE)
        ]
        done = (await here.key.post("/records/bulk", {"operations": rows})).ok()
        assert done["updated"] == len(rows), done


async def _sizes(here: Scale) -> Sizes:
    found = orjson.loads(await here.asked(_KINDS))
    return {
        kind: {what: int(size) for what, size in sizes.items()} for kind, sizes in found.items()
    }
