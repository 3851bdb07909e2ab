"""Rows that stand for work, which one process at a time does under a lease.

    RUNS = LeasedTable("runs", of="job_id", holder="worker", until="leased_until")
    for row in await RUNS.waiting(conn, 10):
        claimed = await RUNS.claim(conn, row, holder, LEASE_S, returning="step")
        lease = row.lease(holder)
        await RUNS.renew(conn, lease, LEASE_S)                    every few seconds
        await RUNS.update(conn, lease, "step = $5", step)         raises `Lost`
        await RUNS.release(conn, lease, 0)

A row waits when its lease has ended, also that of a process that was killed. Each write names the
holder that it is made for, so a process that was away for longer than its lease changes nothing any
more. Holders are random and used once. Leases are set and judged by the clock of the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from shared.database import Conn, Record


class Lost(Exception):
    """Another process has the row, or it has ended, or it is gone."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that nobody works on; `of_id` is the id of what the work belongs to."""

    workspace_id: str
    of_id: str
    id: str

    def lease(self, holder: str) -> Lease:
        """The row as this holder's."""
        return Lease(self.workspace_id, self.of_id, self.id, holder)


@dataclass(frozen=True, slots=True)
class Lease:
    """A row that this holder has claimed."""

    workspace_id: str
    of_id: str
    id: str
    holder: str


@dataclass(frozen=True, slots=True)
class LeasedTable:
    """A table of rows with a `status`, which are work while that is 'running'.

    `of`, `holder` and `until` are the columns with the id of what a row belongs to, with who works
    on it (null if nobody does), and with the end of the lease, or the time at which the row is due.
    SQL that is passed may use parameters from $5 on in `update`, and none elsewhere.
    """

    table: str
    of: str
    holder: str
    until: str

    async def waiting(
        self, conn: Conn, limit: int, without: Sequence[str] = (), *, for_s: float = 0.0
    ) -> list[Waiting]:
        """Rows that nobody has had for so long, longest first, of any workspace but these."""
        rows = await conn.fetch(
            f"""
            SELECT workspace_id, {self.of} AS of_id, id FROM {self.table}
             WHERE status = 'running'
               AND {self.until} <= clock_timestamp() - make_interval(secs => $3)
               AND workspace_id <> ALL ($1::text[])
             ORDER BY {self.until}
             LIMIT $2
            """,  # noqa: S608 - constants
            list(without),
            limit,
            for_s,
        )
        return [Waiting(**row) for row in rows]

    async def claim(
        self,
        conn: Conn,
        row: Waiting,
        holder: str,
        lease_s: float,
        *,
        also: str = "",
        returning: str,
    ) -> Record | None:
        """Take a row that waits; None if another process was faster.

        `also` continues the list of what is set.
        """
        return await conn.fetchrow(
            f"""
            UPDATE {self.table}
               SET {self.holder} = $4, {self.until} = now() + make_interval(secs => $5) {also}
             WHERE workspace_id = $1 AND {self.of} = $2 AND id = $3 AND status = 'running'
               AND {self.until} <= now()
            RETURNING {returning}
            """,  # noqa: S608 - constants
            row.workspace_id,
            row.of_id,
            row.id,
            holder,
            lease_s,
        )

    async def renew(self, conn: Conn, lease: Lease, lease_s: float) -> None:
        """Hold the row for this time from now on; raises `Lost`."""
        await self.update(conn, lease, f"{self.until} = now() + make_interval(secs => $5)", lease_s)

    async def release(self, conn: Conn, lease: Lease, after_s: float, *, also: str = "") -> None:
        """Let any process claim the row after this time; nothing if it is lost.

        `also` continues the list of what is set.
        """
        changes = f"{self.holder} = NULL, {self.until} = now() + make_interval(secs => $5) {also}"
        with suppress(Lost):
            await self.update(conn, lease, changes, after_s)

    async def update(
        self, conn: Conn, lease: Lease, changes: str, *arguments: Any, returning: str = "id"
    ) -> Record:
        """Change a row that this holder still has; raises `Lost`."""
        row = await conn.fetchrow(
            f"""
            UPDATE {self.table} SET {changes}
             WHERE workspace_id = $1 AND {self.of} = $2 AND id = $3 AND {self.holder} = $4
               AND status = 'running'
            RETURNING {returning}
            """,  # noqa: S608 - constants
            lease.workspace_id,
            lease.of_id,
            lease.id,
            lease.holder,
            *arguments,
        )
        if row is None:
            raise Lost
        return row
