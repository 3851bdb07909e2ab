"""The count of failed logins, kept where every replica sees it."""

from __future__ import annotations

from collections.abc import Sequence

from shared.postgres import Conn

SWEPT_AT_ONCE_MAX = 4


async def claim_attempt(
    conn: Conn, address_digest: bytes, delays_s: Sequence[int], forgotten_after_s: int
) -> bool:
    """Count one more attempt, as a failure, or refuse because the address has to wait.

    One statement does both, so attempts at the same moment cannot all see the same count. Each also
    sweeps away a few that are long forgotten: the table holds no more than what was tried lately.
    """
    claimed = await conn.fetchval(
        """WITH swept AS (
               DELETE FROM login_attempts
                WHERE address_digest IN (
                      SELECT address_digest
                        FROM login_attempts
                       WHERE last_at < clock_timestamp() - make_interval(secs => $3)
                         AND address_digest <> $1
                       ORDER BY last_at
                       LIMIT $4
                         FOR UPDATE SKIP LOCKED))
           INSERT INTO login_attempts AS tried (address_digest, failures, blocked_until, last_at)
           VALUES ($1, 1, clock_timestamp() + make_interval(secs => ($2::int[])[1]),
                   clock_timestamp())
               ON CONFLICT (address_digest)
               DO UPDATE SET (failures, blocked_until, last_at) = (
                      SELECT counted.failures,
                             clock_timestamp() + make_interval(
                                 secs => ($2::int[])[least(counted.failures, cardinality($2))]),
                             clock_timestamp()
                        FROM (SELECT CASE
                                     WHEN tried.last_at
                                          < clock_timestamp() - make_interval(secs => $3)
                                     THEN 1
                                     ELSE least(tried.failures, 1000000) + 1
                                     END AS failures) AS counted)
                       WHERE tried.blocked_until <= clock_timestamp()
        RETURNING tried.failures""",
        address_digest,
        list(delays_s),
        forgotten_after_s,
        SWEPT_AT_ONCE_MAX,
    )
    return claimed is not None


async def seconds_to_wait(conn: Conn, address_digest: bytes) -> float:
    """How long an address that was refused has to wait still."""
    left: float | None = await conn.fetchval(
        """SELECT extract(epoch FROM blocked_until - clock_timestamp())::float8
             FROM login_attempts
            WHERE address_digest = $1""",
        address_digest,
    )
    return max(left or 0.0, 0.0)


async def forget_attempts(conn: Conn, address_digest: bytes) -> None:
    """Somebody who knows the password came in: the count begins anew."""
    await conn.execute("DELETE FROM login_attempts WHERE address_digest = $1", address_digest)
