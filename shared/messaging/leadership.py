"""Ends the leadership of a process that hangs (docs/adr/0011).

A leader holds an advisory lock of its session and uses the session several times within its lease.
"""

from __future__ import annotations

from shared.database import Conn


async def end_stale_leader(conn: Conn, lock_key: int, lease_s: float) -> bool:
    """Terminate the session that holds the lock if it was idle for longer than the lease.

    Returns whether it was. A session that PostgreSQL itself keeps waiting does not count as idle. A
    role may terminate its own sessions.
    """
    ended: bool | None = await conn.fetchval(
        """SELECT bool_or(pg_terminate_backend(session.pid))
             FROM pg_locks AS held JOIN pg_stat_activity AS session USING (pid)
            WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
              AND held.database = session.datid AND session.datname = current_database()
              AND held.classid::bigint = $1::bigint >> 32
              AND held.objid::bigint = $1::bigint & 4294967295
              AND (session.state <> 'active' OR session.wait_event_type = 'Client')
              AND clock_timestamp() - session.state_change > make_interval(secs => $2)""",
        lock_key,
        lease_s,
    )
    return bool(ended)
