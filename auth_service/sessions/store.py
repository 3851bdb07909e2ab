"""Counts failed logins and stores networks of successful ones, shared by all replicas."""

from __future__ import annotations

from collections.abc import Sequence

from shared.database import Conn

SWEPT_AT_ONCE_MAX = 4
NETWORKS_KEPT_DAYS = 90


async def claim_attempt(
    conn: Conn, digest: bytes, delays_s: Sequence[int], forgotten_after_s: int
) -> bool:
    """Count one more attempt, as a failure, or refuse because it has to wait.

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
        digest,
        list(delays_s),
        forgotten_after_s,
        SWEPT_AT_ONCE_MAX,
    )
    return claimed is not None


async def seconds_to_wait(conn: Conn, digest: bytes) -> float:
    """How long an attempt that was refused has to wait still."""
    left: float | None = await conn.fetchval(
        """SELECT extract(epoch FROM blocked_until - clock_timestamp())::float8
             FROM login_attempts
            WHERE address_digest = $1""",
        digest,
    )
    return max(left or 0.0, 0.0)


async def forget_attempts(conn: Conn, digest: bytes) -> None:
    """Start the count again after a login that succeeded."""
    await conn.execute("DELETE FROM login_attempts WHERE address_digest = $1", digest)


async def take_back_attempt(conn: Conn, digest: bytes) -> None:
    """Count a login that succeeded as no failure, and leave the failures of others counted."""
    await conn.execute(
        """UPDATE login_attempts
              SET failures = greatest(failures - 1, 0)
            WHERE address_digest = $1""",
        digest,
    )


async def is_known_network(conn: Conn, account: bytes, network: bytes) -> bool:
    """Whether a login of this address has succeeded from this network before."""
    return bool(
        await conn.fetchval(
            """SELECT EXISTS (
                      SELECT FROM login_networks
                       WHERE address_digest = $1 AND network_digest = $2)""",
            account,
            network,
        )
    )


async def remember_network(conn: Conn, account: bytes, network: bytes) -> None:
    """Note that a login succeeded from here, at most once a day, and sweep away some old notes."""
    await conn.execute(
        """WITH swept AS (
               DELETE FROM login_networks
                WHERE (address_digest, network_digest) IN (
                      SELECT address_digest, network_digest
                        FROM login_networks
                       WHERE last_at < clock_timestamp() - make_interval(days => $3)
                         AND (address_digest, network_digest) <> ($1, $2)
                       ORDER BY last_at
                       LIMIT $4
                         FOR UPDATE SKIP LOCKED))
           INSERT INTO login_networks AS known (address_digest, network_digest, last_at)
           VALUES ($1, $2, clock_timestamp())
               ON CONFLICT (address_digest, network_digest)
               DO UPDATE SET last_at = clock_timestamp()
                       WHERE known.last_at < clock_timestamp() - interval '1 day'""",
        account,
        network,
        NETWORKS_KEPT_DAYS,
        SWEPT_AT_ONCE_MAX,
    )
