"""The SQL that reads the entries of one record between two of its versions.

The times between which it was written lead to the partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from records_service.writes.model import Record
from shared.database import Conn
from shared.database import Record as Row

ENTRIES_MAX: Final = 5_000
"""Read for one version. Those of a record with twice as many versions can all be rebuilt."""
STORED_BYTES_MAX: Final = 16 << 20
"""Of the changes that are read, compressed as they are stored."""
BYTES_MAX: Final = 32 << 20
"""Of the changes that are read, as text."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the history of a record; `changes` is JSON."""

    action: str
    user_id: str
    at: datetime
    changes: str
    from_state_id: str | None
    to_state_id: str | None


class TooLarge(Exception):
    """The changes between two versions are more than is read for one request."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Which versions of the present life of a record its history has.

    Entries from before versions were stored have none: they lie right below `numbered`. Old entries
    may have been removed, the oldest first.
    """

    first: int
    """The version in which the record was created."""
    numbered: int
    """The lowest version that an entry names; one more than the current version if none does."""
    unnumbered: int
    """How many entries have no version, `ENTRIES_MAX` at most."""

    @property
    def lowest_entry(self) -> int:
        """The lowest version that has an entry; one more than the current version if none has."""
        return max(self.first, self.numbered - self.unnumbered)

    @property
    def lowest(self) -> int:
        """The lowest version that can be rebuilt.

        The first one needs no entry: when it was written, and by whom, the record itself tells.
        """
        lowest = self.lowest_entry
        return self.first if lowest == self.first + 1 else lowest


async def kept(conn: Conn, record: Record) -> Kept:
    """What there is of this record, which is as it is now."""
    row = await conn.fetchrow(
        """
        WITH life AS (
            SELECT coalesce((SELECT last_version FROM record_lives
                              WHERE workspace_id = $1 AND record_id = $2), 0) + 1 AS first
        )
        SELECT life.first,
               coalesce((SELECT version FROM audit
                          WHERE workspace_id = $1 AND record_id = $2 AND variant_id IS NULL
                            AND version >= life.first AND at BETWEEN $5 AND $6
                          ORDER BY version NULLS FIRST, id  -- As in the index.
                          LIMIT 1), $3::bigint + 1) AS numbered,
               (SELECT count(*)
                  FROM (SELECT 1 FROM audit
                         WHERE workspace_id = $1 AND record_id = $2 AND version IS NULL
                           AND at BETWEEN $5 AND $6
                         LIMIT $4::bigint) AS entry) AS unnumbered
          FROM life
        """,
        record.workspace_id,
        record.id,
        record.version,
        ENTRIES_MAX,
        record.created_at,
        record.updated_at,
    )
    assert row is not None
    return Kept(**row)


async def stored_state(
    conn: Conn, workspace_id: str, record_id: str, version: int, otherwise: str | None
) -> str | None:
    """The state that is stored with this version; `otherwise` if it is not current any more."""
    row = await conn.fetchrow(
        "SELECT state_id FROM records WHERE workspace_id = $1 AND id = $2 AND version = $3",
        workspace_id,
        record_id,
        version,
    )
    return otherwise if row is None else row["state_id"]


async def time_of(conn: Conn, record: Record, version: int) -> datetime | None:
    """When this version was written; None if no entry names it."""
    at: datetime | None = await conn.fetchval(
        """
        SELECT at FROM audit
         WHERE workspace_id = $1 AND record_id = $2 AND version = $3 AND variant_id IS NULL
           AND at BETWEEN $4 AND $5
         ORDER BY id
         LIMIT 1
        """,
        record.workspace_id,
        record.id,
        version,
        record.created_at,
        record.updated_at,
    )
    return at


