"""The SQL of the partitions of the history.

Each has the entries of one year, in UTC; the oldest has all from before as well. `audit_other`
takes what belongs to none of them. On a database that was distributed by Citus before there were
partitions, the history has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from asyncpg.exceptions import LockNotAvailableError

from shared.database import Conn

LOCK_KEY: Final = 0x5167_4D61_0061_7564
LOCK_WAIT: Final = "500ms"
"""As long as this, reads and writes of the history may queue behind a change of its partitions."""


@dataclass(frozen=True, slots=True)
class Partition:
    """The entries of `[since, until)`; all before `until` if `since` is None."""

    name: str
    since: datetime | None
    until: datetime


class Busy(Exception):
    """The history is used in a transaction that does not end soon."""


async def take_turn(conn: Conn) -> bool:
    """Whether no other process changes the partitions until commit."""
    taken: bool = await conn.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK_KEY)
    await conn.fetchval("SELECT set_config('lock_timeout', $1, true)", LOCK_WAIT)
    return taken


async def partitions(conn: Conn) -> list[Partition]:
    """Those of a time, in its order; none where the history is not partitioned."""
    rows = await conn.fetch(
        r"""
        SELECT p.name, p.since, p.until
          FROM (SELECT c.relname::text AS name,
                       substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([^'']+)')
                           ::timestamptz AS since,
                       substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)')
                           ::timestamptz AS until
                  FROM pg_inherits i
                  JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = to_regclass('audit')) AS p
         WHERE p.until IS NOT NULL
         ORDER BY p.until
        """
    )
    return [Partition(**row) for row in rows]


async def has_entries(conn: Conn, since: datetime | None, until: datetime | None) -> bool:
    """Whether any workspace has entries of this time."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM audit
                        WHERE at >= coalesce($1::timestamptz, '-infinity')
                          AND at < coalesce($2::timestamptz, 'infinity'))
        """,
        since,
        until,
    )
    return found


async def add(conn: Conn, year: int) -> None:
    """Make the partition of a year of which there are no entries yet. Raises `Busy`."""
    name = f"audit_{year:04}"
    since, until = (datetime(each, 1, 1, tzinfo=UTC).isoformat() for each in (year, year + 1))
    # Attached afterwards, which locks less than making it as a partition.
    await conn.execute(f"CREATE TABLE {name} (LIKE audit INCLUDING ALL EXCLUDING IDENTITY)")
    try:
        await conn.execute(
            f"ALTER TABLE audit ATTACH PARTITION {name} FOR VALUES FROM ('{since}') TO ('{until}')"
        )
    except LockNotAvailableError as error:
        raise Busy from error


async def lock(conn: Conn) -> None:
    """Keep everybody from the history until commit. Raises `Busy`."""
    try:
        await conn.execute("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
    except LockNotAvailableError as error:
        raise Busy from error


async def drop(conn: Conn, partition: Partition) -> None:
    """Remove all entries of a time at once. The caller has locked the history."""
    await conn.execute(f'DROP TABLE "{partition.name}"')


async def is_needed(conn: Conn, partition: Partition, now: datetime) -> bool:
    """Whether a workspace keeps an entry of this partition, or a job has to read one.

    Entries of workspaces that do not keep them may be in it.
    """
    needed: bool = await conn.fetchval(
        """
        SELECT EXISTS (
                   SELECT FROM models m
                     LEFT JOIN history_retentions r ON r.workspace_id = m.workspace_id
                    WHERE (r.days IS NULL OR $2 > $3::timestamptz - make_interval(days => r.days))
                      AND EXISTS (SELECT FROM audit a
                                   WHERE a.workspace_id = m.workspace_id
                                     AND a.at >= coalesce($1::timestamptz, '-infinity')
                                     AND a.at < $2))
            OR EXISTS (
                   SELECT FROM (SELECT workspace_id, last_change FROM attribute_removals
                                 UNION ALL
                                SELECT workspace_id, last_change FROM unique_checks
                                 UNION ALL
                                SELECT workspace_id, last_change FROM conversions) AS job
                    WHERE EXISTS (SELECT FROM audit a
                                   WHERE a.workspace_id = job.workspace_id
                                     AND a.id > job.last_change
                                     AND a.at >= coalesce($1::timestamptz, '-infinity')
                                     AND a.at < $2))
        """,
        partition.since,
        partition.until,
        now,
    )
    return needed


async def use(conn: Conn, workspace_id: str) -> None:
    """Let nobody drop a partition until commit."""
    await conn.fetchval("SELECT EXISTS (SELECT FROM audit WHERE workspace_id = $1)", workspace_id)