async def unnumbered_later_than(conn: Conn, record: Record, kept_: Kept, at: datetime) -> int:
    """How many of the last entries without a version, as far as they are kept, are later."""
    later: int = await conn.fetchval(
        """
        SELECT count(*) FILTER (WHERE at > $3)
          FROM (SELECT at FROM audit
                 WHERE workspace_id = $1 AND record_id = $2 AND version IS NULL
                   AND at BETWEEN $5 AND $6
                 ORDER BY id DESC
                 LIMIT $4::bigint) AS entry
        """,
        record.workspace_id,
        record.id,
        at,
        kept_.numbered - kept_.lowest_entry,
        record.created_at,
        record.updated_at,
    )
    return later


async def steps(
    conn: Conn, record: Record, kept_: Kept, first: int, last: int
) -> list[Step] | None:
    """The entries of these versions, in order; None if one of them is missing.

    Raises `TooLarge`.
    """
    found: list[Step] = []
    if first < kept_.numbered:
        count = kept_.numbered - first
        rows = await _unnumbered(conn, record, count)
        if len(rows) != count:
            return None
        found += _read(rows)[: last - first + 1]
    if last >= kept_.numbered:
        start = max(first, kept_.numbered)
        rows = await _numbered(conn, record, start, last)
        if len(rows) != last - start + 1:
            return None
        found += _read(rows)
    return found


async def _numbered(conn: Conn, record: Record, first: int, last: int) -> Sequence[Row]:
    """One entry for each version, in order.

    Looked up one by one, because those of the variants have the version of their record: there may
    be any number of them between two versions.
    """
    return await conn.fetch(
        f"""
        WITH entry AS MATERIALIZED (
            SELECT a.*
              FROM generate_series($3::bigint, $4::bigint) AS wanted (version)
             CROSS JOIN LATERAL (
                   SELECT version, action, user_id, at, changes, from_state_id, to_state_id
                     FROM audit
                    WHERE workspace_id = $1 AND record_id = $2 AND version = wanted.version
                      AND variant_id IS NULL AND at BETWEEN $5 AND $6
                    ORDER BY id
                    LIMIT 1
             ) a
        ), {_within_bounds()}
        """,  # noqa: S608 - constants
        record.workspace_id,
        record.id,
        first,
        last,
        record.created_at,
        record.updated_at,
    )


async def _unnumbered(conn: Conn, record: Record, count: int) -> Sequence[Row]:
    """The last entries without a version, in order."""
    return await conn.fetch(
        f"""
        WITH entry AS MATERIALIZED (
            SELECT row_number() OVER (ORDER BY id) AS version, action, user_id, at, changes,
                   from_state_id, to_state_id
              FROM (SELECT id, action, user_id, at, changes, from_state_id, to_state_id
                      FROM audit
                     WHERE workspace_id = $1 AND record_id = $2 AND version IS NULL
                       AND at BETWEEN $4 AND $5
                     ORDER BY id DESC
                     LIMIT $3::bigint) AS last
        ), {_within_bounds()}
        """,  # noqa: S608 - constants
        record.workspace_id,
        record.id,
        count,
        record.created_at,
        record.updated_at,
    )


def _within_bounds() -> str:
    """The end of a statement about `entry`: its rows, without any changes if they are too large.

    Only what is small as it is stored is decompressed, to see how large it is as text.
    """
    return f"""
        small AS (
            SELECT version, action, user_id, at, from_state_id, to_state_id,
                   CASE WHEN sum(pg_column_size(changes)) OVER () <= {STORED_BYTES_MAX}
                        THEN changes END AS changes
              FROM entry
        )
        SELECT action, user_id, at, from_state_id, to_state_id,
               CASE WHEN sum(octet_length(changes::text)) OVER () <= {BYTES_MAX}
                    THEN changes::text END AS changes
          FROM small
         ORDER BY version
    """  # noqa: S608 - constants


def _read(rows: Sequence[Row]) -> list[Step]:
    if any(row["changes"] is None for row in rows):
        raise TooLarge
    return [Step(**row) for row in rows]
